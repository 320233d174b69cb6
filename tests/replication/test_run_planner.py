"""When a job begins by itself."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from qreplica.replication.run_planner import Begin, Cause, Facts, SetBack, decide, watches_threshold
from qreplica.replication.schedule import Repeat, Schedule
from qreplica.state.models import JobState

ZONE = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 25, 11, tzinfo=UTC)
NIGHTLY = Schedule(Repeat.DAILY, (time(2),))
TWO = datetime(2026, 11, 25, 1, tzinfo=UTC)
IDLE = Facts(JobState.IDLE, paused=False, schedule=NIGHTLY, considered_to=TWO - timedelta(days=1), restart_at=None)
SERVED = replace(IDLE, considered_to=TWO)


@pytest.mark.parametrize("state", [JobState.IDLE, JobState.STOPPED, JobState.FAILED])
def test_what_is_due_begins(state: JobState) -> None:
    facts = replace(IDLE, state=state)
    assert decide(facts, ZONE, TWO - timedelta(seconds=1)) is None
    assert decide(facts, ZONE, TWO) == Begin(Cause.SCHEDULE, TWO, TWO)


def test_what_was_missed_is_made_up_for_once() -> None:
    facts = replace(IDLE, considered_to=TWO - timedelta(days=30))
    begin = decide(facts, ZONE, NOON)
    assert begin == Begin(Cause.SCHEDULE, TWO, TWO)
    assert decide(SERVED, ZONE, NOON) is None


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.WAITING, JobState.STOPPING])
def test_what_is_due_while_it_works_begins_once_afterwards(state: JobState) -> None:
    facts = replace(IDLE, state=state, considered_to=TWO - timedelta(days=3))
    assert decide(facts, ZONE, NOON) is None
    assert decide(replace(facts, state=JobState.IDLE), ZONE, NOON) == Begin(Cause.SCHEDULE, TWO, TWO)


def test_nothing_begins_without_a_schedule_or_while_paused() -> None:
    assert decide(replace(IDLE, schedule=None), ZONE, NOON) is None
    assert decide(replace(IDLE, paused=True), ZONE, NOON) is None
    assert decide(replace(IDLE, schedule=None, restart_at=TWO), ZONE, NOON) is None


def test_a_restart_waits_for_its_time_and_serves_what_is_due_by_then() -> None:
    facts = replace(IDLE, state=JobState.FAILED, restart_at=NOON)
    assert decide(facts, ZONE, NOON - timedelta(seconds=1)) is None
    assert decide(facts, ZONE, NOON) == Begin(Cause.RESTART, NOON, TWO)


def test_a_restart_that_a_clock_ahead_of_its_time_set_is_not_waited_for() -> None:
    later = NOON + timedelta(days=365)
    begin = decide(replace(SERVED, state=JobState.FAILED, restart_at=later), ZONE, NOON)
    assert begin == Begin(Cause.RESTART, later, TWO)


def test_a_clock_put_right_by_seconds_serves_no_time_twice() -> None:
    assert decide(SERVED, ZONE, TWO - timedelta(seconds=2)) is None
    assert decide(SERVED, ZONE, TWO) is None
    assert decide(SERVED, ZONE, TWO + timedelta(days=1)) == Begin(
        Cause.SCHEDULE, TWO + timedelta(days=1), TWO + timedelta(days=1)
    )


@pytest.mark.parametrize("state", list(JobState))
def test_a_clock_that_was_far_ahead_holds_nothing_up(state: JobState) -> None:
    facts = replace(IDLE, state=state, considered_to=TWO + timedelta(days=400))
    assert decide(facts, ZONE, NOON) == SetBack(NOON)


def test_the_threshold_is_for_jobs_with_a_schedule_that_are_at_rest() -> None:
    assert watches_threshold(IDLE)
    assert watches_threshold(replace(IDLE, state=JobState.STOPPED))
    for other in (
        replace(IDLE, schedule=None),
        replace(IDLE, paused=True),
        replace(IDLE, restart_at=NOON),
        replace(IDLE, state=JobState.FAILED),
        replace(IDLE, state=JobState.RUNNING),
        replace(IDLE, state=JobState.WAITING),
    ):
        assert not watches_threshold(other)
