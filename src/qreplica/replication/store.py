"""The state of a job and its cycle as the job's present owner writes it: every write compares the epoch first.

An epoch is raised before it is used anywhere (``take_over``, ``raise_epoch``). Whoever holds an older one gets
StaleOwner from every call here, and must stop.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from qreplica.cluster.duties import doer
from qreplica.errors import QReplicaError
from qreplica.replication import queue, repairing, superseded_source
from qreplica.replication.differing import Range
from qreplica.replication.errors import StaleOwner
from qreplica.replication.path_states import carried_by
from qreplica.replication.planner import Base, Begun
from qreplica.replication.recovery_errors import Superseded
from qreplica.state.database import Database
from qreplica.state.models import Cycle, CycleKind, Job, JobState, Outcome, Snapshot, SnapshotKind, Step, now

#: A job in one of these has a cycle to go on with, and a worker.
ACTIVE = (JobState.RUNNING, JobState.WAITING)


@dataclass(frozen=True, slots=True)
class CycleFacts:
    """What is persisted of a job and the cycle that it goes on with.

    ``snapshot`` is None until the cycle's snapshot is known to exist. ``made`` names the snapshot of each generation
    that the job ever carried; a cycle's snapshot has the cycle's id. ``noted`` are those of them that are not known to
    be deleted. ``repairs`` are ranges that the cycle sends whatever its delta is.
    """

    job: str
    name: str
    cycle: str
    generation: int
    epoch: int
    step: Step
    outcome: Outcome | None
    source_vd: str
    source_group: str
    snapshot: str | None
    begun: Begun | None
    made: dict[int, str]
    noted: frozenset[str]
    repairs: tuple[Range, ...] = ()


@dataclass(frozen=True, slots=True)
class Planned:
    """What a cycle is about to send; ``total`` and ``zeros`` in bytes. ``repairs``: it sends those of the facts too."""

    base: Base | None
    manifest: str
    total: int
    zeros: int
    done: int
    checkpoint: int
    repairs: bool = False


class JobStore:
    """The one way in which a worker writes. ``epoch`` is its fencing number, ``controller`` where it works."""

    def __init__(self, database: Database, job: str, epoch: int, controller: int) -> None:
        self._database = database
        self.job = job
        self.epoch = epoch
        self.controller = controller

    @classmethod
    def take_over(cls, database: Database, job: str, controller: int) -> "JobStore | None":
        """Become the owner, by a higher epoch. None when the job has nothing to do, or not on this controller."""
        with database.session() as session:
            row = session.get(Job, job)
            if row is None or row.state not in ACTIVE or doer(session, row.controller) != controller:
                return None
            if unfinished(session, job) is None:
                return None
            row.epoch += 1
            return cls(database, job, row.epoch, controller)

    def raise_epoch(self, above: int = 0) -> int:
        """Persist and return a higher epoch, also higher than ``above``: before each claim, and each change of path."""
        with self.owned() as (_, job):
            job.epoch = epoch = max(job.epoch, above) + 1
        self.epoch = epoch
        return epoch

    def facts(self) -> CycleFacts:
        """Return what is persisted."""
        with self.owned() as (session, job):
            cycle = _present(session, job)
            return CycleFacts(
                job=job.id,
                name=job.name,
                cycle=cycle.id,
                generation=cycle.generation,
                epoch=self.epoch,
                step=cycle.step,
                outcome=cycle.outcome,
                source_vd=job.source_vd_id,
                source_group=job.source_vd.raid_group_id,
                snapshot=cycle.snapshot_id,
                begun=_begun(cycle),
                made=_made(session, job),
                noted=frozenset(snapshots_of(session, job.id)),
                repairs=repairing.wanted(session, cycle),
            )

    def step(self, step: Step) -> None:
        """Persist that the work of ``step`` begins."""
        with self.owned() as (session, job):
            _present(session, job).step = step

    def snapshot_taken(self, snapshot: str, used: int) -> None:
        """Pin the cycle's snapshot, after which ``used`` bytes of snapshot space were used; the delta is next."""
        with self.owned() as (session, job):
            cycle = _present(session, job)
            cycle.snapshot_id, cycle.snapshot_used, cycle.step = snapshot, used, Step.DELTA
            cycle.taken_at = session.get_one(Snapshot, snapshot).taken_at

    def start_anew(self, reason: str) -> None:
        """Give the cycle up, whose snapshot is gone, and put one with a new generation in its place."""
        with self.owned() as (session, job):
            cycle = _present(session, job)
            cycle.finished_at, cycle.outcome, cycle.error = now(), Outcome.ABANDONED, reason
            cycle.snapshot_id = cycle.base_snapshot_id = None
            new_cycle(session, job)

    def planned(self, plan: Planned) -> None:
        """Persist what will be sent, before the target hears of it; its transfer is next."""
        with self.owned() as (session, job):
            cycle = _present(session, job)
            if cycle.manifest is not None:
                cycle.resumes += 1
            base = plan.base
            cycle.kind = CycleKind.FULL if base is None else CycleKind.INCREMENTAL
            cycle.base_generation = None if base is None else base.generation
            cycle.base_snapshot_id = None if base is None else base.snapshot
            cycle.manifest = plan.manifest
            cycle.total_bytes, cycle.zero_bytes, cycle.done_bytes = plan.total, plan.zeros, plan.done
            cycle.checkpoint = plan.checkpoint
            cycle.step = Step.TRANSFER
            cycle.progressed_at = now()
            if plan.repairs:
                repairing.planned(session, cycle)

    def checkpoint(self, offset: int, done: int) -> None:
        """Persist that everything below ``offset`` is durable on the target."""
        with self.owned() as (session, job):
            cycle = _present(session, job)
            cycle.checkpoint, cycle.done_bytes, cycle.progressed_at = offset, done, now()

    def progress(self, *, done: int, sent: int, compared: int = 0, rate: float, peak_memory: int) -> None:
        """Note how far the transfer is: bytes done, bytes sent and compared since the last call, bytes a second.

        ``peak_memory`` is the most that this worker ever had resident, in bytes.
        """
        with self.owned() as (session, job):
            cycle = _present(session, job)
            cycle.done_bytes, cycle.rate, cycle.progressed_at = done, rate, now()
            cycle.sent_bytes += sent
            cycle.compared_bytes += compared
            cycle.worker_peak_memory = max(cycle.worker_peak_memory, peak_memory)

    def committed(self) -> None:
        """Make the cycle's generation the base of the next; what is left is to release the old one."""
        with self.owned() as (session, job):
            cycle = _present(session, job)
            job.base_generation, job.base_snapshot_id = cycle.generation, cycle.snapshot_id
            cycle.base_snapshot_id = None
            cycle.step, cycle.outcome, cycle.done_bytes = Step.DONE, Outcome.COMMITTED, cycle.total_bytes
            repairing.committed(session, cycle)

    def left_over(self, present: Iterable[str]) -> list[str]:
        """Return snapshots that cycles of this job took and nothing needs any more, and unpin them.

        They are those still noted, and those ``present`` in the engine that are not: a deletion was cut off.
        """
        with self.owned() as (session, job):
            cycle = _present(session, job)
            needed = {job.base_snapshot_id, cycle.id, cycle.snapshot_id, cycle.base_snapshot_id}
            taken = set(present).intersection(_made(session, job).values()).union(snapshots_of(session, job.id))
            left = sorted(taken - needed)
            unpin(session, left)
            return left

    def finished(self) -> None:
        """End the cycle; the job is idle."""
        with self.owned() as (session, job):
            cycle = _present(session, job)
            cycle.finished_at, cycle.rate = now(), 0.0
            _settle(job, JobState.IDLE)

    def claimed(self, name: str, size: int, path: str) -> None:
        """Note that this path carries the data now, and no other; and the backup VD's name and size in bytes."""
        with self.owned() as (_, job):
            carried_by(job, path)
            job.target_vd_name, job.target_size = name, size
            if job.state is JobState.WAITING:
                _settle(job, JobState.RUNNING)

    def target_grew(self, size: int) -> None:
        """Note that the backup VD has another size."""
        with self.owned() as (_, job):
            job.target_size = size

    def waiting(self, error: QReplicaError) -> bool:
        """Note that a way to the target is awaited, and why; return whether this is news."""
        with self.owned() as (session, job):
            news = job.state is JobState.RUNNING or job.error_kind != error.kind
            if job.state in ACTIVE:
                _settle(job, JobState.WAITING, error)
                _present(session, job).rate = 0.0
            return news

    def gave_way(self) -> bool:
        """Leave the place among those that run to a job that is queued, if one is; return whether that was so.

        The job, which waits for a way to its target, keeps the reason, and comes last in the queue.
        """
        with self.owned() as (session, job):
            if job.state is not JobState.WAITING or not queue.is_anybody_in(session):
                return False
            queue.enter(session, job)
            return True

    def failed(self, error: QReplicaError) -> None:
        """End the work until the administrator has acted; the cycle keeps its checkpoint."""
        with self.owned() as (session, job):
            cycle = _present(session, job)
            cycle.error, cycle.rate = error.sentence, 0.0
            if not isinstance(error, Superseded):
                _settle(job, JobState.FAILED, error)
                return
            _settle(job, JobState.SUPERSEDED, error)
            superseded_source.protect(session, job)

    def stopped(self) -> None:
        """Note that the work has stopped, if the administrator asked for it; else it is to go on later."""
        with self.owned() as (session, job):
            _present(session, job).rate = 0.0
            if job.state is JobState.STOPPING:
                _settle(job, JobState.STOPPED)

    def paired(self, secret: str) -> None:
        """Keep what the first claim on a node without CHAP agreed on."""
        with self.owned() as (_, job):
            job.pairing_secret = secret

    @contextmanager
    def owned(self) -> Iterator[tuple[Session, Job]]:
        """Give a transaction that holds the job's row, having found the epoch in it. Raises StaleOwner."""
        with self._database.session() as session:
            self.confirm(session)
            yield session, session.get_one(Job, self.job)

    def confirm(self, session: Session) -> None:
        """Raise StaleOwner unless the epoch is the job's; it then stays so to the end of the transaction."""
        mine = update(Job).where(Job.id == self.job, Job.epoch == self.epoch).values(epoch=self.epoch)
        if session.execute(mine).rowcount != 1:  # type: ignore[attr-defined] # every UPDATE's result has it
            raise StaleOwner(job=self.job, epoch=self.epoch)


