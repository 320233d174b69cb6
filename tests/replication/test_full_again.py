"""A full copy onto a backup VD that holds something already: compared, and only what differs is sent."""

import random
from collections.abc import Callable

import pytest
from sqlalchemy import select

from qreplica.peer import messages
from qreplica.peer.errors import NoSuchRoute, PeerUnreachable
from qreplica.replication import jobs
from qreplica.state.models import Claim, CycleKind, JobState
from qreplica.storage.driver import BLOCK

from .fakes import Sent
from .pair import BLOCKS, IQN, SIZE, SOURCE_GROUP, SOURCE_VD, Crash, Pair, Steps, Stop, fill


def die(_: str) -> None:
    raise Crash


def lose_base(pair: Pair) -> None:
    pair.storage.delete_snapshot(SOURCE_GROUP, SOURCE_VD, pair.job().base_snapshot_id or "")


def sent(pair: Pair, since: int = 0) -> list[tuple[str, int]]:
    """Return what was sent: write or zeros, and which block."""
    commands: list[Sent] = [one for session, _ in pair.sessions[since:] for one in session.written()]
    return [(one.kind, number) for one in commands for number in blocks_of(one)]


def blocks_of(command: Sent) -> range:
    return range(command.offset // BLOCK, (command.offset + command.length) // BLOCK)


def begin_again(pair: Pair) -> None:
    """The base is lost, a host writes, and the job is started."""
    lose_base(pair)
    pair.write(2, 99)
    pair.write(7, 0)
    pair.write(10, 98)
    jobs.start(pair.database, "nightly")


def test_only_what_differs_is_sent_and_told_apart_from_what_was_compared(make_copied: Callable[[], Pair]) -> None:
    pair = make_copied()
    begin_again(pair)
    pair.work()
    assert sent(pair) == [("write", 2), ("zeros", 7), ("write", 10)]
    cycle = pair.cycle_row()
    assert (cycle.kind, cycle.compared_bytes, cycle.sent_bytes) == (CycleKind.FULL, SIZE, 2 * BLOCK)
    assert (cycle.total_bytes, cycle.done_bytes, cycle.checkpoint) == (SIZE, SIZE, SIZE)
    assert [kind for _, kind, _ in pair.events].count("cycle-compares") == 1
    assert [one.generation for one in pair.points()] == [1, 2]
    pair.check_points()


def test_a_first_copy_onto_an_empty_backup_vd_asks_once_and_compares_nothing(pair: Pair) -> None:
    steps = Steps()
    fill(pair)
    jobs.start(pair.database, "nightly")
    pair.work(steps)
    cycle = pair.cycle_row()
    assert (cycle.kind, cycle.compared_bytes, cycle.sent_bytes) == (CycleKind.FULL, 0, SIZE)
    assert steps.taken.count("ask compare") == 1
    assert "cycle-compares" not in [kind for _, kind, _ in pair.events]
    pair.check_points()


def test_changes_are_never_compared(make_copied: Callable[[], Pair]) -> None:
    pair, steps = make_copied(), Steps()
    pair.write(2, 99)
    jobs.start(pair.database, "nightly")
    pair.work(steps)
    assert pair.cycle_row().kind is CycleKind.INCREMENTAL
    assert "ask compare" not in steps.taken


def test_what_an_earlier_job_left_becomes_the_copy(pair: Pair) -> None:
    """Some of it by chance the same, some where the source has holes, and all in pieces."""
    with pair.target_storage.vd_path("a" * 32, "b" * 32).open("r+b") as live:
        live.write(b"".join(bytes([number % 3]) * BLOCK for number in range(BLOCKS)))
    for number in range(0, BLOCKS, 2):
        pair.write(number, number % 4)
    jobs.start(pair.database, "nightly")
    pair.work()
    differing = [number for number in range(BLOCKS) if number % 3 != (number % 4 if number % 2 == 0 else 0)]
    assert {number for _, number in sent(pair)} == set(differing)
    assert pair.cycle_row().compared_bytes >= len(differing) * BLOCK
    pair.check_points()


def comparing_steps(make_copied: Callable[[], Pair]) -> list[tuple[int, str]]:
    """Return steps of a worker from its login to its commit, all but those that are much alike.

    They are the same each time.
    """
    pair, steps = make_copied(), Steps()
    begin_again(pair)
    pair.work(steps)
    first, last = steps.taken.index("log in"), steps.taken.index("ask commit")
    assert steps.taken.count("ask compare") == BLOCKS // 4
    chosen = range(first, last + 1)
    return [(at, steps.taken[at]) for at in chosen if steps.taken[at] not in {"commit", "poll"} or at % 4 == 0]


def test_a_worker_may_die_at_any_step_and_the_next_compares_on(make_copied: Callable[[], Pair]) -> None:
    for at, step in comparing_steps(make_copied):
        pair, steps = make_copied(), Steps()
        begin_again(pair)
        steps.at, steps.what = at, die
        with pytest.raises(Crash):
            pair.work(steps)
        checkpoint, before = pair.cycle_row().checkpoint, len(pair.sessions)
        pair.work()
        assert pair.job().state is JobState.IDLE, f"after a crash at step {at}, {step}"
        assert [(one.generation, one.base_generation) for one in pair.points()] == [(1, None), (2, None)]
        pair.check_points()
        assert min((number for _, number in sent(pair, before)), default=BLOCKS) * BLOCK >= checkpoint
        # A second look sees what was sent before the first one ended.
        assert set(sent(pair)) == {("write", 2), ("zeros", 7), ("write", 10)}


def test_the_target_may_lose_its_power_at_any_step(make_copied: Callable[[], Pair]) -> None:
    """What was found the same may have been in the page cache only: the source writes, and power is lost."""
    chance = random.Random(5)
    for at, step in comparing_steps(make_copied):
        pair, steps = make_copied(), Steps()
        begin_again(pair)
        for number in chance.sample(range(BLOCKS), 6):
            # As if sent by an earlier attempt, and never flushed.
            content = pair.storage.vd_path(SOURCE_GROUP, SOURCE_VD).read_bytes()
            with pair.target_storage.vd_path("a" * 32, "b" * 32).open("r+b") as live:
                live.seek(number * BLOCK)
                live.write(b"\xee" * BLOCK)
            pair.disk.write(number * BLOCK, content[number * BLOCK : (number + 1) * BLOCK])
        steps.at, steps.what = at, lambda _, pair=pair: pair.reboot_target()
        pair.work(steps)
        assert pair.job().state is JobState.IDLE, f"after losing power at step {at}, {step}"
        assert [one.generation for one in pair.points()] == [1, 2]
        pair.check_points()


@pytest.mark.parametrize("where", ["ask compare", "answer compare"])
def test_a_target_controller_that_dies_in_a_comparison_is_left_for_the_other(
    make_copied: Callable[[], Pair], where: str
) -> None:
    pair, steps = make_copied(), Steps()
    pair.second_path()
    begin_again(pair)
    real = steps.take

    def take(name: str) -> None:
        real(name)
        if name == where and steps.taken.count(where) == 2:
            raise PeerUnreachable(address="192.0.2.11", port=3261, reason="the test says so")

    steps.take = take  # type: ignore[method-assign]
    pair.work(steps)
    assert pair.job().state is JobState.IDLE
    assert len(set(pair.gone_over)) == 2
    pair.check_points()


def test_what_was_rolled_back_meanwhile_is_compared_anew_from_the_start(make_copied: Callable[[], Pair]) -> None:
    """The checkpoint was that of a live VD that is no more."""
    pair, stop, steps = make_copied(), Stop(), Steps()
    begin_again(pair)
    fill(pair, 5)
    real = steps.take

    def take(name: str) -> None:
        real(name)
        if steps.taken.count("write") == 6 and not stop.is_set():
            jobs.stop(pair.database, "nightly")
            stop.set()

    steps.take = take  # type: ignore[method-assign]
    pair.work(steps, stop)
    assert pair.cycle_row().checkpoint > 0
    with pair.target_database.session(read_only=True) as session:
        epoch = session.scalars(select(Claim.epoch)).one()
    pair.recovery.abort(IQN, messages.Abort(job="1" * 32, epoch=epoch))
    before = len(pair.sessions)
    jobs.start(pair.database, "nightly")
    pair.work()
    assert pair.job().state is JobState.IDLE
    assert 0 in {number for _, number in sent(pair, before)}
    pair.check_points()


def test_a_target_that_knows_no_comparison_gets_a_plain_full_copy(
    make_copied: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_copied()
    begin_again(pair)

    def compare(_: str, message: messages.Compare) -> messages.Digests:
        raise NoSuchRoute(method="POST", path=f"compare from {message.offset}", status=404)

    monkeypatch.setattr(pair.recovery, "compare", compare)
    pair.work()
    assert sorted(number for _, number in sent(pair)) == list(range(BLOCKS))
    cycle = pair.cycle_row()
    assert (cycle.kind, cycle.compared_bytes, cycle.sent_bytes) == (CycleKind.FULL, 0, SIZE - BLOCK)
    pair.check_points()
