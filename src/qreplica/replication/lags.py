"""How far the copy of a job lags behind, as it stands in the state."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
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
    return newest_points(session, [job]).get(job)


def present_cycle(session: Session, job: str) -> Cycle | None:
    """Return the present or last cycle of the job with that id."""
    return present_cycles(session, [job]).get(job)


def newest_points(session: Session, jobs: Sequence[str]) -> dict[str, Cycle]:
    """Return for the jobs with these ids that have a recovery point the cycle which carried the newest."""
    return _latest(session, Cycle.job_id.in_(jobs) & (Cycle.outcome == Outcome.COMMITTED))


def present_cycles(session: Session, jobs: Sequence[str]) -> dict[str, Cycle]:
    """Return for the jobs with these ids that ever ran their present or last cycle."""
    return _latest(session, Cycle.job_id.in_(jobs))


def _latest(session: Session, wanted: ColumnElement[bool]) -> dict[str, Cycle]:
    """Return by job the one of the highest generation."""
    last = select(Cycle.job_id, func.max(Cycle.generation).label("generation")).where(wanted).group_by(Cycle.job_id)
    each = last.subquery()
    same = (Cycle.job_id == each.c.job_id) & (Cycle.generation == each.c.generation)
    return {cycle.job_id: cycle for cycle in session.scalars(select(Cycle).join(each, same).where(wanted))}


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
