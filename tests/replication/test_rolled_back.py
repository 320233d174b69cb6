"""A source VD that is rolled back between cycles: its jobs go on with what that changed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest

from qreplica.errors import QReplicaError
from qreplica.replication import jobs
from qreplica.state.models import CycleKind, JobState, SnapshotKind
from qreplica.storage import holding_back, rolling_back, snapshots
from qreplica.storage.driver import BLOCK
from qreplica.storage.service_errors import VdReplicating

from .pair import SOURCE_VD, Pair, Steps, Still, Stop, first_copy


def pause() -> nullcontext[Still]:
    return nullcontext(Still())


def let_go(pair: Pair) -> rolling_back.LetGo:
    """Nobody serves the VD."""

    @contextmanager
    def context(vd: str) -> Iterator[list[QReplicaError]]:
        assert vd == SOURCE_VD
        holding_back.hold_back(pair.database, vd)
        yield []
        assert holding_back.serve_again(pair.database, vd)

    return context


def take(pair: Pair, name: str) -> None:
    snapshots.take(pair.database, pair.storage, pause, vd_id=SOURCE_VD, name=name, kind=SnapshotKind.MANUAL)


def roll_back(pair: Pair, name: str) -> None:
    rolling_back.roll_back(pair.database, pair.storage, pause, let_go(pair), vd="s1", snapshot=name, confirmed="s1")


def cycle(pair: Pair) -> None:
    jobs.start(pair.database, "nightly")
    pair.work()
    assert pair.job().state is JobState.IDLE
    assert pair.cycle_row().kind is CycleKind.INCREMENTAL
    pair.check_points()


@pytest.mark.parametrize("when", ["before the base", "after the base"])
def test_the_next_cycle_sends_what_the_roll_back_changed(pair: Pair, when: str) -> None:
    first_copy(pair)
    pair.write(1, 11)
    if when == "before the base":
        take(pair, "wanted")
    pair.write(2, 22)
    cycle(pair)
    if when == "after the base":
        pair.write(3, 33)
        take(pair, "wanted")
    pair.write(4, 44)
    roll_back(pair, "wanted")
    cycle(pair)
    # Block 2 went back, or 3 was written since the base; 4 never left this side.
    assert pair.cycle_row().sent_bytes == BLOCK
    pair.write(5, 55)
    cycle(pair)
    assert pair.cycle_row().sent_bytes == BLOCK


def test_a_roll_back_to_the_base_itself_leaves_nothing_to_send(pair: Pair) -> None:
    first_copy(pair)
    pair.write(6, 66)
    with pair.database.session(read_only=True) as session:
        base = snapshots.listing(session, "s1")[-1].name
    roll_back(pair, base)
    cycle(pair)
    assert pair.cycle_row().total_bytes == 0


def test_what_was_being_sent_is_sent_to_its_end_by_a_stopped_job(make_copied: Callable[[], Pair]) -> None:
    """The cycle carries its snapshot, whatever becomes of the VD."""

    def begin(pair: Pair) -> None:
        take(pair, "wanted")
        pair.write(2, 22)
        pair.write(7, 77)
        jobs.start(pair.database, "nightly")

    counted, stopped = Steps(), Steps()
    dry = make_copied()
    begin(dry)
    dry.work(counted)
    pair = make_copied()
    begin(pair)
    with pytest.raises(VdReplicating, match="job nightly is running"):
        roll_back(pair, "wanted")
    stop = Stop()

    def end(_: str) -> None:
        jobs.stop(pair.database, "nightly")
        stop.set()

    stopped.at, stopped.what = counted.taken.index("log in"), end
    pair.work(stopped, stop)
    assert pair.job().state is JobState.STOPPED
    roll_back(pair, "wanted")
    cycle(pair)
    assert pair.cycle_row().sent_bytes == 2 * BLOCK
    cycle(pair)
    assert pair.cycle_row().sent_bytes == 2 * BLOCK