def new_cycle(session: Session, job: Job) -> Cycle:
    """Add the job's next cycle, with the next generation."""
    job.generation += 1
    cycle = Cycle(job_id=job.id, generation=job.generation, started_at=now())
    job.cycles.append(cycle)
    session.flush()
    return cycle


def unpin(session: Session, snapshots: list[str]) -> None:
    """Take the snapshots out of the job's and its cycles' references, so that they can be deleted."""
    for column in (Cycle.snapshot_id, Cycle.base_snapshot_id):
        session.execute(update(Cycle).where(column.in_(snapshots)).values({column: None}))
    session.execute(update(Job).where(Job.base_snapshot_id.in_(snapshots)).values(base_snapshot_id=None))


def unfinished(session: Session, job: str) -> Cycle | None:
    """Return the cycle that the job goes on with, if there is one."""
    return session.scalar(select(Cycle).where(Cycle.job_id == job, Cycle.finished_at.is_(None)))


def snapshots_of(session: Session, job: str) -> list[str]:
    """Return the snapshots that the job's cycles took, as far as they are still noted."""
    cycles = select(Cycle.id).where(Cycle.job_id == job)
    chosen = select(Snapshot.id).where(Snapshot.id.in_(cycles), Snapshot.kind == SnapshotKind.REPLICATION)
    return list(session.scalars(chosen))


def _settle(job: Job, state: JobState, error: QReplicaError | None = None) -> None:
    job.state = state
    job.error_kind = None if error is None else error.kind
    job.error = None if error is None else error.sentence
    if state is not JobState.RUNNING:
        carried_by(job, None)


def _present(session: Session, job: Job) -> Cycle:
    cycle = unfinished(session, job.id)
    if cycle is None:
        # Only another owner, or who deletes the job, ends it behind our back.
        raise StaleOwner(job=job.id, epoch=job.epoch)
    return cycle


def _made(session: Session, job: Job) -> dict[int, str]:
    rows = session.execute(select(Cycle.generation, Cycle.id).where(Cycle.job_id == job.id))
    return {generation: snapshot for generation, snapshot in rows}  # noqa: C416 - rows are not pairs to the type checker


def _base(generation: int | None, snapshot: str | None) -> Base | None:
    return None if generation is None or snapshot is None else Base(generation, snapshot)


def _begun(cycle: Cycle) -> Begun | None:
    base = _base(cycle.base_generation, cycle.base_snapshot_id)
    if cycle.manifest is None or (cycle.kind is CycleKind.INCREMENTAL and base is None):
        return None
    return Begun(cycle.manifest, base, cycle.checkpoint)
