"""What a RAID group can hold, from the sizes of its disks and its level; pure.

btrfs gives space out in chunks: each takes an equal stripe from the disks that have most room. A chunk is for data
or for metadata and stays so; the reserve is what metadata may take before the last promised byte of data is written.
Figures and rules are those of fs/btrfs/volumes.c, space-info.c and block-rsv.c of Linux.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qreplica.storage.driver import RaidLevel
from qreplica.storage.errors import DiskTooSmall, TooFewDisks
from qreplica.units import GIB, MIB

#: Smallest disk of an RG in bytes: below it, chunks leave no room that is worth having.
MINIMUM_DISK = 512 * MIB

#: Metadata per byte of data when every 4 KiB block is an extent of its own (measured: 4.3 %), with a margin.
_METADATA_SHARE = 0.05
#: What the kernel holds back of the metadata for its own work: about its extent and checksum trees, to a limit.
_GLOBAL_RESERVE_SHARE, _GLOBAL_RESERVE_MOST = 0.02, 512 * MIB
#: A further metadata chunk is taken as soon as the present ones are filled to this share.
_CHUNK_FILLED = 0.8
#: What the engine may hold beyond the promises, as a share of them: extents of which a part is still used are kept
#: whole. No less than two of the longest extents, so that one can be written anew, but a quarter at most.
_WORKING_SHARE, _WORKING_LEAST, _WORKING_MOST_SHARE = 1 / 16, 256 * MIB, 1 / 4
#: System chunk, the first megabyte of each disk, and remainders too small for a stripe; per disk, bytes.
_FIXED_PER_DISK = 16 * MIB
_LARGEST_STRIPE, _LARGEST_CHUNK = GIB, 10 * GIB
_METADATA_CHUNK, _METADATA_CHUNK_OF_LARGE, _SMALL = 256 * MIB, GIB, 50 * GIB
#: The least to which the length of data chunks can be limited (btrfs_chunk_size_store of sysfs.c).
LEAST_DATA_CHUNK = 256 * MIB
#: By how much larger disks are proposed when these are too small for their level.
_SIZE_STEP = 64 * MIB
#: Into how many stripes the disks are cut for finding what a level leaves of them; bounds the error and the work.
_STRIPES = 4000


@dataclass(frozen=True, slots=True)
class _Level:
    """``copies`` of each byte of data, ``disks`` at least, and the ``width`` of a chunk in disks.

    ``width`` is given how many disks there are and how many have room. ``parity`` disks of the width hold no data.
    """

    copies: int
    disks: int
    width: Callable[[int, int], int]
    parity: int = 0

    @property
    def narrowest(self) -> int:
        """On how many disks a chunk takes place at least."""
        return max(self.copies, self.parity + 1)

    def data(self, width: int) -> float:
        """How many disks of a chunk's width hold data, each byte counted once."""
        return (width - self.parity) / self.copies


