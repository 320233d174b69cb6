"""Only so many jobs run at once, the others in the order in which they came: against a model, over takeovers too."""

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from qreplica.peer.errors import PeerUnreachable
from qreplica.replication import configuration, jobs, planning, plans, queue
from qreplica.replication.configuration import Configuration
from qreplica.replication.errors import JobRunning
from qreplica.replication.queue import Place
from qreplica.replication.schedule_errors import JobPaused
from qreplica.replication.store import JobStore
from qreplica.state.database import Database
from qreplica.state.models import Duty, Event, Job, JobState, RaidGroup, Subsystem, VdType, VirtualDisk, new_id
from qreplica.state.models import Path as PathRow
from qreplica.storage.driver import RaidLevel

from .pair import ADDRESSES, IQN, JOB, Pair, Stop, fill

COUNT = 5
ERROR = PeerUnreachable(address="192.0.2.11", port=3261, reason="the test says so")
PICK = st.integers(0, COUNT - 1)
WORKING = {JobState.RUNNING, JobState.WAITING, JobState.STOPPING}


def add_jobs(database: Database, count: int) -> list[str]:
    """Add so many jobs that belong to one controller and the other in turn, and return their ids."""
    with database.session() as session:
        group = session.scalar(select(RaidGroup.id))
        made = []
        for number in range(count):
            vd = VirtualDisk(name=f"v{number}", type=VdType.RAID, size=4096, raid_group_id=group, serial=f"v{number}")
            session.add(vd)
            session.flush()
            job = Job(
                id=new_id(),
                name=f"j{number}",
                source_vd_id=vd.id,
                target_subsystem="7" * 32,
                target_node=f"{IQN}-{number}",
                target_lun=1,
                target_vd=new_id(),
                target_serial="t",
                target_size=4096,
                controller=1 + number % 2,
                paths=[PathRow(position=0, address="192.0.2.11")],
            )
            session.add(job)
            made.append(job.id)
    return made


@dataclass
class Expected:
    """What the model knows of a job."""

    state: JobState = JobState.IDLE
    paused: bool = False
    interrupted: bool = False
    cycle: bool = False
    cycles: int = 0


@dataclass
class Model:
    """The queue as the administrator is promised it; it knows nothing of databases."""

    limit: int = 16
    queue: list[int] = field(default_factory=list)
    jobs: list[Expected] = field(default_factory=lambda: [Expected() for _ in range(COUNT)])

    def working(self) -> int:
        return sum(one.state in WORKING for one in self.jobs)

    def enter(self, number: int) -> None:
        self.jobs[number].state = JobState.QUEUED
        self.queue.append(number)

    def leave(self, number: int, state: JobState) -> None:
        self.jobs[number].state = state
        self.queue.remove(number)

    def admit(self) -> None:
        while self.queue and self.working() < self.limit:
            one = self.jobs[self.queue[0]]
            self.leave(self.queue[0], JobState.RUNNING)
            one.cycles += not one.cycle
            one.cycle = True


