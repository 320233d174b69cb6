"""The next step of what an RG's filesystem needs, one at a time; it may be killed in the middle and goes on later."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qreplica.storage import btrfs_background, btrfs_disks, btrfs_label, btrfs_mending, btrfs_needs, btrfs_room
from qreplica.storage.btrfs_chunks import Chunk
from qreplica.storage.btrfs_disks import Member, Replacement
from qreplica.storage.btrfs_needs import Need, need
from qreplica.storage.btrfs_tools import SYSFS, filesystem, run
from qreplica.storage.errors import (
    GroupFull,
    NoRoomForReplacement,
    RebuildRunning,
    ReplacementFailed,
    RoomBeingMade,
    SpreadingFoundNoRoom,
    StorageCommandFailed,
)

#: To rewrite a chunk takes room; those that are used least, to less than so many percent, give most of it back.
_FILTERS = (",usage=25", ",usage=50", ",usage=75", ",usage=90", "")
#: When rewriting changed nothing, it is tried again after so many seconds.
_PAUSE = 600.0
#: While nothing is to be replaced, chunks are emptied that are used to this share at most, and only until there is so
#: many times the room that a replacement needs.
_WORTH, _AMPLE = 0.8, 1.25


def exclusive(place: Path) -> str:
    """Return which of the kernel's operations that exclude each other is under way; “none” for none."""
    return (SYSFS / filesystem(place).id / "exclusive_operation").read_text().strip()


def refuse_rebuilding(group: str, place: Path) -> None:
    """Raise RebuildRunning when the filesystem is being rebuilt, or that is due."""
    if btrfs_disks.replacement(place)[0] is Replacement.STARTED or need(place) is not None:
        raise RebuildRunning(group=group)


def refuse_replacing(group: str, place: Path, outgoing: Member) -> None:
    """Raise RebuildRunning when a disk is replaced, or one that is there takes part in what is to be rebuilt."""
    needed = None if outgoing.missing else need(place)
    due = needed is not None and not needed.only_spreading
    if btrfs_disks.replacement(place)[0] is Replacement.STARTED or due:
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
    """The last rewriting begun: of what, by which filter, and when to begin anew if it changes nothing."""

    chunks: frozenset[Chunk]
    step: int
    again_at: float


@dataclass(slots=True)
class _Memory:
    """What is remembered of an RG, and may be forgotten at any time.

    The last rewriting tried; which chunks were begun to be emptied, and when that can be tried anew if they are there
    still; how many bytes the one that is being emptied held, if one is; and how the last replacement that had begun was
    cut off.
    """

    tried: _Try | None = None
    emptied: dict[Chunk, float] = field(default_factory=dict)
    emptying: int = 0
    cut_off: GroupFull | StorageCommandFailed | None = None


