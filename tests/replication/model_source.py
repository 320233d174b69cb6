"""The source of the model: two controllers with leases, and workers that go on only as far as they are let.

A worker runs in a thread of its own, and only while the model waits for it: at each step outside its own memory it
stops until it is told to go on, which may be much later, or never.
"""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy.orm import Session

from qreplica.cluster.duties import Duties
from qreplica.cluster.leases import Leases
from qreplica.daemon.config import Config, PortConfig
from qreplica.replication import cycle
from qreplica.replication.attempt import Parts
from qreplica.replication.errors import StaleOwner
from qreplica.replication.qsnaps import QSnaps
from qreplica.replication.store import JobStore
from qreplica.replication.workers import Workers
from qreplica.state.errors import StateDiskFull
from qreplica.state.models import Base, now
from qreplica.state.models import Controller as ControllerRow
from qreplica.storage.driver import BLOCK

from .fakes import AtOnce
from .model_target import CountingLinks, TargetPair
from .pair import JOB, SETTINGS, Crash, SteppingDatabase, SteppingStorage, Steps, Still, Stop

TAKEOVER = 5.0
_DEADLOCK = 120.0  # seconds after which a worker that does not come to its next step is stuck


class Baton(Steps):
    """Steps at each of which the worker waits, except inside a transaction, where it would hold up all others."""

    def __init__(self) -> None:
        super().__init__()
        self.within = 0
        self._worker = threading.Semaphore(0)
        self._model = threading.Semaphore(0)

    def take(self, name: str) -> None:
        super().take(name)
        if not self.within:
            self._model.release()
            self.wait_for_turn()

    def wait_for_turn(self) -> None:
        """Wait in the worker's thread until the model says to go on, which it does to the dead one only to end it."""
        self._worker.acquire()
        if self.dead:
            raise Crash

    def hand_over(self) -> None:
        """Have the worker go on to its next step."""
        self._worker.release()
        assert self._model.acquire(timeout=_DEADLOCK), f"the worker is stuck after {self.taken[-3:]}"

    def end(self) -> None:
        """The worker does nothing more."""
        self._model.release()


