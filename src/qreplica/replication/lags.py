"""How far the copy of a job lags behind, as it stands in the state."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.replication import configuration
from qreplica.replication.lag import Facts, Mark, Noted
from qreplica.state.lag_models import JobLag
from qreplica.state.models import Cycle, Job, Outcome


def row_of(session: Session, job: Job) -> JobLag:
    """Return the job's row, made now if there was none."""
    row = session.get(JobLag, job.id)
    if row is None:
        row = JobLag(job_id=job.id)
        session.add(row)
        session.flush()
    return row


def newest_point(session: Session, job: str) -> Cycle | None:
    """Return the cycle of the job with that id which carried the newest recovery point."""
    committed = select(Cycle).where(Cycle.job_id == job, Cycle.outcome == Outcome.COMMITTED)
    return session.scalar(committed.order_by(Cycle.generation.desc()).limit(1))


def present_cycle(session: Session, job: str) -> Cycle | None:
    """Return the present or last cycle of the job with that id."""
    return session.scalar(select(Cycle).where(Cycle.job_id == job).order_by(Cycle.generation.desc()).limit(1))


def taken_at(point: Cycle) -> datetime:
    """Return when the content of a recovery point was frozen on the source."""
    return point.taken_at or point.started_at


def facts_of(session: Session, job: Job) -> Facts:
    """Return what is known of the job's copy."""
    row, point = session.get(JobLag, job.id), newest_point(session, job.id)
    cycle = present_cycle(session, job.id)
    return Facts(
        state=job.state,
        created_at=job.created_at,
        point_at=None if point is None else taken_at(point),
        mark=None if cycle is None else Mark(cycle.generation, cycle.step, cycle.checkpoint),
        marked_at=None if cycle is None else cycle.finished_at or cycle.progressed_at or cycle.started_at,
        rpo_minutes=None if row is None else row.rpo_minutes,
        progress_minutes=configuration.get(session).progress_minutes,
    )


def noted(row: JobLag | None) -> Noted:
    """Return what the last look noted."""
    if row is None:
        return Noted()
    mark = None
    if row.generation is not None and row.step is not None and row.checkpoint is not None:
        mark = Mark(row.generation, row.step, row.checkpoint)
    return Noted(row.missed_since, mark, row.progressed_at, row.at_work_since, row.stalled_since)


def note(row: JobLag, found: Noted) -> None:
    """Write down what a look found."""
    row.missed_since, row.progressed_at = found.missed_since, found.progressed_at
    row.at_work_since, row.stalled_since = found.at_work_since, found.stalled_since
    row.generation = row.step = row.checkpoint = None
    if found.mark is not None:
        row.generation, row.step, row.checkpoint = found.mark.generation, found.mark.step, found.mark.checkpoint
