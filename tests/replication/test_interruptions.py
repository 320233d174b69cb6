"""Any sequence of host writes, runs, crashes, lost ways, power failures and takeovers keeps the rules."""

import contextlib
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from qreplica.peer.errors import PeerUnreachable
from qreplica.replication import jobs
from qreplica.replication.errors import StaleOwner
from qreplica.replication.path_states import revive
from qreplica.state.models import CycleKind, JobState, Outcome, PathState

from .fakes import lost
from .pair import ADDRESSES, BLOCKS, SOURCE_GROUP, SOURCE_VD, Crash, Pair, Steps, Stop

_WAYS_OUT = ("ask", "answer", "log in", "write", "zeros", "flush", "poll")
_MOST_STEPS = 160


class Interruptions(RuleBasedStateMachine):
    """``make_pair`` is set by the test, from its fixture."""

    make_pair: ClassVar[Callable[[], Pair]]
    pair: Pair
    lost_since: set[int | None]

    @initialize()
    def begin(self) -> None:
        self.pair = type(self).make_pair()
        self.lost_since = set()

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            self.pair.dispose()

    @rule(blocks=st.lists(st.tuples(st.integers(0, BLOCKS - 1), st.integers(0, 3)), min_size=1, max_size=6))
    def host_writes(self, blocks: list[tuple[int, int]]) -> None:
        for block, value in blocks:
            self.pair.write(block, value)

    @precondition(lambda self: self.pair.job().state in {JobState.IDLE, JobState.STOPPED, JobState.FAILED})
    @rule()
    def administrator_starts(self) -> None:
        jobs.start(self.pair.database, "nightly")

    @precondition(lambda self: self.pair.job().state is JobState.RUNNING)
    @rule()
    def worker_gets_through(self) -> None:
        self.run(Steps())
        assert self.pair.job().state is JobState.IDLE

    @precondition(lambda self: self.pair.job().state is JobState.RUNNING)
    @rule(at=st.integers(0, _MOST_STEPS))
    def worker_dies(self, at: int) -> None:
        def die(_: str) -> None:
            raise Crash

        self.run(self.at(at, die))

    @precondition(lambda self: self.pair.job().state is JobState.RUNNING)
    @rule(at=st.integers(0, _MOST_STEPS))
    def way_is_lost(self, at: int) -> None:
        def lose(name: str) -> None:
            if name.startswith(("ask", "answer")):
                raise PeerUnreachable(address="192.0.2.11", port=3261, reason="the test says so")
            if name.startswith(_WAYS_OUT):
                raise lost()

        self.run(self.at(at, lose))
        assert self.pair.job().state is JobState.IDLE

    @precondition(lambda self: self.pair.job().state is JobState.RUNNING)
    @rule(at=st.integers(0, _MOST_STEPS))
    def target_loses_power(self, at: int) -> None:
        self.run(self.at(at, lambda name: None if name == "commit" else self.pair.reboot_target()))
        assert self.pair.job().state is JobState.IDLE

    @precondition(lambda self: self.pair.job().state is JobState.RUNNING)
    @rule(at=st.integers(0, _MOST_STEPS), dies=st.integers(0, _MOST_STEPS))
    def another_worker_takes_over(self, at: int, dies: int) -> None:
        """The first one hangs meanwhile and then goes on; the second may die too."""

        def die(_: str) -> None:
            raise Crash

        def overtake(name: str) -> None:
            if name != "commit":
                self.run(self.at(dies, die))

        self.run(self.at(at, overtake))

    @precondition(lambda self: self.pair.job().state is JobState.RUNNING)
    @rule(at=st.integers(0, _MOST_STEPS))
    def administrator_stops(self, at: int) -> None:
        stop = Stop()

        def told(name: str) -> None:
            if name != "commit":
                jobs.stop(self.pair.database, "nightly")
                stop.set()

        self.run(self.at(at, told), stop)
        assert self.pair.job().state in {JobState.STOPPED, JobState.IDLE}

    @precondition(lambda self: len(self.pair.paths()) == 1)
    @rule()
    def administrator_adds_a_path(self) -> None:
        self.pair.second_path()

    @rule(away=st.sampled_from([None, *ADDRESSES]))
    def a_path_goes_away_or_all_are_back(self, away: str | None) -> None:
        # Without any way a worker would wait for ever here, where no time passes.
        self.pair.away = {away} if away is not None and len(self.pair.paths()) > 1 else set()

    @precondition(lambda self: len(self.pair.paths()) > 1 and self.pair.job().state is JobState.RUNNING)
    @rule(at=st.integers(0, _MOST_STEPS), which=st.sampled_from(ADDRESSES))
    def a_path_goes_away_under_way(self, at: int, which: str) -> None:
        def swallow(name: str) -> None:
            if name != "commit":
                self.pair.away = {which}

        self.run(self.at(at, swallow))
        assert self.pair.job().state is JobState.IDLE

    @rule()
    def failed_paths_are_probed(self) -> None:
        with self.pair.database.session() as session:
            for path in self.pair.paths():
                if path.address not in self.pair.away:
                    revive(session, path.id, path.since)

    @precondition(lambda self: self.pair.job().base_snapshot_id in self.pair.snapshots())
    @rule()
    def base_is_lost(self) -> None:
        job = self.pair.job()
        self.lost_since.add(job.base_generation)
        self.pair.storage.delete_snapshot(SOURCE_GROUP, SOURCE_VD, job.base_snapshot_id or "")

    def at(self, number: int, what: Callable[[str], None]) -> Steps:
        steps = Steps()
        steps.at, steps.what = number, what
        return steps

    def run(self, steps: Steps, stop: Stop | None = None) -> None:
        cycle, sessions = self.pair.cycle_row(), len(self.pair.sessions)
        stands = self.stands(cycle)
        with contextlib.suppress(Crash, StaleOwner):
            self.pair.work(steps, stop)
        for session, noted in self.pair.sessions[sessions:]:
            # Nothing durable is sent again, and what is written lies above the checkpoint of the moment.
            assert all(one.offset >= noted.checkpoint for one in session.written())
            if stands and noted.id == cycle.id:
                assert noted.checkpoint >= cycle.checkpoint

    def stands(self, cycle: Any) -> bool:
        """Tell whether the target holds what the cycle sent so far, and the base is still there."""
        lineage = self.pair.recovery.lineage("iqn.2026-11.org.qreplica:backup-1", 1)
        present = lineage.in_progress
        base_there = cycle.base_snapshot_id is None or cycle.base_snapshot_id in self.pair.snapshots()
        return present is not None and present.manifest == cycle.manifest and base_there

    @invariant()
    def every_point_is_the_snapshot_of_its_generation(self) -> None:
        if hasattr(self, "pair"):
            self.pair.check_points()

    @invariant()
    def at_most_one_path_carries_data(self) -> None:
        if hasattr(self, "pair"):
            active = [path.address for path in self.pair.paths() if path.state is PathState.ACTIVE]
            assert len(active) <= (self.pair.job().state is JobState.RUNNING)

    @invariant()
    def the_base_is_on_both_sides(self) -> None:
        if hasattr(self, "pair") and (job := self.pair.job()).base_generation is not None:
            newest = self.pair.points()[-1]
            assert newest.generation >= job.base_generation

    @invariant()
    def no_more_snapshots_than_base_and_in_flight(self) -> None:
        if not hasattr(self, "pair"):
            return
        job, present = self.pair.job(), self.pair.snapshots()
        if job.state is JobState.IDLE:
            assert present <= {job.base_snapshot_id}
        else:
            cycle = self.pair.cycle_row()
            # One more may be on its way out.
            assert len(present - {job.base_snapshot_id, cycle.id}) <= 1

    @invariant()
    def never_a_full_copy_where_changes_suffice(self) -> None:
        if not hasattr(self, "pair"):
            return
        before: int | None = None
        for cycle in self.pair.cycles():
            if cycle.kind is CycleKind.FULL:
                assert before is None or before in self.lost_since, f"generation {cycle.generation}"
            if cycle.outcome is Outcome.COMMITTED:
                before = cycle.generation


def test_no_interruption_breaks_a_rule(make_pair: Callable[[], Pair]) -> None:
    run_state_machine_as_test(
        type("InterruptionsOfPairs", (Interruptions,), {"make_pair": staticmethod(make_pair)}),
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
