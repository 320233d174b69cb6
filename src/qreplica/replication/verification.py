"""What administrators say of verifications: begin, stop, how often, and that what differs is to be repaired."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from qreplica.events import log
from qreplica.replication import jobs, plans
from qreplica.replication.schedule_errors import JobPaused
from qreplica.replication.verification_errors import (
    NothingToRepair,
    NothingToVerify,
    RepairUnderWay,
    VerificationScheduleInvalid,
)
from qreplica.state.database import Database
from qreplica.state.failover_models import DECIDED
from qreplica.state.models import Job, JobState, Severity, now
from qreplica.state.plain_models import PlainTarget
from qreplica.state.verification_models import Verification, VerificationState

_MOST_DAYS = 366


def row_of(session: Session, job: Job) -> Verification:
    """Return the job's row, made now if there was none."""
    row = session.get(Verification, job.id)
    if row is None:
        row = Verification(job_id=job.id)
        session.add(row)
        session.flush()
    return row


def shown(session: Session, job: Job) -> Verification:
    """Return the job's row, or one that is not kept."""
    none = Verification(state=VerificationState.NEVER, position=0, size=0, rate=0.0, differing=[], differing_bytes=0)
    none.repair = False
    return session.get(Verification, job.id) or none


def begin(db: Database, name: str, limit: int | None = None) -> None:
    """Have the job's newest recovery point verified, reading at most ``limit`` bytes a second on each side.

    One that runs goes on, with that limit. Raises NotFound, NothingToVerify, RepairUnderWay.
    """
    with db.session() as session:
        job = jobs.get(session, name)
        refuse(session, job)
        row = row_of(session, job)
        if row.state is VerificationState.RUNNING:
            row.limit = limit
            return
        if row.repair:
            raise RepairUnderWay(job=name)
        start(session, row, limit, "by hand")


def start(session: Session, row: Verification, limit: int | None, why: str) -> None:
    """Note that a verification begins, from the first byte on."""
    row.state, row.limit, row.started_at, row.finished_at = VerificationState.RUNNING, limit, now(), None
    row.position = row.size = row.differing_bytes = 0
    row.first_generation = row.generation = row.error = None
    row.differing, row.rate = [], 0.0
    record(session, row.job, Severity.INFO, "verification-started", f"A verification of its copy was started {why}.")


def stop(db: Database, name: str) -> None:
    """End a verification that runs, without a result. Idempotent. Raises NotFound."""
    with db.session() as session:
        job = jobs.get(session, name)
        row = session.get(Verification, job.id)
        if row is not None and row.state is VerificationState.RUNNING:
            row.state, row.finished_at, row.rate, row.error = VerificationState.STOPPED, now(), 0.0, None
            record(session, job, Severity.INFO, "verification-stopped", "The verification of its copy was stopped.")


def schedule(db: Database, name: str, days: int | None) -> None:
    """Have one begin by itself so many days after the last has begun; None: no more. Idempotent.

    Raises NotFound, NothingToVerify for a target that has no recovery points, VerificationScheduleInvalid.
    """
    if days is not None and not 1 <= days <= _MOST_DAYS:
        raise VerificationScheduleInvalid(days=days, most=_MOST_DAYS)
    with db.session() as session:
        job = jobs.get(session, name)
        _refuse_plain(session, job)
        row_of(session, job).every_days = days


def is_due(row: Verification, at: datetime) -> bool:
    """Tell whether one is to begin by its schedule."""
    if row.every_days is None or row.state is VerificationState.RUNNING or row.repair:
        return False
    return row.started_at is None or at - row.started_at >= timedelta(days=row.every_days)


def repair(db: Database, name: str) -> None:
    """Have the job's next cycle send what its verification found to differ too; it begins now unless one runs.

    Idempotent. Raises NotFound, NothingToRepair, JobPaused, FailoverUnderWay.
    """
    with db.session() as session:
        job = jobs.get(session, name)
        row = session.get(Verification, job.id)
        if row is None or row.state is not VerificationState.DIFFERS:
            state = VerificationState.NEVER if row is None else row.state
            raise NothingToRepair(job=name, state=state)
        jobs.refuse_failing_over(session, job, DECIDED)
        if plans.of(session, job.id).paused:
            raise JobPaused(job=name)
        if not row.repair:
            row.repair, row.repair_generation = True, None
            record(session, job, Severity.INFO, "repair-asked-for", "Its next cycle sends what differs too.")
        if job.state not in jobs.BUSY:
            plans.begin(session, job, "to repair its copy")


def refuse(session: Session, job: Job) -> None:
    """Raise NothingToVerify where no recovery point can be."""
    _refuse_plain(session, job)
    if job.base_generation is None:
        raise NothingToVerify(job=job.name, reason="it has made no whole copy yet: run it once")
    if job.state is JobState.SUPERSEDED:
        raise NothingToVerify(job=job.name, reason="its copy was promoted, and hosts have written to it since")


def _refuse_plain(session: Session, job: Job) -> None:
    if session.get(PlainTarget, job.id) is not None:
        reason = "its target is another maker's disk, which tells no digests and keeps no recovery points"
        raise NothingToVerify(job=job.name, reason=reason)


def record(session: Session, job: Job, severity: Severity, kind: str, message: str) -> None:
    """Write down an event about the job."""
    log.record(session, severity, kind, f"job {job.name}", message)
