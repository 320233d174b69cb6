"""Disks that missed writes while they were away, noted in the filesystem, and the scrub that brings them up to date."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from qreplica.storage import btrfs_disks, btrfs_marks, btrfs_scrub
from qreplica.storage.errors import NotMended

#: What is noted: the numbers of the disks, after “@” when the scrub began that mends them, and after “!” how many
#: errors it could not mend.
_STALE = "stale"
#: How long after its beginning a scrub that was cut off is begun anew, and one that could not mend all.
_AFTER_CUT_OFF, _AFTER_ERRORS = timedelta(minutes=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Stale:
    """Disks to be mended, by number; when the scrub for it ``began``, and the errors that it left ``unmended``."""

    numbers: frozenset[int] = frozenset()
    began: datetime | None = None
    unmended: int = 0

    @property
    def is_due(self) -> bool:
        """Whether they are to be mended now: what a scrub could not mend, the next one hardly can."""
        given_up = self.unmended and self.began is not None and datetime.now(UTC) < self.began + _AFTER_ERRORS
        return bool(self.numbers) and not given_up


def stale(place: Path) -> Stale:
    """Return the disks of the filesystem mounted at ``place`` that were not mended yet."""
    rest, _, unmended = (btrfs_marks.read(place, _STALE) or "").partition("!")
    numbers, _, began = rest.partition("@")
    return Stale(
        frozenset(int(number) for number in numbers.split(",") if number),
        datetime.fromisoformat(began) if began else None,
        int(unmended or 0),
    )


def _write(place: Path, noted: Stale) -> None:
    numbers = ",".join(str(number) for number in sorted(noted.numbers))
    began = f"@{noted.began.isoformat()}" if noted.began else ""
    unmended = f"!{noted.unmended}" if noted.unmended else ""
    btrfs_marks.write(place, _STALE, numbers + began + unmended if numbers else None)


def note_away(place: Path, numbers: frozenset[int]) -> None:
    """Note that the disks of these numbers are missing, or came back with an older content than the others."""
    if numbers:
        _write(place, Stale(stale(place).numbers | numbers))


def forget(place: Path, number: int) -> None:
    """Forget that the disk misses writes: another one takes its place."""
    noted = stale(place)
    _write(place, Stale(noted.numbers - {number}, noted.began, noted.unmended))


def mend(group: str, place: Path) -> None:
    """Begin the scrub that mends the disks noted, or forget them when it has ended; soon returns.

    Raises NotMended, once, when it has ended and could not mend all: then they stay noted.
    """
    noted, scrub = stale(place), btrfs_scrub.status(place)
    if noted.began is not None and scrub is not None and scrub.started_at >= noted.began:
        if scrub.running:
            return
        if not scrub.interrupted and scrub.uncorrectable == 0:
            for number in noted.numbers:
                # What it did wrong while it was away says nothing of the disk.
                btrfs_disks.forgive(place, number)
            _write(place, Stale())
            return
        if not scrub.interrupted and not (noted.unmended and noted.began == scrub.started_at):
            _write(place, Stale(noted.numbers, scrub.started_at, scrub.uncorrectable))
            raise NotMended(group=group, count=scrub.uncorrectable, disks=_named(place, noted.numbers))
        if datetime.now(UTC) < scrub.started_at + (_AFTER_ERRORS if noted.unmended else _AFTER_CUT_OFF):
            return
    btrfs_scrub.stop(group, place)
    btrfs_scrub.start(group, place)
    begun = btrfs_scrub.status(place)
    _write(place, Stale(noted.numbers, begun.started_at if begun else None))


def _named(place: Path, numbers: frozenset[int]) -> str:
    return ", ".join(str(member.path) for member in btrfs_disks.members(place) if member.number in numbers)
