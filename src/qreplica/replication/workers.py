"""Sees to it that every job that is to run has a worker, on the controller that it belongs to."""

import subprocess
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from sqlalchemy import or_, select

from qreplica.cluster.duties import doer
from qreplica.daemon.config import Config
from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.replication import plans, queue
from qreplica.replication.path_states import carried_by
from qreplica.replication.retry import LONGEST
from qreplica.replication.store import ACTIVE
from qreplica.replication.worker_processes import Command, WorkerProcesses, command
from qreplica.state.database import Database
from qreplica.state.models import Job, JobState, Severity

_LOOK_EVERY = 1.0
_GRACE = 15.0
#: Workers that may be starting at once. Each takes a processor for about a second; were sixteen to start together, the
#: daemon would not come to renew its leases, and who has lost those ends all workers, to start them again.
_STARTING = 4
#: Failed may also have been said from outside, of a job whose snapshot space ran out; queued, of one that was resumed
#: before its worker had ended.
_TO_END = (JobState.STOPPING, JobState.FAILED, JobState.QUEUED)


@dataclass(slots=True)
class _Worker:
    """A process; ``epoch`` is the job's when it was started, which it raises as soon as it works."""

    process: subprocess.Popen[bytes]
    name: str
    epoch: int
    told_to_end: float | None = None


@dataclass(slots=True)
class _Crashes:
    """How often a job's workers died in a row, and when the next may start (monotonic seconds)."""

    count: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class _Wanted:
    """The state of a job of this controller, and its epoch; ``may_start``: it may have another worker."""

    name: str
    state: JobState
    epoch: int
    may_start: bool