class Upkeep:
    """Takes the steps; remembers only when to try again what changed nothing, and what failed in the background."""

    def __init__(self) -> None:
        self._groups: dict[str, _Memory] = {}

    def _of(self, group: str) -> _Memory:
        return self._groups.setdefault(group, _Memory())

    def tend(self, group: str, place: Path, spare: int | None = None) -> None:
        """Take the next step, if none is under way; see StorageDriver.tend_group for ``spare``.

        Raises ReplacementFailed, SpreadingFoundNoRoom, NotMended.
        """
        if _is_busy(group, place):
            return
        self._tell_of_replacement(group, place)
        members = btrfs_disks.members(place)
        missing = frozenset(member.number for member in members if member.missing)
        if missing:
            if missing - btrfs_mending.stale(place).numbers:
                btrfs_label.note_parting(group, place, filesystem(place).generation)
            btrfs_mending.note_away(place, missing)
            return
        btrfs_room.limit_chunks(place, least=False)
        for member in btrfs_disks.growable(members):
            btrfs_disks.grow(group, place, member)
        needed = need(place)
        if needed is not None:
            self._meet(group, place, needed)
            return
        btrfs_needs.forget_spreading(place)
        self._of(group).tried = None
        if btrfs_mending.stale(place).numbers:
            btrfs_mending.mend(group, place)
        else:
            btrfs_label.forget_partings(group, place)
        room = btrfs_room.room(place, members)
        if room.free <= room.needed * _AMPLE:
            self._empty_one(group, place, worth=_WORTH, most=None if spare is None else spare // 2)

    def _tell_of_replacement(self, group: str, place: Path) -> None:
        """Raise ReplacementFailed while one that was cut off was not begun again; its program may just be killed."""
        memory = self._of(group)
        if memory.cut_off is None:
            return
        if btrfs_disks.replacement(place)[0] is not Replacement.CANCELED:
            memory.cut_off = None
            return
        raise _failed(group, memory.cut_off)

    def _meet(self, group: str, place: Path, needed: Need) -> None:
        if needed.convert:
            data, metadata = needed.wanted["data"], needed.wanted["metadata"]
            kinds = {chunk.is_data for chunk in needed.convert}
            filters = [f"-dconvert={data},soft"] * (True in kinds) + [f"-mconvert={metadata},soft"] * (False in kinds)
            self._rewrite(group, place, needed.convert, filters)
        elif needed.mend:
            btrfs_mending.mend(group, place)
        elif not self._rewrite(group, place, needed.spread, [f"-dvrange=0..{needed.below}"]):
            raise SpreadingFoundNoRoom(group=group, minutes=int(_PAUSE // 60))

    def _rewrite(self, group: str, place: Path, left: Sequence[Chunk], filters: Sequence[str]) -> bool:
        """Begin to rewrite chunks, those with least in them first; tell whether, for without room it is for later."""
        memory, now = self._of(group), time.monotonic()
        last, step, again_at = memory.tried, 0, now + _PAUSE
        if last is not None and last.chunks == frozenset(left):
            step, again_at = last.step + 1, last.again_at
            if step >= len(_FILTERS):
                if now < again_at:
                    return False
                step, again_at = 0, now + _PAUSE
        memory.tried = _Try(frozenset(left), step, again_at)
        memory.emptying = 0
        _balance(group, place, [f"{one}{_FILTERS[step]}" for one in filters])
        return True

    def clear_the_way(self, group: str, place: Path) -> None:
        """End what hinders a replacement, and see to the room it needs, before it begins.

        Raises RoomBeingMade or NoRoomForReplacement: to be called again until there is; and ReplacementFailed when the
        last one was cut off by anything else than that, once.
        """
        memory = self._of(group)
        if memory.emptying and exclusive(place) == "balance":
            raise RoomBeingMade(group=group)
        make_way(group, place)
        btrfs_room.limit_chunks(place, least=True)
        # What was overwritten is held until then, and makes the kernel give out more.
        run("btrfs", "filesystem", "sync", place, group=group)
        cut_off, memory.cut_off = memory.cut_off, None
        if cut_off is not None and not isinstance(cut_off, GroupFull):
            raise _failed(group, cut_off)
        room = btrfs_room.room(place, btrfs_disks.members(place))
        if cut_off is None and room.free > room.needed:
            return
        if self._empty_one(group, place, worth=1.0):
            raise RoomBeingMade(group=group)
        if room.free <= room.needed:
            raise NoRoomForReplacement(group=group, free=room.free, needed=room.needed)

    def moving(self, group: str, place: Path) -> int:
        """Return how many bytes a chunk holds that is being emptied, and may be held twice."""
        memory = self._of(group)
        return memory.emptying if memory.emptying and exclusive(place) == "balance" else 0

    def stop_moving(self, group: str, place: Path) -> None:
        """End the emptying of a chunk, which goes on at another time; idempotent."""
        if self.moving(group, place):
            make_way(group, place)

    def cut_off(self, group: str, error: GroupFull | StorageCommandFailed) -> None:
        """Note that a replacement that had begun ended so."""
        self._of(group).cut_off = error

    def _empty_one(self, group: str, place: Path, *, worth: float, most: int | None = None) -> bool:
        """Begin to empty the chunk with least in it, ``most`` bytes and a share of ``worth`` at most; tell whether."""
        memory, now = self._of(group), time.monotonic()
        memory.emptied = {chunk: again_at for chunk, again_at in memory.emptied.items() if now < again_at}
        found = btrfs_room.emptiest(place, frozenset(memory.emptied), most)
        if found is None or found[1] > worth * found[0].length:
            return False
        chunk, memory.emptying = found
        memory.emptied[chunk] = now + _PAUSE
        _balance(group, place, [f"-dvrange={chunk.start}..{chunk.start + 1}"])
        return True


def _failed(group: str, error: GroupFull | StorageCommandFailed) -> ReplacementFailed:
    if isinstance(error, GroupFull):
        return ReplacementFailed(
            group=group,
            reason="its disks are given out to data but for too little",
            remedy="room is made, and it begins again by itself",
        )
    reason = error.fields["reason"]
    return ReplacementFailed(group=group, reason=reason, remedy="look at its disks and replace it by another one")


def _is_busy(group: str, place: Path) -> bool:
    state, _ = btrfs_disks.replacement(place)
    if state is Replacement.SUSPENDED:
        # The disk that was to take the place is gone: the one it was for is still what it was.
        run("btrfs", "replace", "cancel", place, group=group)
    under_way = exclusive(place)
    if under_way == "balance paused":
        _balance_by(group, place, "resume")
    return state is Replacement.STARTED or under_way != "none"


def _balance(group: str, place: Path, filters: Sequence[str]) -> None:
    try:
        _balance_by(group, place, "start", "--full-balance", "-f", *filters)
    except GroupFull:
        # What is left tells.
        return
    except StorageCommandFailed as error:
        if "error during balancing" not in str(error.fields["reason"]):
            raise


def _balance_by(group: str, place: Path, *arguments: str) -> None:
    btrfs_background.start(
        *("btrfs", "balance"),
        *arguments,
        place,
        begun=lambda: exclusive(place) == "balance",
        group=group,
    )
