"""Writes and reads the event log."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, delete, func, or_, select
from sqlalchemy.orm import Session

from qreplica.state.database import Database
from qreplica.state.models import Event, Severity

#: How many events are kept; the oldest go first.
KEEP = 10_000
_TIDY_EVERY = 100
_PAGE = 1_000


def record(
    session: Session, severity: Severity, kind: str, subject: str, message: str, *, controller: int | None = None
) -> None:
    """Add an event, in the transaction of what it tells of; ``subject`` is a noun and a name: ``job nightly``."""
    event = Event(severity=severity, kind=kind, subject=subject, message=message, controller=controller)
    session.add(event)
    session.flush()
    if event.id % _TIDY_EVERY == 0:
        session.execute(delete(Event).where(Event.id <= event.id - KEEP))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events to read; None is any. ``contains`` is a text that the subject or the message holds."""

    severity: Severity | None = None
    subject: str | None = None
    contains: str | None = None
    since: datetime | None = None
    until: datetime | None = None


_ANY: Final = Wanted()


def recent(session: Session, wanted: Wanted = _ANY, *, limit: int = 100, before: int | None = None) -> list[Event]:
    """Return the newest events, newest first, that match all that is wanted; ``limit`` at most, with ids below."""
    chosen = select(Event).where(*_conditions(wanted)).order_by(Event.id.desc()).limit(limit)
    return list(session.scalars(chosen if before is None else chosen.where(Event.id < before)))


def everything(database: Database, wanted: Wanted) -> Iterator[Event]:
    """Yield all events that match, newest first, read in parts so that none is held for long."""
    before = None
    while page := _page(database, wanted, before):
        yield from page
        before = page[-1].id


def _page(database: Database, wanted: Wanted, before: int | None) -> list[Event]:
    with database.session(read_only=True) as session:
        return recent(session, wanted, limit=_PAGE, before=before)


def _conditions(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    if wanted.severity is not None:
        yield Event.severity == wanted.severity
    if wanted.subject is not None:
        yield Event.subject == wanted.subject
    if wanted.contains is not None:
        yield or_(*(column.icontains(wanted.contains, autoescape=True) for column in (Event.subject, Event.message)))
    if wanted.since is not None:
        yield Event.at >= wanted.since
    if wanted.until is not None:
        yield Event.at <= wanted.until


def counts(session: Session) -> dict[Severity, int]:
    """Return how many events of each severity the log holds."""
    rows = session.execute(select(Event.severity, func.count()).group_by(Event.severity))
    return {severity: count for severity, count in rows}  # noqa: C416 - rows are not pairs to the type checker
