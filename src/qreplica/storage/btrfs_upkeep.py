"""What an RG's filesystem needs after a disk was replaced, added or away, and the next step to it.

Nothing of it is kept in memory only: chunks tell by their profile that they were written while a disk was away, and
by their address that they are older than the last disk; which disks missed writes is noted in the filesystem.
So whatever was killed in the middle goes on from where it was. Only one step at a time is under way.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from qreplica.storage import btrfs_background, btrfs_disks, btrfs_marks, btrfs_scrub
from qreplica.storage.btrfs_chunks import Chunk, chunks, profiles
from qreplica.storage.btrfs_disks import Member, Replacement
from qreplica.storage.btrfs_tools import SYSFS, filesystem, run
from qreplica.storage.capacity import metadata_copies
from qreplica.storage.driver import RaidLevel
from qreplica.storage.errors import GroupFull, RebuildRunning, StorageCommandFailed

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
#: What is noted in the filesystem: its level; the numbers of disks that missed writes, and after “@” when the scrub
#: began that mends them; and the address below which chunks are still to be spread over all disks.
_LEVEL, _STALE, _SPREAD = "level", "stale", "spread"
#: To rewrite a chunk takes room; those that are used least, to less than so many percent, give most of it back.
_FILTERS = (",usage=25", ",usage=50", ",usage=75", ",usage=90", "")
#: When rewriting found no room, it is tried again after so many seconds.
_PAUSE = 600.0


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


def note_stale(place: Path, numbers: frozenset[int]) -> None:
    """Note that the disks of these numbers miss writes, besides those that are noted already."""
    known, _ = _stale(place)
    if not numbers <= known:
        btrfs_marks.write(place, _STALE, ",".join(str(number) for number in sorted(known | numbers)))


def forget_stale(place: Path, number: int) -> None:
    """Forget that the disk misses writes: another one takes its place."""
    known, _ = _stale(place)
    if number in known:
        left = ",".join(str(one) for one in sorted(known - {number}))
        btrfs_marks.write(place, _STALE, left or None)


def stale(place: Path) -> frozenset[int]:
    """Return the numbers of the disks that miss writes and were not mended yet."""
    return _stale(place)[0]


def _stale(place: Path) -> tuple[frozenset[int], datetime | None]:
    numbers, _, began = (btrfs_marks.read(place, _STALE) or "").partition("@")
    known = frozenset(int(number) for number in numbers.split(",") if number)
    return known, datetime.fromisoformat(began) if began else None


@contextlib.contextmanager
def spreading(place: Path) -> Iterator[None]:
    """Note that all that the filesystem holds now is to be spread over all its disks, unless the block fails."""
    before = btrfs_marks.read(place, _SPREAD)
    if level_of(place) is not RaidLevel.JBOD:
        btrfs_marks.write(place, _SPREAD, str(max(chunk.start + chunk.length for chunk in chunks(place))))
    try:
        yield
    except BaseException:
        btrfs_marks.write(place, _SPREAD, before)
        raise


@dataclass(frozen=True, slots=True)
class Need:
    """What is left to do: chunks to give their ``wanted`` profile, disks to mend, chunks to spread over all disks."""

    wanted: Mapping[str, str]
    convert: Sequence[Chunk]
    mend: frozenset[int]
    spread: Sequence[Chunk]
    total: int

    @property
    def share_done(self) -> float:
        """How much of what the filesystem holds needs no rewriting, 0 to 1."""
        left = sum(chunk.length for chunk in {*self.convert, *self.spread})
        return 1 - left / self.total


def need(place: Path) -> Need | None:
    """Return what the filesystem needs once all its disks are there; None for nothing."""
    level, disks = level_of(place), filesystem(place).devices
    if level is None:
        return None
    wanted = {"data": DATA_PROFILES[level], "metadata": metadata_profile(level, disks)}
    wanted["system"] = wanted["metadata"]
    below = int(btrfs_marks.read(place, _SPREAD) or 0)
    mend = stale(place)
    uniform = all(found <= {wanted[kind]} for kind, found in profiles(place).items())
    if uniform and not below and not mend:
        return None
    present = chunks(place)
    other = [chunk for chunk in present if chunk.profile != wanted["data" if chunk.is_data else "metadata"]]
    old = [chunk for chunk in present if chunk.start < below]
    if not (other or old or mend):
        return None
    return Need(wanted, other, mend, old, sum(chunk.length for chunk in present))


def exclusive(place: Path) -> str:
    """Return which of the kernel's operations that exclude each other is under way; “none” for none."""
    return (SYSFS / filesystem(place).id / "exclusive_operation").read_text().strip()


def refuse_rebuilding(group: str, place: Path, *, even_due: bool = True) -> None:
    """Raise RebuildRunning when the kernel rebuilds the filesystem, or (``even_due``) when that is due."""
    if exclusive(place) != "none" or (even_due and need(place) is not None):
        raise RebuildRunning(group=group)