_LEVELS = {
    RaidLevel.JBOD: _Level(1, 1, lambda _, __: 1),
    # The kernel would go on with fewer disks, but then mirrored metadata finds no second disk to grow on.
    RaidLevel.RAID0: _Level(1, 2, lambda disks, _: disks),
    RaidLevel.RAID1: _Level(2, 2, lambda _, __: 2),
    RaidLevel.RAID5: _Level(1, 3, lambda _, with_room: with_room, parity=1),
    RaidLevel.RAID6: _Level(1, 4, lambda _, with_room: with_room, parity=2),
    RaidLevel.RAID10: _Level(2, 4, lambda _, with_room: with_room // 2 * 2),
    RaidLevel.MIRROR3: _Level(3, 3, lambda _, __: 3),
    RaidLevel.MIRROR4: _Level(4, 4, lambda _, __: 4),
}


@dataclass(frozen=True, slots=True)
class Capacity:
    """``raw`` is the sum of the disks; ``usable`` what the level leaves of it; ``reserve`` the part kept back.

    The reserve is for metadata and for what is held beyond the promises (``working_reserve``).

    ``usable`` and ``reserve`` are in bytes of data, ``raw`` in bytes of disk.
    """

    raw: int
    usable: int
    reserve: int

    @property
    def promisable(self) -> int:
        """What may be promised to VDs and their snapshots together, in bytes of data."""
        return self.usable - self.reserve


def minimum_disks(level: RaidLevel) -> int:
    """Return how many disks the level needs at least."""
    return _LEVELS[level].disks


def metadata_copies(level: RaidLevel) -> int:
    """Return how often metadata is kept: so that it survives what data does, and never less than twice.

    On one disk, both copies are on it. Metadata never has parity.
    """
    return max(2, _LEVELS[level].narrowest)


def capacity(level: RaidLevel, sizes: Sequence[int]) -> Capacity:
    """Return what disks of ``sizes`` bytes hold at ``level``, something of which can be promised.

    Raises TooFewDisks, or DiskTooSmall naming its place.
    """
    if len(sizes) < minimum_disks(level):
        raise TooFewDisks(level=level, minimum=minimum_disks(level), count=len(sizes))
    for place, size in enumerate(sizes, 1):
        if size < MINIMUM_DISK:
            raise DiskTooSmall(disk=f"number {place}", size=size, minimum=MINIMUM_DISK)
    usable, promisable = _promisable(level, sizes)
    if promisable == 0:
        smallest = min(sizes)
        needed = next(
            size
            for size in range(smallest + _SIZE_STEP, max(sizes) + 4 * MINIMUM_DISK, _SIZE_STEP)
            if _promisable(level, [max(one, size) for one in sizes])[1]
        )
        raise DiskTooSmall(disk=f"number {sizes.index(smallest) + 1}", size=smallest, minimum=needed)
    return Capacity(raw=sum(sizes), usable=usable, reserve=usable - promisable)


def _promisable(level: RaidLevel, sizes: Sequence[int]) -> tuple[int, int]:
    """Return the bytes that the disks hold, and how many of them can be promised."""
    usable = _given_out(_LEVELS[level], sizes)
    low, high = 0, usable
    while low < high:
        middle = (low + high + 1) // 2
        held = middle + working_reserve(middle)
        if held + _kept_back(level, sizes, held) <= usable:
            low = middle
        else:
            high = middle - 1
    return usable, low


def room_for_replacement(raw: int) -> int:
    """Return what must be given out to no chunk for one of disks of ``raw`` bytes to be replaced, in bytes of metadata.

    More than a data chunk, when its length is set to the least that can be (calc_effective_data_chunk_size of
    space-info.c, since Linux 6.11).
    """
    return min(raw // 10, LEAST_DATA_CHUNK) + MIB


def working_reserve(promisable: int) -> int:
    """Return what an RG that may promise so much keeps for what is held beyond the promises, in bytes of data."""
    least = min(_WORKING_LEAST, promisable * _WORKING_MOST_SHARE)
    return int(max(least, promisable * _WORKING_SHARE))


def _kept_back(level: RaidLevel, sizes: Sequence[int], data: int) -> int:
    """Return what must be kept back when ``data`` bytes are promised, in bytes of data."""
    rules, raw = _LEVELS[level], sum(sizes)
    widest = rules.width(len(sizes), len(sizes))
    metadata = data * _METADATA_SHARE + min(data * _GLOBAL_RESERVE_SHARE, _GLOBAL_RESERVE_MOST)
    first, chunk = _metadata_chunks(raw, metadata_copies(level))
    further = max(0, math.ceil((metadata / _CHUNK_FILLED - first) / chunk))
    # One more than is filled: what writes under way may need is reserved many times over, and takes a chunk early.
    taken: float = (first + (further + 1) * chunk) * metadata_copies(level) + _FIXED_PER_DISK * len(sizes)
    if further:
        # The first is made with the filesystem; data may have its last chunk, hardly used, before the others come.
        taken += min(widest * _LARGEST_STRIPE, min(_LARGEST_CHUNK, raw // 10) * widest / rules.data(widest))
    if widest < len(sizes):
        # Disks that are not equally full at the end leave up to a stripe each, on fewer than a chunk needs.
        taken += (rules.copies - 1) * min(_LARGEST_STRIPE, raw // 10)
    if rules.narrowest > 1:
        # What is promised may fill the disks but for this, and still a failed one must be replaceable.
        taken += room_for_replacement(raw) * metadata_copies(level)
    if rules.parity:
        # Metadata lies on some of the disks only: what it leaves on the others may be too narrow for parity.
        taken += rules.parity * chunk
    return math.ceil(taken * rules.data(widest) / widest)


def _metadata_chunks(raw: int, copies: int) -> tuple[int, int]:
    """Return the sizes of the first metadata chunk, which mkfs makes, and of the kernel's further ones at most."""
    largest = _METADATA_CHUNK if raw <= _SMALL else _METADATA_CHUNK_OF_LARGE
    if raw // 10 < largest:
        return raw // 10 // copies, raw // 10
    return largest, largest


def _given_out(level: _Level, sizes: Sequence[int]) -> int:
    """Return the bytes of data that fit when chunks are taken from the emptiest disks until none can be."""
    largest = sum(sizes) // _STRIPES
    room = sorted(sizes, reverse=True)
    total = 0
    while (width := level.width(len(sizes), sum(1 for free in room if free))) >= level.narrowest and room[
        width - 1
    ] > 0:
        stripe = min(largest, room[width - 1])
        room = sorted([free - stripe for free in room[:width]] + room[width:], reverse=True)
        total += int(stripe * level.data(width))
    return total