class PatientStop(Stop):
    """Waiting is a step: others may do anything meanwhile."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self._steps = steps

    def wait(self, timeout: float | None = None) -> bool:
        self._steps.take("wait")
        return super().wait(timeout)


class WholeTransactions(SteppingDatabase):
    """A stepping database in whose transactions nobody is made to wait."""

    _steps: Baton

    @contextmanager
    def session(self, *, read_only: bool = False) -> Iterator[Session]:
        self._steps.within += 1
        try:
            with self._real.session(read_only=read_only) as session:
                yield session
                if not read_only:
                    session.flush()
                    self._steps.take("commit")
        finally:
            self._steps.within -= 1
        if not read_only:
            self._steps.take("committed")


class Remembering(SteppingStorage):
    """Remembers the bytes of each snapshot; what a stale owner takes again, once its point exists, is not that."""

    def take_snapshot(self, group: str, vd: str, snapshot: str) -> Any:
        known = self._frozen.get(snapshot)
        info = super().take_snapshot(group, vd, snapshot)
        if known is not None and snapshot in self.committed():
            self._frozen[snapshot] = known
        return info

    committed: Callable[[], set[str]]


class Worker:
    """A worker process of controller ``number``: what ``Workers`` asks of a process, and what the model does to it."""

    def __init__(self, pair: TargetPair, number: int) -> None:
        self.number = number
        self.pair = pair
        self.steps = Baton()
        self.stop = PatientStop(self.steps)
        self.links = CountingLinks(pair, self.steps)
        self.began = False
        self.code: int | None = None
        self.stale = False
        self._broke: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.steps.wait_for_turn()
            self._work()
            self.code = 0
        except Crash:
            self.code = -9
        except StaleOwner:
            self.code, self.stale = 3, True
        except StateDiskFull as error:
            self.code = error.exit_code
        except BaseException as error:  # noqa: BLE001 - the model's thread is to raise it
            self.code, self._broke = 1, error
        self.steps.end()

    def _work(self) -> None:
        steps: Any = self.steps
        database: Any = WholeTransactions(self.pair.database, steps)
        storage: Any = Remembering(self.pair.storage, steps, self.pair.frozen)
        storage.committed = lambda: {point.source_snapshot for point in self.pair.points()}
        # Who owns the job is known when the worker stops for the first time.
        steps.within += 1
        store = JobStore.take_over(database, JOB, self.number)
        steps.within -= 1
        if store is not None:
            snapshots = QSnaps(database, storage, lambda: nullcontext(Still()), store.confirm)
            parts = Parts(storage, snapshots, self.links, self.pair._tell, SETTINGS, threads=AtOnce, chunk=2 * BLOCK)
            cycle.run(database, parts, store, self.stop)

    def step(self) -> None:
        """Go on to the next step, or to the end."""
        self.began = True
        self.steps.hand_over()
        if self.code is not None:
            self._thread.join()
        if self._broke is not None:
            raise self._broke

    def bring(self, place: str, times: int = 1) -> None:
        """Go on to where a step of that name is next, for so many times since; or to the end."""
        begin = len(self.steps.taken)
        while self.code is None and self.steps.taken[begin:].count(place) < times:
            self.step()

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None:
        self.stop.set()

    def kill(self) -> None:
        """Die where it stands."""
        self.steps.dead = True
        while self.code is None:
            self.step()

    def wait(self, timeout: float | None = None) -> int:  # noqa: ARG002 - Popen's signature
        while self.code is None:
            self.step()
        return self.code


class Processes:
    """Starts workers in place of ``WorkerProcesses``."""

    def __init__(self, start: Callable[[], Worker]) -> None:
        self._start = start

    def start(self, job: str) -> Worker:
        assert job == JOB
        return self._start()

    def prepare(self) -> None:
        """Nobody need stand by."""

    dismiss = prepare


class Controller:
    """A source controller: its daemon's leases, duties and supervision of workers, as far as it is turned."""

    def __init__(self, pair: TargetPair, number: int, clock: Callable[[], float], *, automatic: bool) -> None:
        self.pair = pair
        self.number = number
        self.made: list[Worker] = []
        self._clock = clock
        self._automatic = automatic
        self.start()

    def start(self) -> None:
        """Begin as a new daemon."""
        database, number, clock = self.pair.database, self.number, self._clock
        self.leases = Leases(database, Base.metadata.tables["duties"], number, takeover=TAKEOVER, clock=clock)
        self.duties = Duties(database, self.leases, number, takeover=TAKEOVER, automatic=self._automatic, clock=clock)
        folder = self.pair.folder
        config = Config(
            subsystem="source",
            controller=number,
            state_dir=folder,
            runtime_dir=folder,
            tgt_control_port=1,
            ports=(PortConfig(number=1, interface="lo", address="127.0.0.1"),),
        )
        self.workers = Workers(folder / "config.toml", config, database, self.duties.mine, grace=math.inf)
        processes: Any = Processes(self._make)
        self.workers._processes = processes

    def _make(self) -> Worker:
        self.made.append(Worker(self.pair, self.number))
        return self.made[-1]

    def live(self) -> list[Worker]:
        return [worker for worker in self.made if worker.code is None]

    def supervised(self) -> list[Worker]:
        """Return those that live and that the present daemon knows of."""
        known: list[Any] = [one.process for one in self.workers._workers.values()]
        return [worker for worker in self.live() if worker in known]

    def turn(self) -> None:
        """Do what a daemon does every second."""
        with self.pair.database.session() as session:
            row = session.get(ControllerRow, self.number) or ControllerRow(number=self.number, heartbeat=0)
            session.add(row)
            row.heartbeat += 1
            row.heartbeat_at = now()
        for lease in self.leases.keep(self.duties.wanted()):
            self.duties.taken(lease.key)
        self.workers._crashes.clear()
        self.workers._look()

    def die(self) -> None:
        """The daemon is killed, and its workers with it; another one starts when it is turned again."""
        for worker in self.live():
            worker.kill()
        self.start()

    def end(self) -> None:
        """End in an orderly way."""
        self.workers._end_all()
        self.leases.give_up()
        with self.pair.database.session() as session:
            row = session.get(ControllerRow, self.number)
            if row is not None:
                row.heartbeat_at = None
        self.start()
