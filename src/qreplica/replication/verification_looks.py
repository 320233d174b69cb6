"""Goes on with verifications: compares the source's snapshot of a generation with the recovery point of the same.

Both sides read their own disks and tell digests of what they hold, a window at a time; nothing is held up for it, and
nothing that hosts or cycles write to is looked at. When a cycle commits meanwhile, and a snapshot goes, the next window
is of the next generation. In the end what differed is compared once more, block by block and of the newest generation:
what was overwritten since is right again.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ClassVar

from sqlalchemy import select

from qreplica.cluster.leases import Leases
from qreplica.errors import QReplicaError
from qreplica.peer.errors import NoSuchNode, NoSuchRoute
from qreplica.replication import verification
from qreplica.replication import verification_result as result
from qreplica.replication.differing import Range
from qreplica.replication.errors import SourceUnreadable
from qreplica.replication.job_looks import JobLooks
from qreplica.replication.links import Target, Way, ask_by_any, target_of
from qreplica.replication.recovery_errors import NoSuchPoint, NotClaimed
from qreplica.replication.throttle import Throttle
from qreplica.replication.verification_errors import NothingToVerify, PointAwaited
from qreplica.replication.verification_window import Base, Peer, Window
from qreplica.state import models
from qreplica.state.database import Database
from qreplica.state.models import Job, JobState
from qreplica.state.verification_models import Verification, VerificationState
from qreplica.storage.driver import BLOCK, StorageDriver
from qreplica.storage.errors import SnapshotMissing
from qreplica.units import MIB

#: What one digest is of, and of how much that differs is told which blocks of it do (bytes).
CHUNK, _TOLD_BY_BLOCKS = MIB, 256 * MIB
_TURN = 3.0
#: After one of these nothing will be better at the next look.
_FINAL = (NoSuchPoint, NoSuchNode, NoSuchRoute, NotClaimed, NothingToVerify, SourceUnreadable)


class VerificationLooks(JobLooks):
    """For every second. ``round`` returns True while a verification has more to do.

    ``chunk`` is what one digest is of, in bytes, and ``turn`` how long one job's turn lasts, in seconds.
    While ``may_begin`` says no, as it does without a license, none begins by its schedule.
    """

    failing: ClassVar = "The verification of its copy waits"

    def __init__(
        self,
        database: Database,
        storage: StorageDriver,
        leases: Leases,
        controller: int,
        peer: Callable[[Target, Way], Peer],
        *,
        chunk: int = CHUNK,
        turn: float = _TURN,
        may_begin: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(database, leases, controller)
        self._storage = storage
        self._peer = peer
        self._chunk = chunk
        self._turn = turn
        self._may_begin = may_begin
        self._clock = clock
        self._sleep = sleep
        self._throttles: dict[str, Throttle] = {}
        self._moved = False

    def round(self) -> bool:
        """See JobLooks."""
        self._moved = False
        super().round()
        return self._moved

    def look(self, database: Database, job: str) -> None:
        """See JobLooks: begin what is due, and go on for a turn with what runs."""
        with database.session(read_only=True) as session:
            row = session.get(Verification, job)
        if row is None:
            return
        if verification.is_due(row, models.now()) and not (self._may_begin() and _begun(database, job)):
            return
        with database.session(read_only=True) as session:
            row = session.get(Verification, job)
        if row is None or row.state is not VerificationState.RUNNING:
            return
        throttle = self._throttles.setdefault(job, Throttle(row.limit, self._clock))
        turn = _Turn(database, job, self._storage, self._chunk, throttle, self._turn, self._clock, self._sleep)
        target = target_of(database, job, self._controller)
        try:
            ask_by_any(target, self._peer, lambda peer: turn.take(peer, target.node))
        except _FINAL as error:
            result.end(database, row, VerificationState.FAILED, error.sentence)
        except QReplicaError as error:
            result.note(database, row, error.sentence)
            raise
        self._moved = self._moved or turn.moved

    def _jobs(self) -> list[tuple[str, int]]:
        """Only those of which one runs, or will by its schedule."""
        with self._database.session(read_only=True) as session:
            chosen = select(Job.id, Job.controller).join(Verification, Verification.job_id == Job.id)
            chosen = chosen.where(
                (Verification.state == VerificationState.RUNNING) | Verification.every_days.is_not(None)
            )
            return [(job, owner) for job, owner in session.execute(chosen.order_by(Job.name))]


class _Turn:
    """What is done of one job's verification at once. ``moved``: there is more to do."""

    def __init__(  # noqa: PLR0917 - as VerificationLooks
        self,
        database: Database,
        job: str,
        storage: StorageDriver,
        chunk: int,
        throttle: Throttle,
        seconds: float,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._database = database
        self._job = job
        self._throttle = throttle
        self._seconds = seconds
        self._storage = storage
        self._chunk = chunk
        self._clock = clock
        self._sleep = sleep
        self.moved = False

    def take(self, peer: Peer, node: str) -> None:
        """Compare window by window, at least one, until the turn is over, or all is compared."""
        until, self.moved = self._clock() + self._seconds, True
        throttle = self._throttle
        with ThreadPoolExecutor(1, "verification") as other_side:
            while True:
                row, base = self._facts()
                if row is None:
                    self.moved = False
                    return
                throttle.set(row.limit)
                self._sleep(min(throttle.pause(), max(0.0, until - self._clock())))
                if throttle.pause() > 0:
                    return
                window = Window(peer, node, self._job, base, other_side)
                try:
                    with self._opened(base) as (fd, size):
                        if row.position >= size and row.size:
                            self._finish(row, window, fd, size)
                            self.moved = False
                            return
                        began = self._clock()
                        end, wrong, read = window.compare(fd, row.position, self._end(row, size), self._chunk)
                except (NoSuchPoint, SnapshotMissing, FileNotFoundError) as error:
                    self._refuse_to_wait(base, node, error)
                    continue
                throttle.sent(read)
                rate = (end - row.position) / max(1e-9, self._clock() - began)
                self._progress(row, base, end, size, wrong, rate)
                if self._clock() >= until:
                    return

    def _end(self, row: Verification, size: int) -> int:
        """Return where the window ends at most: with a limit it is what may be read in a second."""
        if row.limit is None:
            return size
        return min(size, row.position + max(1, row.limit // self._chunk) * self._chunk)

    def _facts(self) -> tuple[Verification | None, Base]:
        with self._database.session(read_only=True) as session:
            job, row = session.get_one(Job, self._job), session.get(Verification, self._job)
            running = row if row is not None and row.state is VerificationState.RUNNING else None
            if running is not None:
                verification.refuse(session, job)
            vd = job.source_vd
            return running, Base(job.base_generation or 0, job.base_snapshot_id or "", vd.raid_group_id, vd.id)

    @contextmanager
    def _opened(self, base: Base) -> Iterator[tuple[int, int]]:
        """Give a descriptor of the source's snapshot, which can be read also when that is deleted, and its size."""
        path = self._storage.snapshot_path(base.group, base.vd, base.snapshot)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield fd, os.fstat(fd).st_size
        finally:
            os.close(fd)

    def _refuse_to_wait(self, base: Base, node: str, error: Exception) -> None:
        """Return if the job has another base by now; raise PointAwaited if it may soon, and else NoSuchPoint."""
        if self._facts()[1] != base:
            return
        with self._database.session(read_only=True) as session:
            job = session.get_one(Job, self._job)
        if job.state is not JobState.IDLE:
            # The target commits before the source notes it.
            raise PointAwaited(generation=base.generation, job=job.name, state=job.state) from error
        raise NoSuchPoint(vd=node, generation=base.generation) from error

    def _progress(  # noqa: PLR0917 - how far it is
        self, before: Verification, base: Base, end: int, size: int, wrong: list[Range], rate: float
    ) -> None:
        with self._database.session() as session:
            row = result.same_run(session, before)
            if row is None or row.position != before.position:
                return
            row.position, row.size, row.rate, row.error = end, size, rate, None
            row.first_generation = row.first_generation or base.generation
            row.generation = base.generation
            if wrong:
                result.set_differing(row, [*((offset, length) for offset, length in row.differing), *wrong])

    def _finish(self, row: Verification, window: Window, fd: int, size: int) -> None:
        """Compare what differed once more, of the newest generation, and tell the result."""
        found: list[Range] = []
        chunk = BLOCK if row.differing_bytes <= _TOLD_BY_BLOCKS else self._chunk
        for offset, length in row.differing:
            at, end = offset, min(offset + length, size)
            while at < end:
                self._sleep(self._throttle.pause())
                at, wrong, read = window.compare(fd, at, end, chunk)
                self._throttle.sent(read)
                found += wrong
        state = VerificationState.DIFFERS if found else VerificationState.PASSED
        result.end(self._database, row, state, None, found)


def _begun(database: Database, job: str) -> bool:
    """Begin one by its schedule; tell whether it was possible."""
    with database.session() as session:
        row = session.get(Verification, job)
        try:
            verification.refuse(session, session.get_one(Job, job))
        except NothingToVerify:
            return False
        if row is None:
            return False
        verification.start(session, row, row.limit, "by its schedule")
        return True
