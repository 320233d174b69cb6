"""What an administrator says of when a job runs and how fast: its schedule, its bandwidth limit, its pauses."""

from sqlalchemy.orm import Session

from qreplica.events import log
from qreplica.replication import jobs, plans
from qreplica.replication.bandwidth import Bandwidth
from qreplica.replication.plans import BANDWIDTH, SCHEDULE, Plan, row_of
from qreplica.replication.schedule import Schedule, describe
from qreplica.replication.schedule_errors import NoSchedule, RestartDropped
from qreplica.replication.store import ACTIVE
from qreplica.state.database import Database
from qreplica.state.models import Job, JobState, Severity, now
from qreplica.state.schedule_models import JobPlan


def get(session: Session, name: str) -> Plan:
    """Return the job's plan. Raises NotFound."""
    return plans.of(session, jobs.get(session, name).id)


def set_schedule(database: Database, name: str, schedule: Schedule, *, enabled: bool = True) -> None:
    """Have the job run by a schedule from now on; what would have been due before is not.

    Idempotent. Raises NotFound.
    """
    with database.session() as session:
        job = jobs.get(session, name)
        row, told = row_of(session, job), SCHEDULE.dump_python(schedule, mode="json")
        if (row.schedule, row.enabled) == (told, enabled):
            return
        row.schedule, row.enabled, row.considered_to = told, enabled, now()
        if not enabled:
            _drop_restart(job, row)
        what = f"It runs {describe(schedule)} now." if enabled else f"Its schedule ({describe(schedule)}) is off."
        log.record(session, Severity.INFO, "schedule-set", f"job {name}", what)


def enable_schedule(database: Database, name: str, *, enabled: bool) -> None:
    """Switch the job's schedule on or off. Idempotent. Raises NotFound, NoSchedule."""
    with database.session(read_only=True) as session:
        schedule = get(session, name).schedule
    if schedule is None:
        raise NoSchedule(job=name)
    set_schedule(database, name, schedule, enabled=enabled)


def delete_schedule(database: Database, name: str) -> None:
    """Have the job run only when it is started. Idempotent. Raises NotFound."""
    with database.session() as session:
        job = jobs.get(session, name)
        row = session.get(JobPlan, job.id)
        if row is not None and row.schedule is not None:
            row.schedule, row.enabled = None, False
            _drop_restart(job, row)
            log.record(session, Severity.INFO, "schedule-deleted", f"job {name}", "It runs when it is started only.")


def set_bandwidth(database: Database, name: str, bandwidth: Bandwidth) -> None:
    """Limit what the job sends, also the cycle that runs, within seconds. Idempotent. Raises NotFound."""
    with database.session() as session:
        row = row_of(session, jobs.get(session, name))
        told = BANDWIDTH.dump_python(bandwidth, mode="json")
        if row.bandwidth != told:
            row.bandwidth = told
            log.record(session, Severity.INFO, "bandwidth-set", f"job {name}", "Its bandwidth limit was changed.")


def pause(database: Database, name: str) -> None:
    """Have the job begin nothing, by schedule or otherwise, until it is resumed; a running cycle stops as by ``stop``.

    One that is queued leaves the queue, and enters it again when it is resumed. Idempotent. Raises NotFound.
    """
    with database.session() as session:
        job = jobs.get(session, name)
        row = row_of(session, job)
        if row.paused:
            return
        row.paused, row.interrupted = True, job.state in {*ACTIVE, JobState.QUEUED}
        if row.interrupted:
            job.state = JobState.STOPPED if job.state is JobState.QUEUED else JobState.STOPPING
        log.record(session, Severity.INFO, "job-paused", f"job {name}", "It was paused.")


def resume(database: Database, name: str) -> None:
    """End a pause: what it interrupted goes on from its checkpoint; what was due meanwhile is not made up for.

    Idempotent. Raises NotFound.
    """
    with database.session() as session:
        job = jobs.get(session, name)
        row = session.get(JobPlan, job.id)
        if row is None or not row.paused:
            return
        goes_on = row.interrupted and job.state in {JobState.STOPPED, JobState.STOPPING}
        row.paused, row.interrupted, row.considered_to = False, False, now()
        log.record(session, Severity.INFO, "job-resumed", f"job {name}", "It goes on.")
        if goes_on:
            plans.begin(session, job)


def _drop_restart(job: Job, row: JobPlan) -> None:
    """Have the job not run again by itself after its snapshots were cleared: that is for jobs with a schedule."""
    if row.restart_at is not None:
        row.restart_at = None
        dropped = RestartDropped()
        job.error_kind, job.error = dropped.kind, dropped.sentence