def make_way(group: str, place: Path) -> None:
    """End the rewriting of chunks, which goes on later with what is left then; idempotent."""
    _interrupt("cancel", group, place)


def pause(group: str, place: Path) -> None:
    """Have the rewriting of chunks wait until the filesystem is mounted again, or resumed by ``tend``; idempotent."""
    _interrupt("pause", group, place)


def _interrupt(how: str, group: str, place: Path) -> None:
    if exclusive(place).startswith("balance"):
        try:
            run("btrfs", "balance", how, place, group=group)
        except StorageCommandFailed as error:
            # It may just have ended, or be paused already.
            if not any(said in str(error.fields["reason"]) for said in ("Not running", "Not in progress")):
                raise


@dataclass(slots=True)
class _Try:
    """The last rewriting begun: of what, filled to what, and when to begin anew if it changed nothing."""

    chunks: frozenset[Chunk]
    step: int
    again_at: float


class Upkeep:
    """Takes the steps; remembers only when to try again what found no room."""

    def __init__(self) -> None:
        self._tries: dict[str, _Try] = {}

    def tend(self, group: str, place: Path) -> None:
        """Take the next step, if none is under way."""
        if self._is_busy(group, place):
            return
        members = btrfs_disks.members(place)
        missing = frozenset(member.number for member in members if member.missing and not member.is_target)
        if missing:
            self._restart_mending(place, missing)
            return
        for member in btrfs_disks.growable(members):
            btrfs_disks.grow(group, place, member)
        needed = need(place)
        if needed is None:
            btrfs_marks.write(place, _SPREAD, None)
            self._tries.pop(group, None)
        elif needed.convert:
            data, metadata = needed.wanted["data"], needed.wanted["metadata"]
            self._rewrite(group, place, needed.convert, (f"-dconvert={data},soft", f"-mconvert={metadata},soft"))
        elif needed.mend:
            _mend(group, place, members)
        else:
            end = btrfs_marks.read(place, _SPREAD)
            self._rewrite(group, place, needed.spread, (f"-dvrange=0..{end}", f"-mvrange=0..{end}"))

    def _is_busy(self, group: str, place: Path) -> bool:
        state, _ = btrfs_disks.replacement(place)
        if state is Replacement.SUSPENDED:
            # The disk that was to take the place is gone: the one it was for is still what it was.
            run("btrfs", "replace", "cancel", place, group=group)
        under_way = exclusive(place)
        if under_way == "balance paused":
            _resume(group, place)
        return state is Replacement.STARTED or under_way != "none"

    def _restart_mending(self, place: Path, missing: frozenset[int]) -> None:
        known, began = _stale(place)
        if began is not None or not missing <= known:
            btrfs_marks.write(place, _STALE, ",".join(str(number) for number in sorted(known | missing)))

    def _rewrite(self, group: str, place: Path, left: Sequence[Chunk], filters: Sequence[str]) -> None:
        """Begin to rewrite chunks, those with least in them first; what finds no room is tried again later."""
        last, now = self._tries.get(group), time.monotonic()
        step, again_at = 0, now + _PAUSE
        if last is not None and last.chunks == frozenset(left):
            step, again_at = last.step + 1, last.again_at
            if step == len(_FILTERS):
                if now < again_at:
                    return
                step, again_at = 0, now + _PAUSE
        self._tries[group] = _Try(frozenset(left), step, again_at)
        limited = [f"{one}{_FILTERS[step]}" for one in filters]
        try:
            btrfs_background.start(
                *("btrfs", "balance", "start", "--full-balance", "-f"),
                *limited,
                place,
                begun=lambda: exclusive(place) == "balance",
                group=group,
            )
        except (GroupFull, StorageCommandFailed) as error:
            if not isinstance(error, GroupFull) and "error during balancing" not in str(error.fields["reason"]):
                raise


def _resume(group: str, place: Path) -> None:
    btrfs_background.start(
        *("btrfs", "balance", "resume", place),
        begun=lambda: exclusive(place) == "balance",
        group=group,
    )


def _mend(group: str, place: Path, members: Sequence[Member]) -> None:
    """Have disks that missed writes brought up to date by a scrub, from its beginning to its end."""
    known, began = _stale(place)
    scrub = btrfs_scrub.status(place)
    if scrub is not None and scrub.running and scrub.started_at == began:
        return
    if scrub is not None and scrub.started_at == began and not scrub.interrupted:
        for member in members:
            if member.number in known:
                # What it did wrong while it was away says nothing of the disk.
                btrfs_disks.forgive(place, member.number)
        btrfs_marks.write(place, _STALE, None)
        return
    btrfs_scrub.stop(group, place)
    btrfs_scrub.start(group, place)
    begun = btrfs_scrub.status(place)
    if begun is not None:
        numbers = ",".join(str(number) for number in sorted(known))
        btrfs_marks.write(place, _STALE, f"{numbers}@{begun.started_at.isoformat()}")
