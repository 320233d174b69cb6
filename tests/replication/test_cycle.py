"""Whole cycles from a source to a target, with workers that die, stop, are overtaken or lose their way."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from qreplica.iscsi.errors import SessionLost
from qreplica.peer import messages
from qreplica.peer.errors import PeerUnreachable, WrongChap
from qreplica.replication import jobs
from qreplica.replication.errors import StaleOwner
from qreplica.state.models import Claim, CycleKind, JobState, Outcome, PathState, Step
from qreplica.storage.driver import BLOCK, Extent, ExtentKind

from .fakes import lost
from .pair import SIZE, SOURCE_GROUP, SOURCE_VD, Crash, Pair, Steps, Stop, fill, first_copy


def die(_: str) -> None:
    raise Crash


def unreachable(_: str) -> None:
    raise PeerUnreachable(address="192.0.2.11", port=3261, reason="the test says so")


def dying_at(place: str, times: int) -> Steps:
    """Return steps of a worker that dies at the step of that name, when it comes there for that time."""
    steps = Steps()
    real = steps.take

    def take(name: str) -> None:
        real(name)
        if steps.taken.count(place) >= times:
            steps.dead = True
            raise Crash

    steps.take = take  # type: ignore[method-assign]
    return steps


def test_a_full_copy_and_then_only_what_changed(pair: Pair) -> None:
    first_copy(pair)
    assert [one.generation for one in pair.points()] == [1]
    pair.check_points()
    pair.write(3, 200)
    pair.write(8, 0)
    pair.sessions.clear()
    jobs.start(pair.database, "nightly")
    pair.work()
    assert [(one.kind, one.offset // BLOCK) for one in pair.sessions[0][0].written()] == [("write", 3), ("zeros", 8)]
    pair.check_points()
    first, second = pair.cycles()
    assert (first.kind, first.sent_bytes, first.total_bytes) == (CycleKind.FULL, SIZE, SIZE)
    assert (second.kind, second.base_generation, second.outcome) == (CycleKind.INCREMENTAL, 1, Outcome.COMMITTED)
    assert (second.sent_bytes, second.total_bytes, second.checkpoint) == (BLOCK, 2 * BLOCK, SIZE)
    assert second.step is Step.DONE
    assert second.worker_peak_memory > 0
    assert pair.snapshots() == {second.id}
    job = pair.job()
    assert (job.base_generation, job.base_snapshot_id) == (2, second.id)


def test_every_claim_has_a_higher_epoch_persisted_before(pair: Pair) -> None:
    seen = []
    real = pair.recovery.claim

    def claim(iqn: str, message: object, **named: object) -> object:
        epoch = message.epoch  # type: ignore[attr-defined]
        seen.append((epoch, pair.job().epoch))
        return real(iqn, message, **named)  # type: ignore[arg-type]

    pair.recovery.claim = claim  # type: ignore[assignment, method-assign]
    first_copy(pair)
    for at in (3, 9, 20):
        steps = Steps()
        steps.at, steps.what = at, lambda name: unreachable(name) if name.startswith(("ask", "answer")) else None
        jobs.start(pair.database, "nightly")
        pair.work(steps)
    epochs = [epoch for epoch, _ in seen]
    assert epochs == sorted(set(epochs))
    assert all(epoch == persisted for epoch, persisted in seen)


def steps_of_a_cycle(make_copied: Callable[[], Pair]) -> list[str]:
    """Return the steps of an incremental cycle; they are the same each time."""
    pair = make_copied()
    pair.write(2, 99)
    pair.write(7, 98)
    jobs.start(pair.database, "nightly")
    steps = Steps()
    pair.work(steps)
    assert len(steps.taken) > 40
    return steps.taken


def test_a_worker_may_die_at_any_step_and_the_next_goes_on(make_copied: Callable[[], Pair]) -> None:
    """Every step of an incremental cycle, one after the other, until a worker gets through."""
    for at in range(len(steps_of_a_cycle(make_copied))):
        pair = make_copied()
        pair.write(2, 99)
        pair.write(7, 98)
        jobs.start(pair.database, "nightly")
        steps = Steps()
        steps.at, steps.what = at, die
        with pytest.raises(Crash):
            pair.work(steps)
        checkpoint = pair.cycle_row().checkpoint
        before = len(pair.sessions)
        pair.work()
        assert pair.job().state is JobState.IDLE, f"after a crash at step {at}, {steps.taken[-1]}"
        assert [one.generation for one in pair.points()] == [1, 2]
        pair.check_points()
        assert [one.kind for one in pair.cycles()] == [CycleKind.FULL, CycleKind.INCREMENTAL]
        assert pair.snapshots() == {pair.job().base_snapshot_id}
        again = [one.offset for session, _ in pair.sessions[before:] for one in session.written()]
        assert min(again, default=SIZE) >= checkpoint


def test_the_target_may_lose_its_power_at_any_step(make_copied: Callable[[], Pair]) -> None:
    for at, step in enumerate(steps_of_a_cycle(make_copied)):
        if step == "commit":  # the same moment as the one after it, but within a transaction
            continue
        pair = make_copied()
        pair.write(2, 99)
        pair.write(7, 98)
        jobs.start(pair.database, "nightly")
        steps = Steps()
        steps.at, steps.what = at, lambda _, pair=pair: pair.reboot_target()
        pair.work(steps)
        assert pair.job().state is JobState.IDLE, f"after losing power at step {at}, {steps.taken[at]}"
        assert [one.generation for one in pair.points()] == [1, 2]
        pair.check_points()
        assert pair.cycle_row().kind is CycleKind.INCREMENTAL


def test_a_worker_that_was_overtaken_writes_nothing_more(make_copied: Callable[[], Pair]) -> None:
    """At any step of a worker that merely hangs, another one is started and gets through."""
    for at, step in enumerate(steps_of_a_cycle(make_copied)):
        if step == "commit":  # the same moment as the one after it, but within a transaction
            continue
        pair = make_copied()
        pair.write(2, 99)
        pair.write(7, 98)
        jobs.start(pair.database, "nightly")
        after: list[object] = []

        def overtake(_: str, pair: Pair = pair, after: list[object] = after) -> None:
            if pair.work():
                after.extend(facts(pair))

        steps = Steps()
        steps.at, steps.what = at, overtake
        try:
            pair.work(steps)
        except StaleOwner:
            assert facts(pair) == after, f"overtaken at step {at}, {steps.taken[at]}"
        assert pair.job().state is JobState.IDLE
        assert [one.generation for one in pair.points()] == [1, 2]
        pair.check_points()


def facts(pair: Pair) -> list[object]:
    job = pair.job()
    cycles = [(one.generation, one.step, one.checkpoint, one.sent_bytes, one.resumes) for one in pair.cycles()]
    disk = pair.disk.content()
    return [job.epoch, job.state, job.base_generation, cycles, disk, len(pair.points()), pair.snapshots()]


def test_a_lost_answer_to_the_commit_is_made_good_without_a_byte(pair: Pair) -> None:
    first_copy(pair)
    pair.write(4, 50)
    jobs.start(pair.database, "nightly")
    steps = Steps()
    steps.what = die
    probe = Steps()
    jobs_before = len(pair.sessions)
    steps.at = None
    real_take = steps.take

    def take(name: str) -> None:
        if name == "answer commit":
            steps.at = len(steps.taken)
        real_take(name)

    steps.take = take  # type: ignore[method-assign]
    with pytest.raises(Crash):
        pair.work(steps)
    assert [one.generation for one in pair.points()] == [1, 2]
    assert pair.job().base_generation == 1
    sessions = len(pair.sessions)
    assert sessions == jobs_before + 1
    pair.work(probe)
    assert len(pair.sessions) == sessions
    assert "ask begin" not in probe.taken
    assert pair.job().base_generation == 2


def test_a_lost_way_is_waited_for_and_gone_on_with(pair: Pair) -> None:
    first_copy(pair)
    fill(pair, 77)
    jobs.start(pair.database, "nightly")
    states = []

    class Watching(Stop):
        def wait(self, timeout: float | None = None) -> bool:
            (path,) = pair.paths()
            states.append((pair.job().state, pair.job().error_kind, path.state, path.reason))
            return super().wait(timeout)

    steps = Steps()
    writes = times = 0

    def take(name: str, real: Callable[[str], None] = steps.take) -> None:
        nonlocal writes, times
        real(name)
        writes += name == "write"
        if name == "write" and writes == 5 + times and times < 4:
            times += 1
            raise lost()

    steps.take = take  # type: ignore[method-assign]
    pair.work(steps, Watching())
    assert set(states) == {(JobState.WAITING, SessionLost.kind, PathState.FAILED, lost().sentence)}
    assert [(path.state, path.reason) for path in pair.paths()] == [(PathState.STANDBY, None)]
    assert pair.job().state is JobState.IDLE
    assert pair.job().error is None
    pair.check_points()
    assert [kind for _, kind, _ in pair.events].count("job-waiting") == 4
    assert pair.cycle_row().resumes == 4


def test_a_target_that_cannot_be_reached_is_waited_for_longer_and_longer_and_told_once(pair: Pair) -> None:
    fill(pair)
    jobs.start(pair.database, "nightly")
    waits: list[float] = []

    class Watching(Stop):
        def wait(self, timeout: float | None = None) -> bool:
            waits[-1] += timeout or 0
            return super().wait(timeout)

    steps = Steps()

    def take(name: str, real: Callable[[str], None] = steps.take) -> None:
        real(name)
        if name == "ask claim" and len(waits) < 8:
            waits.append(0)
            unreachable(name)

    steps.take = take  # type: ignore[method-assign]
    pair.work(steps, Watching())
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    assert [kind for _, kind, _ in pair.events].count("job-waiting") == 1
    assert pair.job().state is JobState.IDLE
    assert len(pair.cycles()) == len(pair.snapshots()) == 1


def test_what_needs_a_human_fails_with_a_sentence_and_keeps_the_checkpoint(pair: Pair) -> None:
    fill(pair)
    jobs.start(pair.database, "nightly")
    steps = Steps()
    writes = 0

    def take(name: str, real: Callable[[str], None] = steps.take) -> None:
        nonlocal writes
        real(name)
        writes += name == "write"
        if name == "write" and writes == 9:
            raise lost()
        if name == "ask claim" and writes:
            raise WrongChap(node="iqn.x", user="replica")

    steps.take = take  # type: ignore[method-assign]
    pair.work(steps)
    job = pair.job()
    assert job.state is JobState.FAILED
    assert job.error_kind == "wrong-chap"
    assert "enter the name and secret" in (job.error or "")
    checkpoint = pair.cycle_row().checkpoint
    assert checkpoint > 0
    assert not pair.work()
    jobs.start(pair.database, "nightly")
    sessions = len(pair.sessions)
    pair.work()
    assert min(one.offset for session, _ in pair.sessions[sessions:] for one in session.written()) >= checkpoint
    pair.check_points()


def test_stop_keeps_what_was_sent(pair: Pair) -> None:
    fill(pair)
    jobs.start(pair.database, "nightly")
    stop, steps = Stop(), Steps()
    writes = 0

    def take(name: str, real: Callable[[str], None] = steps.take) -> None:
        nonlocal writes
        real(name)
        writes += name == "write"
        if writes == 3 and not stop.is_set():
            jobs.stop(pair.database, "nightly")
            stop.set()

    steps.take = take  # type: ignore[method-assign]
    pair.work(steps, stop)
    assert pair.job().state is JobState.STOPPED
    checkpoint = pair.cycle_row().checkpoint
    assert checkpoint >= 3 * BLOCK
    jobs.start(pair.database, "nightly")
    pair.work()
    assert min(one.offset for one in pair.sessions[-1][0].written()) == checkpoint
    pair.check_points()


def test_a_daemon_that_ends_leaves_the_job_running(pair: Pair) -> None:
    fill(pair)
    jobs.start(pair.database, "nightly")
    stop = Stop()
    stop.set()
    pair.work(None, stop)
    assert pair.job().state is JobState.RUNNING
    pair.work()
    assert pair.job().state is JobState.IDLE


def test_a_deleted_snapshot_in_flight_gives_the_cycle_up_and_begins_another(pair: Pair) -> None:
    first_copy(pair)
    fill(pair, 5)
    jobs.start(pair.database, "nightly")
    steps = Steps()
    writes = 0

    def take(name: str, real: Callable[[str], None] = steps.take) -> None:
        nonlocal writes
        real(name)
        writes += name == "write"
        if writes == 6:
            steps.dead = True
            raise Crash

    steps.take = take  # type: ignore[method-assign]
    with pytest.raises(Crash):
        pair.work(steps)
    pair.storage.delete_snapshot(SOURCE_GROUP, SOURCE_VD, pair.cycle_row().id)
    fill(pair, 9)
    pair.work()
    outcomes = [(one.generation, one.outcome, one.kind) for one in pair.cycles()]
    assert outcomes == [
        (1, Outcome.COMMITTED, CycleKind.FULL),
        (2, Outcome.ABANDONED, CycleKind.INCREMENTAL),
        (3, Outcome.COMMITTED, CycleKind.INCREMENTAL),
    ]
    assert [one.generation for one in pair.points()] == [1, 3]
    pair.check_points()
    assert "cycle-abandoned" in [kind for _, kind, _ in pair.events]


def test_a_base_that_is_gone_makes_the_next_cycle_full_and_says_so(pair: Pair) -> None:
    first_copy(pair)
    pair.storage.delete_snapshot(SOURCE_GROUP, SOURCE_VD, pair.job().base_snapshot_id or "")
    pair.write(1, 9)
    jobs.start(pair.database, "nightly")
    pair.work()
    assert pair.cycle_row().kind is CycleKind.FULL
    assert any(
        "snapshot the source no longer has" in sentence for _, kind, sentence in pair.events if kind == "cycle-planned"
    )
    pair.check_points()


def test_another_disk_under_the_lun_is_never_written(pair: Pair) -> None:
    fill(pair)
    pair.disk.serial = "another"
    jobs.start(pair.database, "nightly")
    pair.work()
    job = pair.job()
    assert (job.state, job.error_kind) == (JobState.FAILED, "wrong-disk")
    assert pair.sessions[0][0].sent == []


def test_the_epoch_jumps_over_one_that_the_target_has_seen(pair: Pair) -> None:
    """The node was claimed at a high epoch by a job of another subsystem, which then gave it back."""
    other = messages.Claim(
        job="2" * 32,
        job_name="other",
        source_subsystem="9" * 32,
        source_subsystem_name="other",
        lun=1,
        vd="b" * 32,
        source_size=SIZE,
        epoch=500,
    )
    pair.recovery.claim("iqn.2026-11.org.qreplica:backup-1", other)
    pair.recovery.release("iqn.2026-11.org.qreplica:backup-1", messages.Release(job="2" * 32, epoch=500))
    first_copy(pair)
    assert pair.job().epoch > 500
    pair.check_points()


def test_what_the_target_does_not_go_on_with_is_sent_from_the_start(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said that the generation is in progress, and has rolled it back when it is asked to go on."""
    first_copy(pair)
    fill(pair, 5)
    jobs.start(pair.database, "nightly")
    with pytest.raises(Crash):
        pair.work(dying_at("write", 9))
    assert pair.cycle_row().checkpoint > 0
    real = pair.recovery.begin

    def begin(iqn: str, message: messages.Begin) -> messages.Begun:
        with pair.target_database.session() as session:
            session.scalars(select(Claim)).one().manifest = None
        return real(iqn, message)

    monkeypatch.setattr(pair.recovery, "begin", begin)
    pair.work()
    assert pair.job().state is JobState.IDLE
    assert pair.cycle_row().kind is CycleKind.INCREMENTAL
    pair.check_points()


def test_a_plan_that_comes_out_differently_is_sent_from_the_start(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine lists other extents than before: the checkpoint was one of another plan, and does not count."""
    first_copy(pair)
    fill(pair, 5)
    jobs.start(pair.database, "nightly")
    with pytest.raises(Crash):
        pair.work(dying_at("write", 9))
    assert pair.cycle_row().checkpoint > 0
    halves = [Extent(0, SIZE // 2, ExtentKind.DATA), Extent(SIZE // 2, SIZE // 2, ExtentKind.DATA)]
    monkeypatch.setattr(pair.storage, "delta", lambda *_: halves)
    # The worst moment: the target has begun anew, and the worker dies before it knows.
    with pytest.raises(Crash):
        pair.work(dying_at("answer begin", 1))
    pair.work()
    assert min(one.offset for one in pair.sessions[-1][0].written()) == 0
    assert [one.generation for one in pair.points()] == [1, 2]
    pair.check_points()
