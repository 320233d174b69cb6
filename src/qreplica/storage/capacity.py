"""What a RAID group can hold, from the sizes of its disks and its level; pure.

btrfs allocates chunks on whichever disks have most room, so unequal disks give what the level's rule allows: a mirror
of N copies holds the largest K for which the disks, each counted for at most K, add up to N times K.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from qreplica.storage.driver import RaidLevel
from qreplica.storage.errors import DiskTooSmall, TooFewDisks
from qreplica.units import GIB, MIB

#: Smallest disk of an RG in bytes: below it, btrfs's chunks leave no room that is worth having.
MINIMUM_DISK = 512 * MIB

_COPIES = {
    RaidLevel.JBOD: 1,
    RaidLevel.RAID0: 1,
    RaidLevel.RAID1: 2,
    RaidLevel.RAID10: 2,
    RaidLevel.MIRROR3: 3,
    RaidLevel.MIRROR4: 4,
}
_MINIMUM_DISKS = {
    RaidLevel.JBOD: 1,
    RaidLevel.RAID0: 2,
    RaidLevel.RAID1: 2,
    RaidLevel.RAID10: 4,
    RaidLevel.MIRROR3: 3,
    RaidLevel.MIRROR4: 4,
}
#: Metadata per byte of data when every block is an extent of its own (measured: some 5 %), with a margin.
_METADATA_SHARE = 0.06
#: Room for the system chunk, the global block reserve, and the last chunk of each kind, only partly used.
_FIXED_SHARE, _FIXED_MOST = 0.08, 2 * GIB
#: The system chunk; the largest chunks of metadata and of data; and the fewest chunks that a filesystem is cut into.
_SYSTEM, _METADATA_CHUNK, _DATA_CHUNK, _CHUNKS_AT_LEAST = 64 * MIB, 256 * MIB, GIB, 10


@dataclass(frozen=True, slots=True)
class Capacity:
    """``usable`` is what the level leaves of the disks, ``reserve`` the part kept for metadata; both in bytes of data.

    What may be promised to VDs and snapshots is ``usable - reserve``.
    """

    usable: int
    reserve: int


def metadata_copies(level: RaidLevel) -> int:
    """Return how often metadata is kept: as often as data, and never less than twice."""
    return max(2, _COPIES[level])


def capacity(level: RaidLevel, sizes: Sequence[int]) -> Capacity:
    """Return what disks of ``sizes`` bytes hold at ``level``. Raises TooFewDisks, or DiskTooSmall naming its place."""
    if len(sizes) < _MINIMUM_DISKS[level]:
        raise TooFewDisks(level=level, minimum=_MINIMUM_DISKS[level], count=len(sizes))
    for place, size in enumerate(sizes, 1):
        if size < MINIMUM_DISK:
            raise DiskTooSmall(disk=f"number {place}", size=size, minimum=MINIMUM_DISK)
    copies = _COPIES[level]
    usable = _mirrored(sizes, copies)
    first_chunks = _SYSTEM + min(_METADATA_CHUNK, sum(sizes) // _CHUNKS_AT_LEAST)
    fixed = min(max(int(usable * _FIXED_SHARE), first_chunks), _FIXED_MOST) + _unpaired(level, sizes)
    for_data = (usable - fixed) / (1 + _METADATA_SHARE * metadata_copies(level) / copies)
    return Capacity(usable=usable, reserve=usable - int(for_data))


def _unpaired(level: RaidLevel, sizes: Sequence[int]) -> int:
    """Return what may be left on single disks because chunks of a mirror go to the emptiest ones (one chunk, bytes)."""
    copies = _COPIES[level]
    return 0 if copies in (1, len(sizes)) else min(_DATA_CHUNK, sum(sizes) // _CHUNKS_AT_LEAST)


def _mirrored(sizes: Sequence[int], copies: int) -> int:
    low, high = 0, sum(sizes) // copies
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(size, middle) for size in sizes) >= copies * middle:
            low = middle
        else:
            high = middle - 1
    return low