@dataclass
class Workers:
    """Lives in the daemon, with a thread of its own. ``file`` is what ``config`` was loaded from.

    ``owners`` tells whose jobs this controller runs now. Workers for those that the other one runs are ended.

    ``start`` takes up what a daemon before left RUNNING or WAITING. Those that are queued begin in their turn, except
    while ``may_begin`` says no, as it does without a license. ``command`` makes a worker's argument list.
    While no job runs, one worker stands by for the next.
    """

    file: Path
    config: Config
    database: Database
    owners: Callable[[], Collection[int]]
    look_every: float = _LOOK_EVERY
    grace: float = _GRACE
    command: Command = command
    may_begin: Callable[[], bool] = lambda: True
    _processes: WorkerProcesses = field(init=False)
    _workers: dict[str, _Worker] = field(default_factory=dict, init=False)
    _crashes: dict[str, _Crashes] = field(default_factory=dict, init=False)
    _wake: threading.Event = field(default_factory=threading.Event, init=False)
    _ending: threading.Event = field(default_factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._processes = WorkerProcesses(self.file, self.command)

    def start(self) -> None:
        """Begin to look after the jobs. Idempotent."""
        if self._thread is None:
            self._ending.clear()
            # The kernel ends a worker with the thread that started it (prctl(2)), so that one thread does it all.
            self._thread = threading.Thread(target=self._run, name="workers", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End all workers and the thread; the jobs stay RUNNING, for the next start to go on with. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._ending.set()
            self._wake.set()
            thread.join()

    def wake(self) -> None:
        """Look now: a job was started or stopped."""
        self._wake.set()

    def running(self) -> list[str]:
        """Return the ids of the jobs that have a worker."""
        return list(self._workers)

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                self._wake.clear()
                try:
                    self._look()
                except QReplicaError as error:
                    structlog.get_logger().warning("workers-not-looked-after", sentence=error.sentence)
                self._wake.wait(self.look_every)
        finally:
            self._end_all()

    def _look(self) -> None:
        self._reap()
        self._admit()
        wanted = self._wanted()
        for job, one in wanted.items():
            worker = self._workers.get(job)
            if one.state in ACTIVE and worker is None:
                if one.may_start and self._starting(wanted) < _STARTING:
                    self._spawn(job, one)
            elif one.state is JobState.STOPPING and worker is None:
                self._note_stopped(job)
            elif one.state in _TO_END and worker is not None:
                self._end(worker)
        for job, worker in self._workers.items():
            if job not in wanted:
                self._end(worker)
        self._prepare(wanted)

    def _starting(self, wanted: dict[str, _Wanted]) -> int:
        """Return how many workers have yet to begin to work."""
        return sum(job in wanted and wanted[job].epoch == one.epoch for job, one in self._workers.items())

    def _admit(self) -> None:
        """Have those begin whose turn has come, also of the other controller, which finds them at its next look."""
        with self.database.session(read_only=True) as session:
            if not queue.due(session):
                return
        if self.may_begin():
            with self.database.session() as session:
                plans.admit(session, self.config.controller)

    def _prepare(self, wanted: dict[str, _Wanted]) -> None:
        """Have a worker stand by where there are jobs; not while one works: it would take processor time from it."""
        if not wanted:
            self._processes.dismiss()
        elif not self._workers and not any(one.state in ACTIVE for one in wanted.values()):
            self._processes.prepare()

    def _wanted(self) -> dict[str, _Wanted]:
        """Return the jobs that this controller runs, and those that it has workers for and nobody else runs.

        A lease that was not renewed in time is no reason to end workers while the other controller has not taken it:
        on a machine too busy for the one, starting them anew would keep it so. If it does, they cannot write any more.
        """
        owners = self.owners()
        with self.database.session(read_only=True) as session:
            chosen = select(Job.id, Job.name, Job.state, Job.epoch, Job.controller)
            ours = chosen.where(or_(Job.controller.in_(owners), Job.id.in_(self._workers)))
            # The first that were queued are the first to be started.
            return {
                job: _Wanted(name, state, epoch, may_start=owner in owners)
                for job, name, state, epoch, owner in session.execute(ours.order_by(Job.queued_as))
                if owner in owners or doer(session, owner) == self.config.controller
            }

    def _spawn(self, job: str, one: _Wanted) -> None:
        if time.monotonic() < self._crashes.get(job, _Crashes()).not_before:
            return
        self._workers[job] = _Worker(self._processes.start(job), one.name, one.epoch)

    def _reap(self) -> None:
        for job, worker in list(self._workers.items()):
            code = worker.process.poll()
            if code is None:
                continue
            del self._workers[job]
            if code == 0 or worker.told_to_end is not None:
                self._crashes.pop(job, None)
            else:
                self._note_crash(job, worker.name, code)

    def _note_crash(self, job: str, name: str, code: int) -> None:
        crashes = self._crashes.setdefault(job, _Crashes())
        wait = min(2.0**crashes.count, LONGEST)
        crashes.count += 1
        crashes.not_before = time.monotonic() + wait
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        message = f"Its worker {how}; another one goes on from the checkpoint in {wait:.0f} s."
        with self.database.session() as session:
            row = session.get(Job, job)
            if row is None or row.state not in ACTIVE:
                return
            log.record(
                session, Severity.WARNING, "worker-died", f"job {name}", message, controller=self.config.controller
            )

    def _note_stopped(self, job: str) -> None:
        with self.database.session() as session:
            row = session.get(Job, job)
            if row is not None and row.state is JobState.STOPPING:
                row.state = JobState.STOPPED
                carried_by(row, None)

    def _end(self, worker: _Worker) -> None:
        """Ask the worker to stop; kill it when it has not in time. What it had flushed is safe either way."""
        if worker.told_to_end is None:
            worker.told_to_end = time.monotonic()
            worker.process.terminate()
        elif time.monotonic() - worker.told_to_end > self.grace:
            worker.process.kill()

    def _end_all(self) -> None:
        self._processes.dismiss()
        for worker in self._workers.values():
            self._end(worker)
        for worker in self._workers.values():
            try:
                worker.process.wait(self.grace)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._workers.clear()
