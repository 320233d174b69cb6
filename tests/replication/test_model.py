"""Two controllers, their workers and the target, each going on or dying at any moment: the rules hold throughout.

Unlike in ``test_interruptions`` a worker stops at every step and stays as it is for as long as the model likes, so that
a stale owner may go on at any point of what has happened since; and who may work is decided by the real leases.
"""

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

import pytest
from cryptography.fernet import Fernet
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from qreplica.cluster.duties import ask_back
from qreplica.peer.errors import PeerUnreachable
from qreplica.replication import jobs
from qreplica.replication.path_states import revive
from qreplica.state.errors import StateDiskFull
from qreplica.state.models import Base, CycleKind, Job, JobState, Outcome, VirtualDisk
from qreplica.state.types import Secret
from qreplica.storage.driver import BLOCK

from .fakes import lost
from .model_source import Controller, Worker
from .model_target import TargetPair
from .pair import ADDRESSES, BLOCKS, IQN, SOURCE_GROUP, SOURCE_VD, TARGET_VD, Crash

_WAYS_OUT = ("log in", "write", "zeros", "flush", "poll")
_MOST_BLOCKS = BLOCKS + 8
_RESTING = {JobState.IDLE, JobState.STOPPED}
#: Steps of a worker within which the longest cycle ends, many failures and waits included.
_AT_MOST = 3000
_EXAMPLES = 6
_PICK = st.integers(0, 11)
#: Where a worker may stand: the step of that name is next, for so many times since.
_PLACES = [
    *(("committed", times) for times in (1, 2, 4, 7, 10)),
    *((place, times) for place in ("write", "poll") for times in (1, 2, 3)),
    *((f"answer {request}", 1) for request in ("claim", "begin", "compare", "commit")),
    *((place, 1) for place in ("take_snapshot", "ask claim", "log in", "ask compare", "flush", "delete_snapshot")),
    *((place, 1) for place in ("ask begin", "ask commit") for _ in range(3)),
]
_SENDING = [place for place in _PLACES if place[0] in {"poll", "flush", "ask commit"}]
_UNTIL = st.sampled_from(_PLACES)
_WRITES = st.lists(st.tuples(st.integers(0, _MOST_BLOCKS - 1), st.integers(0, 3)), min_size=1, max_size=6)
#: Of a request, at the target.
_STEP = st.integers(0, 12)
_NO_FURTHER = 100
_AT_ONCE = 2


def die(_: str) -> None:
    raise Crash


def lose(name: str) -> None:
    """The request is not heard, or its answer is not, or the session breaks."""
    if name.startswith(("ask", "answer")):
        raise PeerUnreachable(address="192.0.2.11", port=3261, reason="the test says so")
    if name.startswith(_WAYS_OUT):
        raise lost()


def run_full(name: str) -> None:
    if name == "commit":
        raise StateDiskFull(place="state.db", free=0)


_FAULTS: dict[str, Callable[[str], None]] = {"it dies": die, "the way is lost": lose, "no room for the state": run_full}


Until: TypeAlias = tuple[str, int]
Writes: TypeAlias = list[tuple[int, int]]


@dataclass
class Highest:
    """What only ever grows."""

    epoch: int = 0
    generation: int = 0
    base: int = 0
    claim_epoch: int = 0
    newest_point: int = 0


def _more_may_happen(machine: "Subsystems") -> bool:
    """Whatever happens is followed by what workers make of it."""
    return machine.happened < _AT_ONCE


