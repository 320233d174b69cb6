"""What an RG's filesystem needs after a disk was replaced, added or away.

Nothing of it is kept in memory only: chunks tell by their profile that they were written while a disk was away, and by
their address that they are older than the last disk added. So whatever was cut off goes on from where it was.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qreplica.storage import btrfs_marks, btrfs_mending
from qreplica.storage.btrfs_chunks import Chunk, chunks, profiles
from qreplica.storage.btrfs_tools import filesystem
from qreplica.storage.capacity import metadata_copies
from qreplica.storage.driver import RaidLevel

#: How btrfs calls what a level does with data, and how often it keeps metadata.
DATA_PROFILES = {
    RaidLevel.JBOD: "single",
    RaidLevel.RAID0: "raid0",
    RaidLevel.RAID1: "raid1",
    RaidLevel.RAID5: "raid5",
    RaidLevel.RAID6: "raid6",
    RaidLevel.RAID10: "raid10",
    RaidLevel.MIRROR3: "raid1c3",
    RaidLevel.MIRROR4: "raid1c4",
}
_METADATA_PROFILES = {2: "raid1", 3: "raid1c3", 4: "raid1c4"}
#: What is noted in the filesystem: its level, and the address below which data is still to be spread over all disks.
_LEVEL, _SPREAD = "level", "spread"


def metadata_profile(level: RaidLevel, disks: int) -> str:
    """Return how btrfs calls what a level does with metadata on so many disks."""
    return "dup" if disks == 1 else _METADATA_PROFILES[metadata_copies(level)]


def note_level(place: Path, level: RaidLevel) -> None:
    """Note the level of the filesystem mounted at ``place``, which its chunks do not tell while disks are away."""
    btrfs_marks.write(place, _LEVEL, level.value)


def level_of(place: Path) -> RaidLevel | None:
    """Return the level noted; None when its making was cut off before, which is undone."""
    noted = btrfs_marks.read(place, _LEVEL)
    return None if noted is None else RaidLevel(noted)


@contextlib.contextmanager
def spreading(place: Path) -> Iterator[None]:
    """Note that all data the filesystem holds now is to be spread over all its disks, unless the block fails.

    Metadata stays: to rewrite its only chunk may leave the kernel no room to work in, and then it stops writing.
    """
    before = btrfs_marks.read(place, _SPREAD)
    if level_of(place) is not RaidLevel.JBOD:
        btrfs_marks.write(place, _SPREAD, str(max(chunk.start + chunk.length for chunk in chunks(place))))
    try:
        yield
    except BaseException:
        btrfs_marks.write(place, _SPREAD, before)
        raise


def forget_spreading(place: Path) -> None:
    """Forget that data is to be spread: it is."""
    btrfs_marks.write(place, _SPREAD, None)


@dataclass(frozen=True, slots=True)
class Need:
    """What is left to do: chunks of another profile than is ``wanted``, and chunks to be spread, below an address.

    ``mend``: disks missed writes while they were away. ``total`` is the length of all chunks that may need rewriting.
    """

    wanted: Mapping[str, str]
    convert: Sequence[Chunk]
    mend: bool
    spread: Sequence[Chunk]
    below: int
    total: int

    @property
    def only_spreading(self) -> bool:
        """Whether no redundancy is lost until it is done."""
        return not (self.convert or self.mend)

    @property
    def share_done(self) -> float:
        """How much of that needs no rewriting, 0 to 1."""
        return 1 - sum(chunk.length for chunk in {*self.convert, *self.spread}) / max(1, self.total)


def need(place: Path) -> Need | None:
    """Return what the filesystem needs once all its disks are there; None for nothing."""
    level = level_of(place)
    if level is None:
        return None
    metadata = metadata_profile(level, filesystem(place).devices)
    wanted = {"data": DATA_PROFILES[level], "metadata": metadata, "system": metadata}
    below = int(btrfs_marks.read(place, _SPREAD) or 0)
    mend = btrfs_mending.stale(place).is_due
    uniform = all(found <= {wanted[kind]} for kind, found in profiles(place).items())
    if uniform and not below and not mend:
        return None
    present = chunks(place)
    other = [chunk for chunk in present if chunk.profile != wanted["data" if chunk.is_data else "metadata"]]
    old = [chunk for chunk in present if chunk.is_data and chunk.start < below]
    if not (other or old or mend):
        return None
    concerned = {*other, *(chunk for chunk in present if chunk.is_data)}
    return Need(wanted, other, mend, old, below, sum(chunk.length for chunk in concerned))
