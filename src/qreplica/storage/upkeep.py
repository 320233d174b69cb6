"""What an RG needs, judged from what the state knows of its disks and what the engine reports of them; pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from qreplica.storage.driver import DiskErrors, GroupHealth, GroupStatus, MemberStatus

#: From so many errors on a disk counts as failed. One that does not write what it was told is worse than one whose bad
#: blocks the other disks can mend; either may happen now and then to a disk that is still good.
_MOST_WRITE_ERRORS, _MOST_OTHER_ERRORS = 10, 1000
#: How long after a scrub that did not come to its end the next one is due.
_SCRUB_AGAIN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Member:
    """A disk of an RG as the state knows it; ``there``: its device is. ``replaces`` is the id of another member."""

    id: str
    name: str
    path: Path
    size: int
    there: bool
    failed: bool
    errors: int
    replaces: str | None


@dataclass(slots=True)
class Findings:
    """What is new or to be done.

    ``counted``: disks whose count of errors is not the state's. ``failed``: those that count as failed from now on, and
    why; ``returned``: those that no longer do. ``unreplaced``: all that count as failed and that nothing replaces yet.
    ``begin``: replacements that the engine does not know of; ``done``: those that have ended. ``join``: new disks that
    the engine does not know of. ``settled``: it has all disks that the state has, is whole, and nothing goes on.
    """

    counted: list[tuple[Member, DiskErrors]] = field(default_factory=list)
    failed: list[tuple[Member, str]] = field(default_factory=list)
    returned: list[Member] = field(default_factory=list)
    unreplaced: list[Member] = field(default_factory=list)
    begin: list[Member] = field(default_factory=list)
    done: list[Member] = field(default_factory=list)
    join: list[Member] = field(default_factory=list)
    settled: bool = False


def judge(members: Sequence[Member], status: GroupStatus) -> Findings:
    """Compare the state's disks of an open RG with the engine's; paths on both sides are resolved.

    Of an engine that reports no disks nothing is concluded.
    """
    found = Findings()
    if not status.members:
        return found
    seen = {one.disk: one for one in status.members if one.disk is not None}
    found.counted = [
        (member, seen[member.path].errors)
        for member in members
        if member.path in seen and seen[member.path].errors.total != member.errors
    ]
    calm = status.health is not GroupHealth.REBUILDING
    missing: Sequence[Member] = ()
    if any(one.replaces for one in members):
        if calm or status.spreading:
            _judge_replacements(members, status, found)
    else:
        missing, unknown = _tell_apart([one for one in members if one.path not in seen], members, status)
        found.join = list(unknown) if calm else []
    replaced = {one.replaces for one in members}
    for member in members:
        if member.replaces is None and member.id not in replaced and (member.path in seen or member in missing):
            _judge_member(member, seen.get(member.path), found)
    nothing_to_do = not (found.begin or found.done or found.join)
    found.settled = status.health is GroupHealth.ONLINE and nothing_to_do and len(members) == len(status.members)
    return found


def _judge_replacements(members: Sequence[Member], status: GroupStatus, found: Findings) -> None:
    present = {one.disk for one in status.members if not one.missing}
    paths = {one.id: one.path for one in members}
    for member in members:
        if member.replaces is not None:
            ended = member.path in present and paths.get(member.replaces) not in present
            (found.done if ended else found.begin).append(member)


def _judge_member(member: Member, seen: MemberStatus | None, found: Findings) -> None:
    reason = "is missing" if seen is None or seen.missing else failing(seen.errors)
    if reason is not None:
        found.unreplaced.append(member)
        if not member.failed:
            found.failed.append((member, reason))
    elif member.failed:
        found.returned.append(member)


def _tell_apart(
    unlisted: Sequence[Member], members: Sequence[Member], status: GroupStatus
) -> tuple[Sequence[Member], Sequence[Member]]:
    """Return which of the disks that the engine does not list by path it misses, and which it never had.

    It may have lost sight of a path, but not of how many disks it has. Where the numbers do not tell, none is returned.
    """
    paths = {one.path for one in members}
    lost = sum(one.missing and one.disk not in paths for one in status.members)
    if lost >= len(unlisted):
        return unlisted, ()
    if any(not one.missing and one.disk not in paths for one in status.members):
        # It has one of them, by a path that is not ours.
        return (), ()
    gone = [one for one in unlisted if not one.there]
    if lost == 0:
        return (), unlisted
    return (gone, [one for one in unlisted if one.there]) if len(gone) == lost else ((), ())


def failing(errors: DiskErrors) -> str | None:
    """Return why a disk with these errors counts as failed, as the end of a sentence; None for one that does not."""
    writes = errors.write + errors.flush
    if writes >= _MOST_WRITE_ERRORS:
        return f"has failed to write {writes} times"
    others = errors.read + errors.corruption + errors.generation
    if others >= _MOST_OTHER_ERRORS:
        return f"has given wrong or no data {others} times"
    return None


def smallest_sufficient(sizes: Sequence[tuple[str, int]], needed: int) -> str | None:
    """Return the name of the smallest disk of at least ``needed`` bytes, the first by name among equals, or None."""
    sufficient = [(size, name) for name, size in sizes if size >= needed]
    return min(sufficient)[1] if sufficient else None


def next_scrub(
    days: int | None, made: datetime, complete: datetime | None, cut_off: datetime | None
) -> datetime | None:
    """Return when the next scrub is due: ``days`` after the last complete one, or after the RG was ``made``.

    One that was cut off since counts for nothing, but the next waits a day after it. None without a schedule.
    """
    if days is None:
        return None
    due = (complete or made) + timedelta(days=days)
    return due if cut_off is None else max(due, cut_off + _SCRUB_AGAIN)
