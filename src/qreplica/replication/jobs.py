"""Replication jobs, as API and CLI use them. ``create`` is in ``creation``, what a target offers in ``offers``."""

from collections.abc import Container

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, selectinload

from qreplica.errors import NotFound, QReplicaError
from qreplica.events import log
from qreplica.peer.errors import WrongPairing
from qreplica.replication import plans, qsnaps, queue, status
from qreplica.replication.creation import create
from qreplica.replication.errors import JobRunning
from qreplica.replication.failing_over_errors import FailoverUnderWay
from qreplica.replication.links import Links, target_of
from qreplica.replication.offers import discover_nodes, list_backup_vds
from qreplica.replication.plain_creation import create_plain
from qreplica.replication.plain_errors import NotAPlainTarget, WrongDiskGiven
from qreplica.replication.plain_links import JobLinks
from qreplica.replication.release import release
from qreplica.replication.schedule_errors import JobPaused
from qreplica.replication.status import CycleStatus, JobStatus
from qreplica.replication.store import ACTIVE, snapshots_of, unpin
from qreplica.state.database import Database
from qreplica.state.failover_models import DECIDED, Failover, FailoverStep
from qreplica.state.models import Cycle, Job, JobState, Severity
from qreplica.state.plain_models import PlainTarget
from qreplica.storage.driver import StorageDriver

__all__ = [
    "accept_disk",
    "create",
    "create_plain",
    "cycles",
    "delete",
    "discover_nodes",
    "get",
    "list_backup_vds",
    "listing",
    "start",
    "status_of",
    "stop",
]

#: A job in one of these runs, or is about to.
BUSY = (*queue.RUNNING, JobState.QUEUED)


def get(session: Session, name: str) -> Job:
    """Return the job. Raises NotFound."""
    job = session.scalar(select(Job).where(Job.name == name))
    if job is None:
        raise NotFound(what="replication job", name=name, noun="job")
    return job


def start(database: Database, name: str) -> None:
    """Have the job run as soon as its turn comes: a new cycle, or the one that did not end from its checkpoint on.

    A worker takes it up at the next look of ``Workers``, which ``wake`` hastens. Raises NotFound, JobRunning,
    JobPaused, and FailoverUnderWay once its copy is being promoted.
    """
    with database.session() as session:
        job = get(session, name)
        refuse_busy(job)
        refuse_failing_over(session, job, DECIDED)
        if plans.of(session, job.id).paused:
            raise JobPaused(job=name)
        if job.error_kind == WrongPairing.kind:
            # The administrator has read that the node forgot the pairing, and says to go on: pair anew.
            job.pairing_secret = None
        plans.begin(session, job)


def stop(database: Database, name: str) -> None:
    """Have the job stop after what is on the wire; what was sent is kept. Stopping what does not run does nothing.

    One that is queued leaves the queue. Raises NotFound.
    """
    with database.session() as session:
        job = get(session, name)
        if job.state in ACTIVE:
            job.state = JobState.STOPPING
            log.record(session, Severity.INFO, "job-stopping", f"job {name}", "It was told to stop.")
        elif job.state is JobState.QUEUED:
            job.state = JobState.STOPPED
            log.record(session, Severity.INFO, "job-stopped", f"job {name}", "It was taken out of the queue.")


def delete(
    database: Database, storage: StorageDriver, name: str, links: Links | None = None, *, controller: int
) -> None:
    """Delete a job that does not run, and its snapshots; the target keeps its recovery points, or its copy.

    ``controller`` is the one that does it. A target that cannot be told becomes an event, no failure. Raises NotFound,
    JobRunning, FailoverUnderWay, and what the engine does when a snapshot cannot be deleted: then the job is still
    there, and can be deleted again.
    """
    with database.session() as session:
        job = get(session, name)
        refuse_busy(job)
        refuse_failing_over(session, job, tuple(FailoverStep))
        # Whoever may still believe to own it gets StaleOwner.
        job.epoch += 1
        job_id, vd = job.id, job.source_vd_id
    target = target_of(database, job_id, controller)
    try:
        release(target, links or JobLinks(database, controller))
    except QReplicaError as error:
        remedy = "release its backup VD" if target.plain is None else "clear its disk's persistent reservation"
        message = f"The target was not told that the job is deleted; {remedy} there: {error.sentence}"
        with database.session() as session:
            log.record(session, Severity.WARNING, "job-not-released", f"job {name}", message)
    with database.session() as session:
        refuse_busy(session.get_one(Job, job_id))
        left = snapshots_of(session, job_id)
        unpin(session, left)
    for snapshot in left:
        qsnaps.delete(database, storage, vd, snapshot)
    with database.session() as session:
        job = session.get_one(Job, job_id)
        refuse_busy(job)
        session.delete(job)
        log.record(session, Severity.INFO, "job-deleted", f"job {name}", "It was deleted.")


def accept_disk(database: Database, name: str, disk: str) -> None:
    """Have the next cycle overwrite all of a job's plain target, whatever happened to it: the administrator's word.

    ``disk`` is its identity, given as a confirmation. Idempotent. Raises NotFound, JobRunning, NotAPlainTarget,
    WrongDiskGiven.
    """
    with database.session() as session:
        job = get(session, name)
        refuse_busy(job)
        row = session.get(PlainTarget, job.id)
        if row is None:
            raise NotAPlainTarget(job=name)
        if row.disk != disk:
            raise WrongDiskGiven(job=name, disk=row.disk, given=disk)
        row.accepted, row.writer = True, None
        message = f"Disk {disk} was accepted as it is: the next cycle overwrites all of it with a full copy."
        log.record(session, Severity.WARNING, "plain-target-accepted", f"job {name}", message)


def status_of(session: Session, name: str) -> JobStatus:
    """Return what the job is doing. Raises NotFound."""
    return status.of_jobs(session, [get(session, name)])[0]


def listing(session: Session) -> list[JobStatus]:
    """Return what all jobs are doing, by name."""
    rows = select(Job).options(selectinload(Job.paths), joinedload(Job.source_vd)).order_by(Job.name)
    return status.of_jobs(session, session.scalars(rows).all())


def cycles(session: Session, name: str, limit: int = 100) -> list[CycleStatus]:
    """Return the job's latest runs, newest first. Raises NotFound."""
    mine = select(Cycle).where(Cycle.job_id == get(session, name).id).order_by(Cycle.generation.desc())
    return [status.of_cycle(cycle) for cycle in session.scalars(mine.limit(limit))]


def refuse_failing_over(session: Session, job: Job, steps: Container[FailoverStep]) -> None:
    """Raise FailoverUnderWay for a job that fails over, and is in one of the steps."""
    row = session.get(Failover, job.id)
    if row is not None and row.step in steps:
        raise FailoverUnderWay(job=job.name, step=row.step)


def refuse_busy(job: Job) -> None:
    """Raise JobRunning for a job that runs, or is about to."""
    if job.state in BUSY:
        raise JobRunning(job=job.name, state=job.state)