class Subsystems(RuleBasedStateMachine):
    """``make_pair`` is set by the test, from its fixture; ``seen`` counts what happened in all runs together.

    ``before`` is how all begins: with a job that is new, or in the middle of its second cycle, in which there may have
    been a takeover, or its snapshot was lost, whereupon a controller of the target may hang in the next attempt; or
    the base was lost, so that a full copy is compared with what the target holds.
    """

    before: ClassVar[str]
    make_pair: ClassVar[Callable[[bool], TargetPair]]
    seen: ClassVar[Counter[str]]
    pair: TargetPair

    @initialize(automatic=st.booleans(), writes=_WRITES, until=_UNTIL, sent=st.sampled_from(_SENDING), step=_STEP)
    def begin(self, automatic: bool, writes: Writes, until: Until, sent: Until, step: int) -> None:  # noqa: FBT001 - a rule's
        before = self.before
        self.pair = type(self).make_pair(before != "nothing")
        self.time = 1000.0
        self.controllers = [Controller(self.pair, number, lambda: self.time, automatic=automatic) for number in (1, 2)]
        #: Who last raised the job's epoch in the source's state; whoever began before is stale.
        self.owner: Worker | None = None
        #: What was seen of what may only grow.
        self.highest = Highest(epoch=self.epoch())
        #: How much has happened beside the workers since one of them took a step.
        self.happened = 0
        #: Source snapshots that the engine has lost.
        self.lost: set[str] = set()
        self.daemons_work(1, 2, seconds=2)
        losing = before in {"a loss", "a hang"}
        if before == "a comparison":
            self.engine_loses_a_snapshot(base=True, put_back=False)
        if before != "nothing":
            self.a_cycle_begins_or_is_taken_up_again(writes=writes, until=sent if losing else until)
        if losing:
            self.engine_loses_a_snapshot(base=False, put_back=before == "a loss")
        if before == "a hang":
            self.a_controller_of_the_target_hangs_in_a_request(request="begin", step=step, until=sent, writes=writes)
        elif before == "a takeover" and self.owner_lives():
            self.the_owners_daemon_hangs_until_the_other_takes_over(until=("answer claim", 1), stale_until=("write", 1))

    def owner_lives(self) -> bool:
        return self.owner is not None and self.owner.code is None

    # What the controllers do.

    def daemons_work(self, *numbers: int, seconds: int = 1) -> None:
        for _ in range(seconds):
            self.time += 1.0
            for number in numbers:
                self.controllers[number - 1].turn()

    @precondition(lambda self: self.owner_lives())
    @rule(until=_UNTIL, stale_until=_UNTIL)
    def the_owners_daemon_hangs_until_the_other_takes_over(self, until: Until, stale_until: Until) -> None:
        """Its worker, which need not hang with it, goes on when the other one has got somewhere, or later."""
        assert self.owner is not None
        former, other = self.owner, 3 - self.owner.number
        self.daemons_work(other, seconds=8)
        for worker in self.controllers[other - 1].live():
            if not worker.began:
                self.bring(worker, until)
        self.bring(former, stale_until)

    @precondition(_more_may_happen)
    @rule(
        number=st.sampled_from([1, 2]),
        what=st.sampled_from(["works", "both work", "is killed", "ends", "is asked for"]),
    )
    def controller(self, number: int, what: str) -> None:
        """The other one hangs while one works; what is killed or has ended begins anew when it works again."""
        self.happened += 1
        controller = self.controllers[number - 1]
        if what == "works":
            self.daemons_work(number, seconds=3)
        elif what == "both work":
            self.daemons_work(1, 2, seconds=2)
        elif what == "is killed":
            controller.die()
        elif what == "ends":
            for worker in controller.live():
                worker.terminate()
                self.run_to_end(worker)
            controller.end()
        else:
            with self.pair.database.session() as session:
                ask_back(session, number)

    # What the workers do.

    def live(self) -> list[Worker]:
        return [worker for controller in self.controllers for worker in controller.live()]

    def stale(self) -> list[Worker]:
        return [worker for worker in self.live() if worker.began and worker is not self.owner]

    @precondition(lambda self: self.live())
    @rule(pick=_PICK, until=_UNTIL)
    def a_worker_goes_on(self, pick: int, until: Until) -> None:
        self.bring(self.live()[pick % len(self.live())], until)

    @precondition(lambda self: self.stale())
    @rule(pick=_PICK, until=_UNTIL)
    def a_stale_owner_goes_on(self, pick: int, until: Until) -> None:
        self.bring(self.stale()[pick % len(self.stale())], until)

    @precondition(lambda self: self.live())
    @rule(pick=_PICK, until=_UNTIL, later=st.integers(0, 4), fault=st.sampled_from(sorted(_FAULTS)))
    def a_worker_has_a_fault(self, pick: int, until: Until, later: int, fault: str) -> None:
        worker = self.live()[pick % len(self.live())]
        self.bring(worker, until)
        worker.steps.at, worker.steps.what = len(worker.steps.taken) + later, _FAULTS[fault]
        self.go_on(worker, later + 1)

    @precondition(lambda self: self.live())
    @rule(pick=_PICK)
    def a_worker_gets_through(self, pick: int) -> None:
        self.run_to_end(self.live()[pick % len(self.live())])

    def run_to_end(self, worker: Worker, waits: int = 8) -> None:
        """Have it go on until it ends, or has waited so often."""
        begin = len(worker.steps.taken)
        for _ in range(_AT_MOST):
            if worker.code is not None or worker.steps.taken[begin:].count("wait") > waits:
                return
            self.step(worker)
        raise AssertionError(f"it works for ever: {worker.steps.taken[-100:]}")

    def bring(self, worker: Worker, until: Until) -> None:
        """Have it go on to where a step of that name is next, for so many times; or as far as seems sensible."""
        place, times = until
        begin = len(worker.steps.taken)
        for _ in range(_NO_FURTHER):
            taken = worker.steps.taken[begin:]
            if worker.code is not None or taken.count(place) >= times or taken.count("wait") > times:
                return
            self.step(worker)

    def go_on(self, worker: Worker, steps: int) -> None:
        for _ in range(steps):
            if worker.code is None:
                self.step(worker)

    def step(self, worker: Worker) -> None:
        """Have it take a step, and check what an owner that is stale, here or at the target, must not change."""
        pair = self.pair
        self.happened = 0
        first = not worker.began
        stale = not first and worker is not self.owner
        rows = self.job_rows() if stale else ()
        written = None if self.may_write(worker) else pair.target_state()
        worker.links.claims = False
        worker.step()
        if stale:
            self.seen["steps of stale owners"] += 1
            assert self.job_rows() == rows, f"a stale owner changed the state at {worker.steps.taken[-3:]}"
        elif (first or worker.steps.taken[-1] == "committed") and (epoch := self.epoch()) != self.highest.epoch:
            self.owner, self.highest.epoch = worker, epoch
        if written is not None and not worker.links.claims:
            assert pair.target_state() == written, f"who may not write did, at {worker.steps.taken[-3:]}"
        self.seen["refused: writing the state"] += worker.stale

    def epoch(self) -> int:
        with self.pair.database.session(read_only=True) as session:
            return session.scalars(select(Job.epoch)).one()

    def may_write(self, worker: Worker) -> bool:
        """Tell whether it holds the newest claim that the target has answered."""
        return bool(self.pair.answered) and worker.links.claimed == self.pair.answered

    def job_rows(self) -> tuple[str, ...]:
        with self.pair.database.session(read_only=True) as session:
            return tuple(
                str(session.execute(select(Base.metadata.tables[table])).all())
                for table in ("jobs", "cycles", "paths", "snapshots")
            )

    # What hosts and the administrator do.

    @precondition(lambda self: not self.owner_lives())
    @rule(writes=_WRITES, until=_UNTIL)
    def a_cycle_begins_or_is_taken_up_again(self, writes: Writes, until: Until) -> None:
        self.write(writes)
        if self.pair.job().state in _RESTING:
            jobs.start(self.pair.database, "nightly")
        for _ in range(8):
            self.daemons_work(1, 2)
            for worker in self.live():
                if not worker.began:
                    self.bring(worker, until)
                    return

    def write(self, writes: Writes) -> None:
        for block, value in writes:
            self.pair.write(block % self.blocks(), value)

    @precondition(_more_may_happen)
    @rule(what=st.sampled_from(["writes", "stops", "starts", "extends", "takes space", "gives space"]), at=_PICK)
    def administrator_or_host(self, what: str, at: int) -> None:
        """With next to no snapshot space the target lets go of all points but the newest."""
        self.happened += 1
        if what == "writes":
            self.write([(at, at % 3), (at + 5, 3)])
        elif what == "stops":
            jobs.stop(self.pair.database, "nightly")
        elif what == "extends":
            self.extend_source()
        elif what == "starts" and self.pair.job().state in _RESTING:
            jobs.start(self.pair.database, "nightly")
        elif what.endswith("space"):
            with self.pair.target_database.session() as session:
                session.get_one(VirtualDisk, TARGET_VD).snapshot_space = 1 if what == "takes space" else 1 << 26

    def extend_source(self) -> None:
        with self.pair.database.session() as session:
            vd = session.get_one(VirtualDisk, SOURCE_VD)
            vd.size = min(self.blocks() + 3, _MOST_BLOCKS) * BLOCK
        self.pair.storage.resize_vd(SOURCE_GROUP, SOURCE_VD, vd.size)

    def blocks(self) -> int:
        return self.pair.storage.vd_path(SOURCE_GROUP, SOURCE_VD).stat().st_size // BLOCK

    @precondition(_more_may_happen)
    @rule(base=st.booleans(), put_back=st.booleans())
    def engine_loses_a_snapshot(self, base: bool, put_back: bool) -> None:  # noqa: FBT001 - a rule's parameters
        """The owner dies, and that of the base, or that in flight, is gone; a host may put back what the base held."""
        self.happened += 1
        if self.owner is not None and self.owner.code is None:
            self.owner.kill()
        job, cycles = self.pair.job(), self.pair.cycles()
        if put_back and job.base_snapshot_id is not None and job.base_snapshot_id in self.pair.snapshots():
            held = self.pair.storage.snapshot_path(SOURCE_GROUP, SOURCE_VD, job.base_snapshot_id).read_bytes()
            with self.pair.storage.vd_path(SOURCE_GROUP, SOURCE_VD).open("r+b") as live:
                live.write(held)
        snapshot = job.base_snapshot_id if base else cycles[-1].snapshot_id if cycles else None
        if snapshot is not None and snapshot in self.pair.snapshots():
            self.lost.add(snapshot)
            self.pair.storage.delete_snapshot(SOURCE_GROUP, SOURCE_VD, snapshot)

    # What becomes of the target and the ways to it.

    @precondition(_more_may_happen)
    @rule(
        what=st.sampled_from(
            ["service", "stops", "wakes", "crashes", "hangs", "goes on", "power", "queue", "away", "back"]
        ),
        address=st.sampled_from(ADDRESSES),
        step=_STEP,
    )
    def target(self, what: str, address: str, step: int) -> None:
        """A controller dies or hangs in a request to come, or wakes; a target daemon crashes, hangs or goes on.

        Or all lose power; or what is queued in sessions is carried out; or a way goes away, or all are back.
        """
        self.happened += 1
        daemon = self.pair.daemons[address]
        if what == "service":
            self.pair.services[address].end_soon(step)
        elif what == "stops":
            self.pair.services[address].hang_soon(step)
        elif what == "wakes":
            self.wake(address)
        elif what == "crashes":
            self.pair.restart_daemon(address)
        elif what == "hangs":
            daemon.let_commands_hang(IQN)
        elif what == "goes on":
            daemon.let_commands_end(IQN)
        elif what == "power":
            self.pair.reboot_target()
        elif what == "queue":
            self.pair.carry_out_some()
        else:
            self.pair.away = {address} if what == "away" else set()
            self.probe()

    @precondition(lambda self: not self.owner_lives() and all(one.hung is None for one in self.pair.services.values()))
    @rule(request=st.sampled_from(["claim", "begin", "compare", "commit"]), step=_STEP, until=_UNTIL, writes=_WRITES)
    def a_controller_of_the_target_hangs_in_a_request(
        self, request: str, step: int, until: Until, writes: Writes
    ) -> None:
        """The owner goes on over the other one, as far as it is let; then the first one wakes."""
        self.a_cycle_begins_or_is_taken_up_again(writes=writes, until=(f"ask {request}", 1))
        if not self.owner_lives():
            return
        assert self.owner is not None
        services = self.pair.services.values()
        for service in services:
            service.hang_soon(step)
        self.step(self.owner)
        for service in services:
            service.hang_no_more()
        self.bring(self.owner, until)
        for address in ADDRESSES:
            self.wake(address)

    def wake(self, address: str) -> None:
        """Have a controller go on with what it hung in, which changes nothing once another claim was answered.

        It may end a session of the present owner, who comes again; what is queued there may be carried out before.
        """
        hung = self.pair.services[address].hung
        too_late = hung is not None and hung.epoch < self.pair.answered
        if too_late:
            self.pair.carry_out_all()
        before = self.pair.replicated() if too_late else None
        self.pair.services[address].wake()
        if before is not None:
            self.seen["requests that woke too late"] += 1
            assert self.pair.replicated() == before, "who woke too late changed something"

    def probe(self) -> None:
        with self.pair.database.session() as session:
            for path in self.pair.paths():
                if path.address not in self.pair.away:
                    revive(session, path.id, path.since)

    # What holds at all times.

    @invariant()
    def the_rules_hold(self) -> None:
        if not hasattr(self, "controllers"):
            return
        self.every_point_is_the_snapshot_of_its_generation()
        self.no_old_epoch_wrote()
        self.the_base_of_the_next_delta_is_on_both_sides()
        self.nothing_goes_backwards()
        self.nothing_fails_for_good_and_nothing_starts_over()

    def every_point_is_the_snapshot_of_its_generation(self) -> None:
        self.pair.check_points()

    def no_old_epoch_wrote(self) -> None:
        assert self.pair.stale_writes == []

    def the_base_of_the_next_delta_is_on_both_sides(self) -> None:
        job, points, there = self.pair.job(), self.pair.points(), self.pair.snapshots() | self.lost
        if job.base_generation is not None:
            assert points[-1].generation >= job.base_generation
            assert job.base_snapshot_id in there
        if points:
            assert points[-1].source_snapshot in there

    def nothing_goes_backwards(self) -> None:
        job, points = self.pair.job(), self.pair.points()
        before = self.highest
        self.highest = Highest(
            job.epoch,
            job.generation,
            job.base_generation or 0,
            self.pair.claim_epoch(),
            points[-1].generation if points else 0,
        )
        for was, present in zip(astuple(before), astuple(self.highest), strict=True):
            assert was <= present, f"from {before} back to {self.highest}"

    def nothing_fails_for_good_and_nothing_starts_over(self) -> None:
        assert self.pair.job().state is not JobState.FAILED, self.pair.job().error
        lacking = True
        for cycle in self.pair.cycles():
            assert cycle.outcome is not Outcome.ABANDONED or cycle.id in self.lost
            assert cycle.kind is not CycleKind.FULL or lacking
            self.seen["bytes compared"] += cycle.compared_bytes
            lacking = cycle.id in self.lost if cycle.outcome is Outcome.COMMITTED else lacking or cycle.id in self.lost

    # The way out.

    def all_is_well_again(self) -> None:
        """Without further faults what is under way ends, and the next cycle brings what the source holds then."""
        pair = self.pair
        pair.away.clear()
        for address in ADDRESSES:
            pair.services[address].steps.at = None
            self.wake(address)
            pair.daemons[address].let_commands_end(IQN)
        for worker in self.live():
            worker.steps.at = None
        self.settle()
        if pair.job().state is JobState.STOPPED:
            jobs.start(pair.database, "nightly")
            self.settle()
        jobs.start(pair.database, "nightly")
        self.settle()
        job, live = pair.job(), pair.storage.vd_path(SOURCE_GROUP, SOURCE_VD).read_bytes()
        assert job.state is JobState.IDLE
        newest = pair.points()[-1]
        assert newest.generation == job.generation == job.base_generation
        assert pair.point_bytes(newest) == live
        self.seen["ways out"] += 1

    def settle(self) -> None:
        """Have all go on whom a daemon knows of until the job rests; other stale owners stay where they are."""
        for _ in range(40):
            if self.pair.job().state in _RESTING and not self.owner_lives():
                return
            self.daemons_work(1, 2)
            for controller in self.controllers:
                for worker in controller.supervised():
                    self.run_to_end(worker, _AT_MOST)
            self.probe()
        raise AssertionError(f"no way out: the job is {self.pair.job().state}, {self.pair.job().error}")

    def teardown(self) -> None:
        if not hasattr(self, "controllers"):
            return
        try:
            if sys.exception() is None:
                self.all_is_well_again()
                for worker in self.live():
                    self.run_to_end(worker)
                self.the_rules_hold()
        finally:
            for worker in self.live():
                worker.kill()
            for service in self.pair.services.values():
                service.end()
            self.seen.update(self.pair.refused)
            self.seen.update(self.pair.seen)
            self.pair.dispose()
            shutil.rmtree(self.pair.folder)


