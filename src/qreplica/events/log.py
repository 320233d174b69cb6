"""Writes and reads the event log."""

from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from qreplica.state.models import Event, Severity

#: How many events are kept; the oldest go first.
KEEP = 10_000
_TIDY_EVERY = 100


def record(
    session: Session, severity: Severity, kind: str, subject: str, message: str, *, controller: int | None = None
) -> None:
    """Add an event, in the transaction of what it tells of; ``subject`` is a noun and a name: ``job nightly``."""
    event = Event(severity=severity, kind=kind, subject=subject, message=message, controller=controller)
    session.add(event)
    session.flush()
    if event.id % _TIDY_EVERY == 0:
        session.execute(delete(Event).where(Event.id <= event.id - KEEP))


def recent(
    session: Session,
    *,
    severity: Severity | None = None,
    subject: str | None = None,
    since: datetime | None = None,
    limit: int = 100,
) -> list[Event]:
    """Return the newest events, newest first, that match all that is given; ``limit`` at most."""
    chosen = select(Event).order_by(Event.id.desc()).limit(limit)
    if severity is not None:
        chosen = chosen.where(Event.severity == severity)
    if subject is not None:
        chosen = chosen.where(Event.subject == subject)
    if since is not None:
        chosen = chosen.where(Event.at >= since)
    return list(session.scalars(chosen))


def counts(session: Session) -> dict[Severity, int]:
    """Return how many events of each severity the log holds."""
    rows = session.execute(select(Event.severity, func.count()).group_by(Event.severity))
    return {severity: count for severity, count in rows}  # noqa: C416 - rows are not pairs to the type checker
