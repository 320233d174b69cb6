"""Which path carries the data, and what happens when one fails."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreplica.errors import QReplicaError
from qreplica.peer.errors import PeerUnreachable, WrongChap
from qreplica.replication import jobs, multipath
from qreplica.replication.errors import WrongDisk
from qreplica.replication.links import Way
from qreplica.replication.path_states import fail, revive
from qreplica.replication.paths import choose
from qreplica.replication.recovery_errors import FencingFailed
from qreplica.state.errors import StateDiskFull
from qreplica.state.models import JobState, Path, PathState, now
from qreplica.storage.driver import BLOCK

from .fakes import lost
from .pair import ADDRESSES, IQN, SIZE, Crash, DirectLinks, Pair, Steps, Stop, fill, first_copy

FIRST, SECOND = ADDRESSES


def ways(*states: PathState) -> list[Way]:
    return [Way(f"192.0.2.{number}", 3260, 3261, str(number), state) for number, state in enumerate(states)]


A, S, F = PathState.ACTIVE, PathState.STANDBY, PathState.FAILED


@pytest.mark.parametrize(
    ("states", "turn", "chosen"),
    [
        ([S], "", "0"),
        ([S, S], "1", "0"),
        ([F, S], "0", "1"),
        ([S, A], "0", "1"),  # the preferred one is back, and the cycle stays
        ([F, S, S], "", "1"),
        ([S, F, S], "1", "0"),
        ([F, F], "", "0"),
        ([F, F], "1", "1"),
        ([F, F, F], "21", "2"),
        ([F, F], "71", "1"),  # one was removed
        ([F, F], "7", "0"),
    ],
)
def test_the_choice_of_a_path(states: list[PathState], turn: str, chosen: str) -> None:
    assert choose(ways(*states), turn).path == chosen


@given(states=st.lists(st.sampled_from(PathState), min_size=1, max_size=6), turn=st.text("0123456"))
def test_one_that_failed_is_never_chosen_while_another_may_work(states: list[PathState], turn: str) -> None:
    chosen = choose(ways(*states), turn)
    assert (chosen.state is F) == (set(states) == {F})


def states_of(pair: Pair) -> list[PathState]:
    return [path.state for path in pair.paths()]


@pytest.fixture
def two(pair: Pair) -> Pair:
    """A pair whose job has a path to each controller of the target, and all of its VD to send."""
    pair.second_path()
    fill(pair)
    jobs.start(pair.database, "nightly")
    return pair


class Eventful(Steps):
    """Does something at the n-th step of a name."""

    def __init__(self, name: str, number: int, do: Callable[[], None]) -> None:
        super().__init__()
        self._name, self._number, self._do = name, number, do
        self._met = 0

    def take(self, name: str) -> None:
        super().take(name)
        if name == self._name:
            self._met += 1
            if self._met == self._number:
                self._do()


class Eventual(Stop):
    """Counts how often it is waited on, and does something at some of these times."""

    def __init__(self, at: dict[int, Callable[[], None]]) -> None:
        super().__init__()
        self._at = at
        self.waits = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.waits += 1
        if self.waits in self._at:
            self._at[self.waits]()
        return super().wait(timeout)


class NeverWaits(Stop):
    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - Event's signature
        pytest.fail("it waited though there is another path")


def test_a_cycle_goes_over_the_preferred_path_and_the_other_stands_by(two: Pair) -> None:
    seen: list[list[PathState]] = []
    two.work(Eventful("write", 3, lambda: seen.append(states_of(two))))
    assert seen == [[A, S]]
    assert states_of(two) == [S, S]
    assert set(two.gone_over) == {FIRST}
    two.check_points()


def test_a_path_that_is_lost_is_left_at_once_and_the_rest_goes_over_the_other(two: Pair) -> None:
    epochs: list[int] = []
    real = two.recovery.claim

    def claim(iqn: str, message: object, **named: object) -> object:
        epochs.append(message.epoch)  # type: ignore[attr-defined]
        return real(iqn, message, **named)  # type: ignore[arg-type]

    two.recovery.claim = claim  # type: ignore[assignment, method-assign]
    two.work(Eventful("write", 11, lambda: two.away.add(FIRST)), NeverWaits())
    assert two.job().state is JobState.IDLE
    assert two.gone_over == [FIRST, SECOND]
    assert epochs == sorted(set(epochs))
    assert len(epochs) == 2
    first, second = two.paths()
    assert (first.state, first.reason) == (F, lost().sentence)
    assert (second.state, second.reason) == (S, None)
    cycle = two.cycle_row()
    assert cycle.resumes == 1
    # Only what lies beyond the last durable checkpoint is sent again.
    session, noted = two.sessions[1]
    assert noted is not None
    assert noted.checkpoint >= BLOCK
    assert min(one.offset for one in session.written()) == noted.checkpoint
    two.check_points()
    assert [kind for _, kind, _ in two.events].count("path-failed") == 1
    assert "job-waiting" not in [kind for _, kind, _ in two.events]


def test_the_cycle_stays_on_its_path_when_the_preferred_one_is_back(two: Pair) -> None:
    two.away.add(FIRST)

    def back() -> None:
        two.away.clear()
        first = two.paths()[0]
        with two.database.session() as session:
            assert revive(session, first.id, first.since)
        raise Crash

    with pytest.raises(Crash):
        two.work(Eventful("write", 8, back), NeverWaits())
    assert states_of(two) == [S, A]
    two.gone_over.clear()
    two.work()
    assert two.gone_over == [SECOND]
    # The next cycle is a new choice.
    two.gone_over.clear()
    jobs.start(two.database, "nightly")
    two.work()
    assert two.gone_over == [FIRST]


def test_when_all_are_away_it_waits_and_tries_each_until_one_is_back(two: Pair) -> None:
    two.away.update(ADDRESSES)
    seen = []

    class Watching(Stop):
        def wait(self, timeout: float | None = None) -> bool:
            seen.append((two.job().state, *states_of(two)))
            if len(two.gone_over) == 6:
                two.away.discard(SECOND)
            return super().wait(timeout)

    two.work(None, Watching())
    assert set(seen) == {(JobState.WAITING, F, F)}
    # Each once between two waits, the one tried last first.
    assert two.gone_over == [FIRST, SECOND, SECOND, FIRST, FIRST, SECOND, SECOND]
    assert states_of(two) == [F, S]
    assert two.job().state is JobState.IDLE
    two.check_points()
    assert [kind for _, kind, _ in two.events].count("job-waiting") == 1


def test_a_path_that_is_found_to_work_again_ends_the_wait(two: Pair) -> None:
    two.away.update(ADDRESSES)

    def come_back() -> None:
        two.away.discard(SECOND)
        second = two.paths()[1]
        with two.database.session() as session:
            assert revive(session, second.id, second.since)

    stop = Eventual({30: come_back})
    two.work(None, stop)
    # 1 + 2 + 4 + 8 + 16 s of back-off: the wait of the 30th second would have been a longer one.
    assert stop.waits == 30
    assert two.gone_over[-1] == SECOND
    assert two.job().state is JobState.IDLE


@pytest.mark.parametrize(
    "error",
    [
        PeerUnreachable(address=FIRST, port=3261, reason="the test says so"),
        FencingFailed(vd="b1", controller=1, reason="it is silent"),
        WrongDisk(lun=1, node="iqn.x", what="id", found="1", expected="2"),
        WrongChap(node="iqn.x", user="replica"),
    ],
    ids=lambda error: error.kind,
)
def test_what_is_wrong_with_one_path_is_tried_on_another(two: Pair, error: QReplicaError) -> None:
    def fail() -> None:
        raise error

    two.work(Eventful("ask claim", 1, fail), NeverWaits())
    assert two.gone_over == [FIRST, SECOND]
    assert two.job().state is JobState.IDLE
    assert two.paths()[0].reason == error.sentence


@pytest.mark.parametrize("number", [1, 2])
def test_a_target_controller_that_hangs_is_left_before_it_is_asked_for_much(two: Pair, number: int) -> None:
    """Before the claim, and before the commit; its target daemon may serve the data all the while."""

    def silent() -> None:
        raise PeerUnreachable(address=FIRST, port=3261, reason="its answer was not complete after 10 s")

    two.work(Eventful("ask nodes", number, silent), NeverWaits())
    assert two.gone_over == [FIRST, SECOND]
    assert two.job().state is JobState.IDLE
    assert sum(len(session.written()) for session, _ in two.sessions) == SIZE // BLOCK
    two.check_points()


def test_a_deleted_job_is_told_of_over_a_path_that_works(two: Pair) -> None:
    two.away.add(FIRST)
    two.work()
    two.gone_over.clear()
    jobs.delete(two.database, two.storage, "nightly", DirectLinks(two, Steps()), controller=1)
    assert two.gone_over == [SECOND]
    assert two.recovery.lineage(IQN, 1).initiator == ""


def test_what_needs_a_person_on_every_path_fails_the_job(two: Pair) -> None:
    two.disk.serial = "another"
    two.work(None, NeverWaits())
    assert (two.job().state, two.job().error_kind) == (JobState.FAILED, "wrong-disk")
    assert two.gone_over == [FIRST, SECOND]
    assert [session.sent for session, _ in two.sessions] == [[], []]
    assert states_of(two) == [F, F]


def test_what_is_no_paths_fault_is_waited_for_on_the_same_one(two: Pair) -> None:
    def full() -> None:
        raise StateDiskFull(place="state.db", free=0)

    waited: list[float | None] = []

    class Watching(Stop):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout)
            return super().wait(timeout)

    two.work(Eventful("ask claim", 1, full), Watching())
    assert waited == [1.0]
    assert two.gone_over == [FIRST, FIRST]
    assert states_of(two) == [S, S]


@pytest.mark.parametrize("number", range(1, 12, 3))
def test_removing_the_path_that_carries_the_data_has_the_cycle_go_over(two: Pair, number: int) -> None:
    def remove() -> None:
        multipath.remove(two.database, "nightly", FIRST, controller=1)

    two.work(Eventful("write", number, remove), NeverWaits())
    assert two.job().state is JobState.IDLE
    assert two.gone_over == [FIRST, SECOND]
    assert [path.address for path in two.paths()] == [SECOND]
    two.check_points()
    assert [kind for _, kind, _ in two.events].count("path-failed") == 0


def test_a_path_that_is_removed_while_all_are_away_is_not_tried_again(two: Pair) -> None:
    two.away.update(ADDRESSES)
    stop = Eventual({1: lambda: multipath.remove(two.database, "nightly", SECOND, controller=1), 20: two.away.clear})
    two.work(None, stop)
    assert SECOND not in two.gone_over[2:]
    # 1 + 2 + 4 + 8 + 16 s of back-off, and one try after each.
    assert stop.waits == 31
    assert two.gone_over[2:] == [FIRST] * 5


def test_removing_a_path_that_stands_by_disturbs_nobody(two: Pair) -> None:
    two.work(Eventful("write", 4, lambda: multipath.remove(two.database, "nightly", SECOND, controller=1)))
    assert two.gone_over == [FIRST]
    assert two.cycle_row().resumes == 0


def test_since_when_a_path_failed_stays_while_it_fails_and_the_reason_is_the_last(pair: Pair) -> None:
    (path,) = pair.paths()
    for reason, news in (("no route", True), ("no answer", False)):
        with pair.database.session() as session:
            assert fail(session.get_one(Path, path.id), reason) is news
        if news:
            since = pair.paths()[0].since
            assert path.since < since <= now()
    (failed,) = pair.paths()
    assert (failed.state, failed.since, failed.reason) == (F, since, "no answer")
    with pair.database.session() as session:
        assert not revive(session, path.id, path.since)
        assert revive(session, path.id, since)
    (back,) = pair.paths()
    assert (back.state, back.reason) == (S, None)
    assert back.since > since


def test_a_path_that_leads_elsewhere_does_not_fail_a_job_whose_other_path_may_come_back(two: Pair) -> None:
    two.away.add(FIRST)
    waited = 0

    def elsewhere() -> None:
        raise WrongDisk(lun=1, node="iqn.x", what="id", found="1", expected="2")

    class Watching(Stop):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal waited
            waited += 1
            assert (two.job().state, two.job().error_kind) == (JobState.WAITING, "wrong-disk")
            two.away.clear()
            return super().wait(timeout)

    # The first path is given up in the question before the claim, the second at its claim.
    two.work(Eventful("ask claim", 1, elsewhere), Watching())
    assert waited == 1
    assert two.gone_over == [FIRST, SECOND, SECOND]
    assert two.job().state is JobState.IDLE


def test_a_stopped_job_has_no_active_path(two: Pair) -> None:
    stop = Stop()

    def told() -> None:
        jobs.stop(two.database, "nightly")
        stop.set()

    two.work(Eventful("write", 4, told), stop)
    assert two.job().state is JobState.STOPPED
    assert states_of(two) == [S, S]


def test_after_a_change_of_path_the_old_session_can_write_nothing(two: Pair) -> None:
    """What the kernel may still send after a black hole ends meets a session that the claim cut off."""
    two.work(Eventful("write", 8, lambda: two.away.add(FIRST)))
    two.away.clear()
    old, _ = two.sessions[0]
    flushed = two.disk.content()
    with pytest.raises(type(lost())):
        old.before("write")
    assert two.disk.content() == flushed


def test_a_job_with_one_path_is_as_before(pair: Pair) -> None:
    first_copy(pair)
    assert isinstance(pair.paths()[0], Path)
    assert pair.cycle_row().sent_bytes == SIZE
    assert states_of(pair) == [S]