@pytest.fixture
def make_target_pair(on_tmpfs: Path, empty_state: Path, copied_state: Path) -> Callable[[bool], TargetPair]:
    Secret.unlock(Fernet.generate_key())
    templates = {False: empty_state, True: copied_state}
    return lambda copied: TargetPair(Path(tempfile.mkdtemp(dir=on_tmpfs)), templates[copied])


@pytest.mark.parametrize("before", ["nothing", "a cycle", "a takeover", "a loss", "a hang", "a comparison"])
def test_no_crash_and_no_stale_owner_breaks_a_rule(
    make_target_pair: Callable[[bool], TargetPair], pytestconfig: pytest.Config, before: str
) -> None:
    seen: Counter[str] = Counter()
    facts = {"make_pair": staticmethod(make_target_pair), "seen": seen, "before": before}
    machine = type("SubsystemsOfPairs", (Subsystems,), facts)
    soak: int | None = pytestconfig.getoption("soak")
    if soak is None:
        machine = seed(before)(machine)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=soak or _EXAMPLES,
            stateful_step_count=18,
            deadline=None,
            phases=[Phase.generate],
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
    # What never happened was not tried.
    assert seen["ways out"] >= (soak or _EXAMPLES)
    assert seen["steps of stale owners"]
    assert seen["refused: writing the state"]
    assert seen["bytes compared"] or before != "a comparison"
