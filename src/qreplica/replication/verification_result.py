"""What comes of a verification: written down, and told."""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from qreplica.replication import verification
from qreplica.replication.differing import Range, bounded
from qreplica.state import models
from qreplica.state.database import Database
from qreplica.state.models import Severity
from qreplica.state.verification_models import Verification, VerificationState
from qreplica.units import format_size

#: So many ranges an event names.
_NAMED = 3
#: So many ranges are kept at most.
_MOST = 10_000


def same_run(session: Session, before: Verification) -> Verification | None:
    """Return the row as long as that run goes on: it may have been stopped, and another one begun."""
    row = session.get(Verification, before.job_id)
    if row is None or row.state is not VerificationState.RUNNING or row.started_at != before.started_at:
        return None
    return row


def set_differing(row: Verification, ranges: Iterable[Range]) -> None:
    """Note what differs."""
    row.differing = [list(one) for one in bounded(ranges, _MOST)]
    row.differing_bytes = sum(length for _, length in row.differing)


def note(database: Database, before: Verification, sentence: str) -> None:
    """Write down what hinders it just now."""
    with database.session() as session:
        row = same_run(session, before)
        if row is not None:
            row.error, row.rate = sentence, 0.0


def end(
    database: Database, before: Verification, state: VerificationState, error: str | None, found: Iterable[Range] = ()
) -> None:
    """Write down how it ended, and tell of it."""
    with database.session() as session:
        row = same_run(session, before)
        if row is None:
            return
        row.state, row.finished_at, row.error, row.rate = state, models.now(), error, 0.0
        set_differing(row, found)
        _tell(session, row)


def _tell(session: Session, row: Verification) -> None:
    job = row.job
    first, last = row.first_generation, row.generation
    which = f"generation {last}" if first in {None, last} else f"generations {first} to {last}"
    if row.state is VerificationState.PASSED:
        message = f"Its copy was verified: {format_size(row.size)} of {which} are the same on both sides."
        verification.record(session, job, Severity.INFO, "copy-verified", message)
    elif row.state is VerificationState.DIFFERS:
        message = (
            f"The copy of {which} differs in {format_size(row.differing_bytes)} ({_named(row.differing)}) from what "
            f"was replicated: have just that sent again with “qreplica job repair {job.name}”, and look for the reason "
            f"on {job.target_subsystem_name}: a disk that lies, or somebody who wrote to its backup virtual disk."
        )
        verification.record(session, job, Severity.ERROR, "copy-differs", message)
    else:
        message = f"The verification of its copy failed: {row.error}"
        verification.record(session, job, Severity.WARNING, "verification-failed", message)


def _named(ranges: list[list[int]]) -> str:
    named = ", ".join(f"{format_size(length)} at byte {offset}" for offset, length in ranges[:_NAMED])
    more = len(ranges) - _NAMED
    return named if more <= 0 else f"{named} and {more} more ranges"
