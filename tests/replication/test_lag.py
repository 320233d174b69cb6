"""When a copy is too old and when a job stands still, by hand and against a model that looks at every second."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from qreplica.replication.errors import RpoWrong
from qreplica.replication.lag import Facts, Mark, News, Noted, check_rpo, judge, missed_since
from qreplica.state.models import JobState, Step

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
IDLE = Facts(
    state=JobState.IDLE,
    created_at=NOON,
    point_at=None,
    mark=None,
    marked_at=None,
    rpo_minutes=None,
    progress_minutes=15,
)
AT_START = Mark(4, Step.TRANSFER, 0)
RUNNING = replace(IDLE, state=JobState.RUNNING, mark=AT_START, marked_at=NOON)


class Watched:
    """What is judged again and again, as one controller after the other would: only what was noted is kept."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.noted = Noted()
        self.at = NOON
        self.told: list[tuple[int, News]] = []
        self.look()

    def change(self, **facts: object) -> "Watched":
        self.facts = replace(self.facts, **facts)  # type: ignore[arg-type] # its own fields
        return self

    def move(self, generation: int, step: Step, checkpoint: int) -> "Watched":
        return self.change(mark=Mark(generation, step, checkpoint))

    def look(self, minutes: float = 0) -> "Watched":
        """Look every quarter of a minute for so long."""
        for _ in range(max(1, round(minutes * 4))):
            self.at += timedelta(seconds=15 if minutes else 0)
            self.noted, news = judge(self.facts, self.noted, self.at)
            self.told += [(round((self.at - NOON) / MINUTE), one) for one in news]
        return self

    def news(self) -> list[tuple[int, News]]:
        """Return what was told since this was asked last, and at which minute."""
        told, self.told = self.told, []
        return told


# The goal.


def test_a_point_may_be_as_old_as_the_goal_says() -> None:
    assert missed_since(NOON, NOON, 60, NOON + 60 * MINUTE) is None
    assert missed_since(NOON, NOON, 60, NOON + 60 * MINUTE + timedelta(microseconds=1)) == NOON + 60 * MINUTE
    assert missed_since(NOON, NOON, None, NOON + timedelta(days=999)) is None
    assert missed_since(None, NOON, 1, NOON + 2 * MINUTE) == NOON + MINUTE


@pytest.mark.parametrize("state", list(JobState))
def test_a_goal_that_is_missed_and_met_again_is_told_once_whatever_the_job_does(state: JobState) -> None:
    watched = Watched(replace(IDLE, state=state, point_at=NOON, rpo_minutes=60)).look(100)
    assert watched.news() == [(60, News.RPO_MISSED)]
    assert watched.noted.missed_since == NOON + 60 * MINUTE
    # A point that is too old itself when it comes ends nothing.
    assert watched.change(point_at=NOON + 20 * MINUTE).look(1).news() == []
    assert watched.noted.missed_since == NOON + 60 * MINUTE
    assert watched.change(point_at=NOON + 90 * MINUTE).look(1).news() == [(101, News.RPO_MET_AGAIN)]
    assert watched.look(60).news() == [(150, News.RPO_MISSED)]


def test_another_goal_counts_at_once_and_none_ends_it_in_silence() -> None:
    watched = Watched(replace(IDLE, point_at=NOON)).look(100)
    assert watched.change(rpo_minutes=60).look().news() == [(100, News.RPO_MISSED)]
    assert watched.change(rpo_minutes=30).look().news() == []
    assert watched.change(rpo_minutes=120).look().news() == [(100, News.RPO_MET_AGAIN)]
    watched.change(rpo_minutes=60).look().news()
    assert watched.change(rpo_minutes=None).look(10).news() == []
    assert watched.noted.missed_since is None


def test_a_goal_that_cannot_be_is_refused() -> None:
    for minutes in (0, -1, 366 * 1440 + 1, 10**30):
        with pytest.raises(RpoWrong, match="give from 1 minute to 366 days, or none"):
            check_rpo(minutes)
    for fine in (None, 1, 366 * 1440):
        check_rpo(fine)


# Progress.


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.WAITING])
def test_a_job_at_work_that_stands_still_is_told_of_once_and_so_is_that_it_moves_again(state: JobState) -> None:
    watched = Watched(replace(RUNNING, state=state)).look(100)
    assert watched.news() == [(15, News.WITHOUT_PROGRESS)]
    assert watched.noted.stalled_since == NOON
    assert watched.noted.progressed_at == NOON
    assert watched.move(4, Step.TRANSFER, 4096).look(1).news() == [(100, News.PROGRESSES_AGAIN)]
    assert watched.noted.stalled_since is None
    assert watched.look(15).news() == [(115, News.WITHOUT_PROGRESS)]
    assert watched.move(4, Step.FLUSH, 4096).look(1).news() == [(116, News.PROGRESSES_AGAIN)]
    assert watched.move(4, Step.DONE, 4096).change(state=JobState.IDLE).look(100).news() == []


def test_attempts_that_fail_again_and_again_are_no_progress() -> None:
    watched = Watched(RUNNING)
    for _ in range(8):
        watched.move(4, Step.DELTA, 0).look(1).move(4, Step.TRANSFER, 0).look(1)
    assert watched.news() == [(15, News.WITHOUT_PROGRESS)]
    assert watched.noted.mark == AT_START