class Queueing(RuleBasedStateMachine):
    """Administrators, workers and both daemons, in any order."""

    folder: ClassVar[Path]
    template: ClassVar[Path]
    seen: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(dir=self.folder))
        shutil.copy(self.template / "source" / "state.db", self.place)
        self.database = Database(f"sqlite:///{self.place}/state.db")
        with self.database.session() as session:
            session.add(Subsystem(id="5" * 32, name="source", iqn_prefix="iqn.2026-11.org.qreplica"))
            session.add(RaidGroup(name="rg1", level=RaidLevel.JBOD, usable=1 << 30, reserve=0))
        self.ids = add_jobs(self.database, COUNT)
        self.model = Model()
        #: Which controller does what belongs to which.
        self.duties = {1: 1, 2: 2}

    def _worker(self, number: int) -> JobStore:
        """Return the job's worker, which the controller has that does its owner's duty; no other gets one."""
        doer = self.duties[1 + number % 2]
        assert JobStore.take_over(self.database, self.ids[number], 3 - doer) is None
        store = JobStore.take_over(self.database, self.ids[number], doer)
        assert store is not None
        return store

    @initialize(limit=st.integers(1, 2), order=st.permutations(range(COUNT)))
    def crowd(self, limit: int, order: list[int]) -> None:
        self.another_limit(limit)
        for number in order:
            self.start(number)

    @rule(limit=st.integers(1, 3))
    def another_limit(self, limit: int) -> None:
        configuration.put(self.database, Configuration(running_jobs=limit))
        self.model.limit = limit

    @rule()
    def look(self) -> None:
        """A daemon of either controller looks, as it does each second."""
        with self.database.session() as session:
            plans.admit(session, 1)
        self.model.admit()

    @rule(number=PICK)
    def start(self, number: int) -> None:
        one = self.model.jobs[number]
        if one.state in WORKING | {JobState.QUEUED}:
            with pytest.raises(JobRunning, match=f"is {one.state} already"):
                jobs.start(self.database, f"j{number}")
        elif one.paused:
            with pytest.raises(JobPaused):
                jobs.start(self.database, f"j{number}")
        else:
            jobs.start(self.database, f"j{number}")
            self.model.enter(number)
            self.model.admit()
            self.seen[f"started: {one.state}"] += 1

    @rule(number=PICK)
    def stop(self, number: int) -> None:
        one = self.model.jobs[number]
        jobs.stop(self.database, f"j{number}")
        self.seen[f"stopped: {one.state}"] += 1
        self._end(number, one)

    @rule(number=PICK)
    def pause(self, number: int) -> None:
        one = self.model.jobs[number]
        planning.pause(self.database, f"j{number}")
        if not one.paused:
            one.paused = True
            one.interrupted = one.state in {JobState.RUNNING, JobState.WAITING, JobState.QUEUED}
            self.seen[f"paused: {one.state}"] += 1
            self._end(number, one)

    def _end(self, number: int, one: Expected) -> None:
        if one.state is JobState.QUEUED:
            self.model.leave(number, JobState.STOPPED)
        elif one.state in {JobState.RUNNING, JobState.WAITING}:
            one.state = JobState.STOPPING

    @rule(number=PICK)
    def resume(self, number: int) -> None:
        one = self.model.jobs[number]
        planning.resume(self.database, f"j{number}")
        if one.paused:
            one.paused = False
            if one.interrupted and one.state in {JobState.STOPPED, JobState.STOPPING}:
                self.model.enter(number)
                self.model.admit()
                self.seen["resumed"] += 1
            one.interrupted = False

    @rule(number=PICK, how=st.sampled_from(["finished", "failed", "waits"]))
    def work(self, number: int, how: str) -> None:
        one = self.model.jobs[number]
        if one.state is JobState.STOPPING:
            with self.database.session(read_only=True) as session:
                epoch = session.get_one(Job, self.ids[number]).epoch
            JobStore(self.database, self.ids[number], epoch, 1).stopped()
            one.state = JobState.STOPPED
        elif one.state in WORKING:
            self._go_on(number, self._worker(number), how)

    def _go_on(self, number: int, store: JobStore, how: str) -> None:
        one = self.model.jobs[number]
        self.seen[how] += 1
        if how == "finished":
            store.finished()
            one.state, one.cycle = JobState.IDLE, False
        elif how == "failed":
            store.failed(ERROR)
            one.state = JobState.FAILED
        else:
            store.waiting(ERROR)
            one.state = JobState.WAITING
            gives_way = bool(self.model.queue)
            assert store.gave_way() is gives_way
            if gives_way:
                self.seen["gave way"] += 1
                self.model.enter(number)

    @rule(owner=st.sampled_from([1, 2]))
    def take_over(self, owner: int) -> None:
        """A controller dies, or lives again, and its duty goes to the other one or back."""
        self.duties[owner] = 3 - self.duties[owner]
        with self.database.session() as session:
            session.merge(Duty(owner=str(owner), controller=self.duties[owner]))
        self.seen["takeover"] += 1

    @invariant()
    def all_is_as_expected(self) -> None:
        with self.database.session(read_only=True) as session:
            for number, one in enumerate(self.model.jobs):
                job = session.get_one(Job, self.ids[number])
                assert (job.state, len(job.cycles)) == (one.state, one.cycles)
                place = queue.place_of(session, job)
                if one.state is JobState.QUEUED:
                    expected = Place(1 + self.model.queue.index(number), self.model.working(), self.model.limit)
                    assert place == expected
                else:
                    assert place is None

    def teardown(self) -> None:
        """Whoever is queued runs, in order, when each of those that run ends or gives way in vain."""
        while self.model.queue:
            first = self.model.queue[0]
            working = next((number for number, one in enumerate(self.model.jobs) if one.state in WORKING), None)
            if working is not None:
                self.work(working, "waits")
            self.look()
            self.all_is_as_expected()
            if first not in self.model.queue:
                self.work(first, "finished")
                self.seen["drained"] += 1
        self.database.dispose()
        shutil.rmtree(self.place)


