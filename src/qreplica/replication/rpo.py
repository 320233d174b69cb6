"""The RPO goal of a job: how old the content of its newest recovery point may become."""

from sqlalchemy.orm import Session

from qreplica.events import log
from qreplica.replication import jobs, lags
from qreplica.replication.lag import check_rpo
from qreplica.state.database import Database
from qreplica.state.lag_models import JobLag
from qreplica.state.models import Severity
from qreplica.units import format_minutes


def goal(session: Session, name: str) -> int | None:
    """Return the job's goal in minutes, None for none. Raises NotFound."""
    row = session.get(JobLag, jobs.get(session, name).id)
    return None if row is None else row.rpo_minutes


def set_goal(database: Database, name: str, minutes: int | None) -> None:
    """Give the job another goal, or none, by which it is judged from the next look on. Idempotent.

    Raises NotFound, RpoWrong.
    """
    check_rpo(minutes)
    with database.session() as session:
        row = lags.row_of(session, jobs.get(session, name))
        if row.rpo_minutes != minutes:
            row.rpo_minutes = minutes
            message = (
                "It has no RPO goal any more." if minutes is None else f"Its RPO goal is {format_minutes(minutes)}."
            )
            log.record(session, Severity.INFO, "rpo-set", f"job {name}", message)