def test_a_checkpoint_that_was_set_back_counts_from_there() -> None:
    watched = Watched(replace(RUNNING, mark=Mark(4, Step.TRANSFER, 10**9)))
    watched.look(10)
    watched.move(4, Step.TRANSFER, 0).look(1)
    assert watched.noted.progressed_at == NOON
    watched.move(4, Step.TRANSFER, 4096).look(1)
    assert watched.noted.progressed_at == NOON + 11.25 * MINUTE


@pytest.mark.parametrize("state", [JobState.IDLE, JobState.STOPPING, JobState.STOPPED, JobState.FAILED])
def test_what_is_not_at_work_need_not_move(state: JobState) -> None:
    assert Watched(replace(RUNNING, state=state)).look(100).news() == []


def test_one_that_is_started_again_is_not_judged_by_how_long_it_was_not() -> None:
    watched = Watched(replace(RUNNING, state=JobState.STOPPED)).look(3000)
    assert watched.change(state=JobState.RUNNING).look(14.5).news() == []
    assert watched.look(1).news() == [(3015, News.WITHOUT_PROGRESS)]
    assert watched.noted.progressed_at == NOON


@pytest.mark.parametrize("state", [JobState.STOPPING, JobState.STOPPED, JobState.FAILED])
def test_a_standstill_that_ends_by_an_end_has_that_ones_event(state: JobState) -> None:
    watched = Watched(RUNNING).look(20)
    watched.news()
    assert watched.move(4, Step.TRANSFER, 4096).change(state=state).look(20).news() == []
    assert watched.noted.stalled_since is None


def test_a_commit_ends_a_standstill() -> None:
    watched = Watched(RUNNING).look(20)
    watched.news()
    assert watched.move(4, Step.DONE, 0).change(state=JobState.IDLE).look(1).news() == [(20, News.PROGRESSES_AGAIN)]


def test_what_was_told_stays_so_when_more_patience_is_set() -> None:
    watched = Watched(RUNNING).look(20)
    watched.news()
    assert watched.change(progress_minutes=60).look(20).news() == []
    assert watched.noted.stalled_since == NOON
    assert watched.move(4, Step.TRANSFER, 1).look(59).news() == [(40, News.PROGRESSES_AGAIN)]


def test_a_clock_that_was_set_back_counts_from_then_on() -> None:
    watched = Watched(RUNNING).look(5)
    watched.move(4, Step.TRANSFER, 1).look(1)
    watched.at -= timedelta(hours=5)
    assert watched.look(14.5).news() == []
    assert watched.look(1).news() == [(6 - 300 + 15, News.WITHOUT_PROGRESS)]


def test_the_first_look_knows_since_when() -> None:
    """After an upgrade nothing is noted; what the cycle says is taken, and nothing of the time before is told."""
    watched = Watched(replace(RUNNING, marked_at=NOON - 100 * MINUTE)).look(14)
    assert watched.noted.progressed_at == NOON - 100 * MINUTE
    assert watched.news() == []
    assert Watched(replace(RUNNING, marked_at=NOON + 5 * MINUTE)).noted.progressed_at == NOON
    assert Watched(IDLE).noted == Noted()


# A model, which remembers everything and knows nothing of marks or of what was noted.


@pytest.mark.parametrize("seed", range(20))
def test_a_month_of_all_kinds_of_things_is_told_as_a_model_says(seed: int) -> None:
    """The looks come when they come; the model looks back over the whole history at each of them."""
    chance = random.Random(seed)
    watched = Watched(replace(IDLE, rpo_minutes=chance.choice([30, 90, 600])))
    late = still = False
    moved_at = begun_at = NOON
    generation, checkpoint = 0, 0
    end = NOON + timedelta(days=31)
    while watched.at < end:
        watched.at += timedelta(seconds=chance.choice([5, 60, 600, 7200]))
        state, moved = watched.facts.state, False
        if state is JobState.RUNNING and chance.random() < 0.4:
            checkpoint, moved = checkpoint + 1, True
        event = chance.random()
        if state is not JobState.RUNNING and event < 0.5:
            if state is JobState.IDLE:
                generation, checkpoint, moved = generation + 1, 0, True
            state, begun_at = JobState.RUNNING, watched.at
        elif state is JobState.RUNNING and event < 0.2:
            state, moved = JobState.IDLE, True
            watched.change(point_at=watched.at - timedelta(minutes=chance.randrange(100)))
        elif state is JobState.RUNNING and event < 0.3:
            state = chance.choice([JobState.FAILED, JobState.STOPPED])
        step = Step.DONE if state is JobState.IDLE else Step.TRANSFER
        watched.change(state=state, mark=Mark(generation, step, checkpoint) if generation else None)
        moved_at = watched.at if moved else moved_at
        expected = []
        due = (watched.facts.point_at or NOON) + timedelta(minutes=watched.facts.rpo_minutes or 0)
        if (watched.at > due) is not late:
            late = not late
            expected.append(News.RPO_MISSED if late else News.RPO_MET_AGAIN)
        stands = state is JobState.RUNNING and watched.at - max(moved_at, begun_at) >= timedelta(minutes=15)
        if stands and not still:
            expected.append(News.WITHOUT_PROGRESS)
        elif still and moved and state in {JobState.RUNNING, JobState.IDLE}:
            expected.append(News.PROGRESSES_AGAIN)
        still = stands
        watched.look()
        assert [news for _, news in watched.news()] == expected