def test_no_more_than_the_limit_run_and_the_queue_is_first_come_first_served(on_tmpfs: Path, empty_state: Path) -> None:
    seen: Counter[str] = Counter()
    machine = type("QueueingHere", (Queueing,), {"folder": on_tmpfs, "template": empty_state, "seen": seen})
    run_state_machine_as_test(
        seed("queue")(machine),
        settings=settings(
            max_examples=8,
            stateful_step_count=25,
            deadline=None,
            phases=[Phase.generate],
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
    # What never happened was not tried.
    for what in (
        "stopped: queued",
        "paused: queued",
        "gave way",
        "takeover",
        "drained",
        "finished",
        "failed",
        "resumed",
    ):
        assert seen[what], (what, seen)


@pytest.fixture
def crowd(pair: Pair) -> Pair:
    """A pair with two jobs more, which may run one at a time."""
    add_jobs(pair.database, 2)
    configuration.put(pair.database, Configuration(running_jobs=1))
    return pair


def states(pair: Pair) -> dict[str, JobState]:
    with pair.database.session(read_only=True) as session:
        return {job.name: job.state for job in session.scalars(select(Job))}


def look(pair: Pair) -> None:
    with pair.database.session() as session:
        plans.admit(session)


def test_a_queued_job_is_told_its_place_and_begins_when_one_ends(crowd: Pair) -> None:
    fill(crowd)
    for name in ("nightly", "j0", "j1"):
        jobs.start(crowd.database, name)
    with crowd.database.session(read_only=True) as session:
        shown = {status.name: status for status in jobs.listing(session)}
        told = {event.subject: event.message for event in session.scalars(select(Event))}
    assert {name: one.state for name, one in shown.items()} == {"nightly": "running", "j0": "queued", "j1": "queued"}
    assert shown["j0"].queued is not None
    assert shown["j0"].queued.sentence == "place 1: waiting for 1 running job; limit 1"
    assert shown["j1"].queued is not None
    assert shown["j1"].queued.sentence == "place 2: waiting for 2 jobs; limit 1"
    assert told["job j0"] == "It was queued, place 1: waiting for 1 running job; limit 1."
    assert (shown["j0"].cycle, shown["nightly"].queued) == (None, None)
    with pytest.raises(JobRunning, match="“j0” is queued already"):
        jobs.start(crowd.database, "j0")
    look(crowd)
    assert states(crowd)["j0"] is JobState.QUEUED
    assert crowd.work()
    crowd.check_points()
    look(crowd)
    assert states(crowd) == {"nightly": JobState.IDLE, "j0": JobState.RUNNING, "j1": JobState.QUEUED}
    jobs.stop(crowd.database, "j1")
    assert states(crowd)["j1"] is JobState.STOPPED
    with crowd.database.session(read_only=True) as session:
        last = session.scalars(select(Event).where(Event.subject == "job j0").order_by(Event.id.desc())).first()
        assert last is not None
        assert last.message == "Generation 1 was started in its turn."


def test_a_lower_limit_stops_nothing_and_a_higher_one_lets_more_in(crowd: Pair) -> None:
    configuration.put(crowd.database, Configuration(running_jobs=2))
    for name in ("nightly", "j0", "j1"):
        jobs.start(crowd.database, name)
    configuration.put(crowd.database, Configuration(running_jobs=1))
    look(crowd)
    assert list(states(crowd).values()).count(JobState.RUNNING) == 2
    configuration.put(crowd.database, Configuration(running_jobs=3))
    look(crowd)
    assert set(states(crowd).values()) == {JobState.RUNNING}


def test_a_job_whose_target_is_gone_leaves_its_place_to_one_that_is_queued(crowd: Pair) -> None:
    """Or else jobs to a target that is gone for good would keep all others from running."""
    fill(crowd)
    crowd.away.add(ADDRESSES[0])
    jobs.start(crowd.database, "nightly")
    jobs.start(crowd.database, "j0")
    assert crowd.work()
    assert states(crowd)["nightly"] is JobState.QUEUED
    assert crowd.job().error_kind == PeerUnreachable.kind
    assert crowd.events[-1][1] == "job-queued"
    look(crowd)
    assert states(crowd)["j0"] is JobState.RUNNING
    # Its turn comes again, and the cycle goes on with the snapshot that it has.
    with crowd.database.session() as session:
        other = session.scalars(select(Job).where(Job.name == "j0")).one()
        other.state = JobState.IDLE
    crowd.away.clear()
    look(crowd)
    assert states(crowd)["nightly"] is JobState.RUNNING
    assert crowd.job().error is None
    assert crowd.work()
    assert (states(crowd)["nightly"], len(crowd.cycles())) == (JobState.IDLE, 2)
    crowd.check_points()


def test_a_job_whose_target_is_gone_waits_on_while_nobody_is_queued(crowd: Pair) -> None:
    fill(crowd)
    crowd.away.add(ADDRESSES[0])
    jobs.start(crowd.database, "nightly")
    tries: list[float] = []

    class Patient(Stop):
        """Ends the wait, which is long by then, after some more tries."""

        def wait(self, timeout: float | None = None) -> bool:
            tries.append(timeout or 0)
            if len(tries) > 150:
                self.set()
            return self.is_set()

    assert crowd.work(stop=Patient())
    assert states(crowd)["nightly"] is JobState.WAITING


def test_a_resumed_job_whose_worker_has_not_ended_yet_waits_for_its_turn(crowd: Pair) -> None:
    jobs.start(crowd.database, "nightly")
    jobs.start(crowd.database, "j0")
    planning.pause(crowd.database, "nightly")
    planning.resume(crowd.database, "nightly")
    assert states(crowd)["nightly"] is JobState.QUEUED
    assert JobStore.take_over(crowd.database, JOB, 1) is None
    assert states(crowd)["j0"] is JobState.RUNNING


def test_a_place_is_told_in_words() -> None:
    assert Place(1, 16, 16).sentence == "place 1: waiting for 1 running job; limit 16"
    assert Place(3, 16, 16).sentence == "place 3: waiting for 3 running jobs; limit 16"
    assert Place(20, 16, 16).sentence == "place 20: waiting for 20 jobs; limit 16"
    assert Place(1, 2, 3).sentence == "place 1: its turn has come"
