"""When a job runs by itself and how fast, as it stands in the state."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.events import log
from qreplica.replication import configuration, queue
from qreplica.replication.bandwidth import Bandwidth, limit_at
from qreplica.replication.schedule import Schedule, next_run
from qreplica.replication.snapshot_space import trigger_level
from qreplica.replication.store import new_cycle, unfinished
from qreplica.state.database import Database
from qreplica.state.models import Cycle, Job, JobState, Severity, Subsystem, now
from qreplica.state.schedule_models import JobPlan

SCHEDULE: TypeAdapter[Schedule] = TypeAdapter(Schedule)
BANDWIDTH: TypeAdapter[Bandwidth] = TypeAdapter(Bandwidth)
_NO_LIMIT = Bandwidth()


@dataclass(frozen=True, slots=True)
class Plan:
    """A job's plan. ``schedule`` is there also while it is not ``enabled``."""

    schedule: Schedule | None = None
    enabled: bool = True
    bandwidth: Bandwidth = _NO_LIMIT
    paused: bool = False
    restart_at: datetime | None = None

    @property
    def in_force(self) -> Schedule | None:
        """The schedule by which the job runs, if it runs by one."""
        return self.schedule if self.enabled else None


def of(session: Session, job: str) -> Plan:
    """Return the plan of the job with that id."""
    return of_row(session.get(JobPlan, job))


def of_row(row: JobPlan | None) -> Plan:
    """Return the plan of a job from its row, None for one that has none."""
    if row is None:
        return Plan()
    return Plan(
        None if row.schedule is None else SCHEDULE.validate_python(row.schedule),
        row.enabled,
        _NO_LIMIT if row.bandwidth is None else BANDWIDTH.validate_python(row.bandwidth),
        row.paused,
        row.restart_at,
    )


def next_run_of(session: Session, plan: Plan) -> datetime | None:
    """Return when the job begins by itself next, unless something is under way then; None for never."""
    if plan.paused or plan.in_force is None:
        return None
    return plan.restart_at or next_run(plan.in_force, configuration.time_zone(session), now())


def threshold_of(session: Session, job: Job) -> int:
    """Return how many bytes of its source VD's snapshot space are used when the threshold begins a run of the job."""
    newest = select(Cycle.snapshot_used).where(Cycle.job_id == job.id, Cycle.snapshot_used.is_not(None))
    used_after = session.scalar(newest.order_by(Cycle.generation.desc()).limit(1)) or 0
    return trigger_level(job.source_vd.snapshot_space, used_after, configuration.get(session).threshold)


def limit_now(database: Database, job: str) -> int | None:
    """Return what the job may send at present, in bytes a second; None for as fast as it can."""
    with database.session(read_only=True) as session:
        return limit_at(of(session, job).bandwidth, configuration.time_zone(session), now())


def row_of(session: Session, job: Job) -> JobPlan:
    """Return the job's row, made now if there was none."""
    row = session.get(JobPlan, job.id)
    if row is None:
        row = JobPlan(job_id=job.id)
        session.add(row)
        session.flush()
    return row


def begin(session: Session, job: Job, why: str = "", controller: int | None = None) -> None:
    """Have the job run as soon as its turn comes, and note it: a new cycle, or the one that it did not end.

    ``why`` ends the sentence that tells of it; ``controller`` is the one that does it, None for an administrator.
    """
    job.error_kind = job.error = None
    row = session.get(JobPlan, job.id)
    if row is not None:
        row.restart_at = None
    queue.enter(session, job)
    admit(session, controller, told_of=job, why=why)
    place = queue.place_of(session, job)
    if place is not None:
        _record(session, job, "job-queued", f"It was queued{_because(why)}, {place.sentence}.", controller)


def admit(session: Session, controller: int | None = None, *, told_of: Job | None = None, why: str = "") -> bool:
    """Have those run whose turn has come; tell whether there was one. ``why`` is that of ``told_of``.

    A new cycle serves all that was due by then: its snapshot is taken after that.
    """
    # Two controllers that do so at once would let in too many; SQLite has only one writer anyway.
    session.execute(select(Subsystem.id).with_for_update()).all()
    found = queue.due(session)
    for job in found:
        cycle = unfinished(session, job.id)
        if cycle is None:
            cycle = new_cycle(session, job)
            _serve_what_was_due(session, job)
        cycle.error = None
        job.state, job.error_kind, job.error = JobState.RUNNING, None, None
        how = why if job is told_of else "in its turn"
        _record(session, job, "job-started", f"Generation {cycle.generation} was started{_because(how)}.", controller)
    return bool(found)


def _serve_what_was_due(session: Session, job: Job) -> None:
    row = session.get(JobPlan, job.id)
    if row is not None and row.schedule is not None:
        row.considered_to = max(row.considered_to, now())


def _because(why: str) -> str:
    return f" {why}" if why else ""


def _record(session: Session, job: Job, kind: str, message: str, controller: int | None) -> None:
    log.record(session, Severity.INFO, kind, f"job {job.name}", message, controller=controller)
