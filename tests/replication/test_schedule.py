"""Schedules, against a walk over every minute; and what cannot be one."""

import itertools
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qreplica.replication.schedule import Repeat, Schedule, describe, next_run, previous_due, runs, zone_of
from qreplica.replication.schedule_errors import ScheduleWrong, TimeZoneUnknown

MINUTE = timedelta(minutes=1)
#: What is walked: as long before a month begins as the longest schedule waits, and after it.
BEFORE, MINUTES = timedelta(days=34), 80 * 1440
#: Each with years and months in which its clocks jump. Lord Howe jumps by half an hour, São Paulo did at midnight, St.
#: John's went back over midnight, Apia left out a day.
JUMPS = {
    "Europe/Berlin": [(2026, 3), (2026, 10), (2027, 2)],
    "America/Sao_Paulo": [(2018, 11), (2019, 2)],
    "Australia/Lord_Howe": [(2026, 4), (2026, 10)],
    "Asia/Kathmandu": [(1985, 12)],
    "UTC": [(2024, 2)],
    "America/St_Johns": [(2010, 11), (2010, 3)],
    "Pacific/Apia": [(2011, 12)],
}
MONTHS = [(zone, *month) for zone, months in JUMPS.items() for month in months]


@lru_cache
def walk(zone: str, year: int, month: int) -> dict[int, list[tuple[datetime, datetime, bool]]]:
    """Every minute of a month and some days around it, by the minute of the day that the wall shows or has left out.

    Each with when that is, and whether the wall has shown it before.
    """
    seen: set[datetime] = set()
    walked: dict[int, list[tuple[datetime, datetime, bool]]] = defaultdict(list)
    at = datetime(year, month, 1, tzinfo=UTC) - BEFORE
    before: datetime | None = None
    for _ in range(MINUTES):
        wall = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        shown = [wall]
        while before is not None and shown[0] - before > MINUTE:
            shown.insert(0, shown[0] - MINUTE)
        for one in shown:
            walked[one.hour * 60 + one.minute].append((at, one, one in seen))
        seen.add(wall)
        before, at = wall, at + MINUTE
    return walked


def is_due(schedule: Schedule, wall: datetime) -> bool:
    """Whether the schedule names the day."""
    if schedule.repeat is Repeat.WEEKLY:
        return wall.weekday() in schedule.weekdays
    if schedule.repeat is Repeat.MONTHLY:
        last = (wall.date().replace(day=1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        return wall.day in {min(day, last.day) for day in schedule.days}
    return True


def brute(schedule: Schedule, zone: str, year: int, month: int) -> list[datetime]:
    """Return all instants of the walk at which the schedule is due."""
    minutes = range(0, 1440, schedule.minutes or 1)
    named = minutes if schedule.minutes else [one.hour * 60 + one.minute for one in schedule.times]
    walked = walk(zone, year, month)
    found = {
        at
        for minute in named
        for at, wall, again in walked[minute]
        if is_due(schedule, wall) and (schedule.minutes is not None or not again)
    }
    return sorted(found)


times = st.lists(st.times().map(lambda at: at.replace(second=0, microsecond=0)), min_size=1, max_size=4).map(tuple)
#: Around the jumps more often than elsewhere.
odd_times = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 3, 23]), st.integers(0, 59)).map(lambda at: time(*at)), min_size=1, max_size=4
).map(tuple)
schedules = st.one_of(
    st.builds(Schedule, st.just(Repeat.DAILY), times | odd_times),
    st.builds(Schedule, st.just(Repeat.WEEKLY), times | odd_times, st.lists(st.integers(0, 6), min_size=1).map(tuple)),
    st.builds(
        lambda at, days: Schedule(Repeat.MONTHLY, at, days=tuple(days)),
        times | odd_times,
        st.lists(st.integers(1, 31) | st.integers(28, 31), min_size=1, max_size=5),
    ),
    st.integers(1, 1440).map(lambda minutes: Schedule(Repeat.INTERVAL, minutes=minutes)),
)


def test_a_time_that_the_clock_shows_twice_is_its_first_whatever_its_fold() -> None:
    zone, before = ZoneInfo("America/Sao_Paulo"), datetime(2019, 2, 16, 12, tzinfo=UTC)
    for fold in (1, 0, 1):
        schedule = Schedule(Repeat.DAILY, (time(23, 12, fold=fold),))
        assert next_run(schedule, zone, before) == datetime(2019, 2, 17, 1, 12, tzinfo=UTC)


@settings(max_examples=150, deadline=None)
@given(schedule=schedules, where=st.sampled_from(MONTHS))
def test_what_is_due_is_what_a_walk_over_every_minute_finds(schedule: Schedule, where: tuple[str, int, int]) -> None:
    zone = ZoneInfo(where[0])
    expected = brute(schedule, *where)
    begin = datetime(*where[1:], 1, tzinfo=UTC) - timedelta(days=1)
    within = [at for at in expected if begin < at < begin + timedelta(days=32)]
    # Not all of a schedule that is due each minute: those around each jump, and some.
    for at in within[:20] + near_jumps(within, where):
        assert next_run(schedule, zone, at - MINUTE) == previous_due(schedule, zone, at) == at
    for first, second in itertools.pairwise(within[:20]):
        assert next_run(schedule, zone, first) == second
        assert previous_due(schedule, zone, second - timedelta(seconds=1)) == first


def near_jumps(within: list[datetime], where: tuple[str, int, int]) -> list[datetime]:
    zone = ZoneInfo(where[0])
    return [
        at
        for at in within
        if (at - timedelta(hours=3)).astimezone(zone).utcoffset()
        != (at + timedelta(hours=3)).astimezone(zone).utcoffset()
    ][:40]


@settings(max_examples=60, deadline=None)
@given(schedule=schedules, where=st.sampled_from(MONTHS), data=st.data())
def test_from_any_moment_on_it_is_the_next_and_the_last_one(
    schedule: Schedule, where: tuple[str, int, int], data: st.DataObject
) -> None:
    zone = ZoneInfo(where[0])
    expected = brute(schedule, *where)
    at = datetime(*where[1:], 1, tzinfo=UTC) + timedelta(seconds=data.draw(st.integers(0, 10 * 86400)))
    assert next_run(schedule, zone, at) == next(one for one in expected if one > at)
    assert previous_due(schedule, zone, at) == [one for one in expected if one <= at][-1]


BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: str = "Europe/Berlin") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def test_a_time_that_does_not_exist_is_the_first_instant_after_the_gap() -> None:
    schedule = Schedule(Repeat.DAILY, (time(2, 30), time(2, 45)))
    assert runs(schedule, BERLIN, at("2026-03-28T12:00"), 3) == [
        at("2026-03-29T03:00"),
        at("2026-03-30T02:30"),
        at("2026-03-30T02:45"),
    ]


def test_a_time_that_exists_twice_is_due_once() -> None:
    schedule = Schedule(Repeat.DAILY, (time(2, 30),))
    assert runs(schedule, BERLIN, at("2026-10-24T12:00"), 2) == [at("2026-10-25T02:30"), at("2026-10-26T02:30")]


def test_what_repeats_every_half_hour_does_so_when_clocks_go_back() -> None:
    schedule = Schedule(Repeat.INTERVAL, minutes=30)
    found = runs(schedule, BERLIN, at("2026-10-25T00:00"), 12)
    assert {second - first for first, second in itertools.pairwise(found)} == {timedelta(minutes=30)}


def test_a_day_that_the_month_lacks_is_its_last_one() -> None:
    schedule = Schedule(Repeat.MONTHLY, (time(1),), days=(30, 31))
    found = [one.date() for one in runs(schedule, ZoneInfo("UTC"), datetime(2027, 12, 31, 2, tzinfo=UTC), 6)]
    assert found == [date(2028, *day) for day in ((1, 30), (1, 31), (2, 29), (3, 30), (3, 31), (4, 30))]


def test_a_day_that_a_zone_left_out_is_made_up_at_once() -> None:
    schedule = Schedule(Repeat.DAILY, (time(6),))
    found = runs(schedule, ZoneInfo("Pacific/Apia"), at("2011-12-29T12:00", "Pacific/Apia"), 2)
    assert found == [at("2011-12-31T00:00", "Pacific/Apia"), at("2011-12-31T06:00", "Pacific/Apia")]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Schedule(Repeat.DAILY), "daily needs times"),
        (lambda: Schedule(Repeat.WEEKLY, (time(1),)), "weekly needs weekdays"),
        (lambda: Schedule(Repeat.MONTHLY), "monthly needs days and times"),
        (lambda: Schedule(Repeat.INTERVAL), "interval needs minutes"),
        (lambda: Schedule(Repeat.DAILY, (time(1),), (1,)), "daily goes without weekdays"),
        (lambda: Schedule(Repeat.INTERVAL, (time(1),), days=(1,), minutes=5), "interval goes without days and times"),
        (lambda: Schedule(Repeat.DAILY, (time(1, 2, 3),)), "01:02:03 is not hours and minutes, such as 02:30"),
        (
            lambda: Schedule(Repeat.DAILY, (time(1, tzinfo=UTC),)),
            "01:00:00+00:00 is not hours and minutes, such as 02:30",
        ),
        (lambda: Schedule(Repeat.WEEKLY, (time(1),), (7,)), "7 is no day of the week: Monday is 0 and Sunday 6"),
        (lambda: Schedule(Repeat.WEEKLY, (time(1),), (-1,)), "-1 is no day of the week: Monday is 0 and Sunday 6"),
        (lambda: Schedule(Repeat.MONTHLY, (time(1),), days=(0,)), "0 is no day of the month: give days from 1 to 31"),
        (lambda: Schedule(Repeat.MONTHLY, (time(1),), days=(32,)), "32 is no day of the month: give days from 1 to 31"),
        (
            lambda: Schedule(Repeat.INTERVAL, minutes=0),
            "every 0 minutes cannot be: give from 1 minute to 24 hours",
        ),
        (
            lambda: Schedule(Repeat.INTERVAL, minutes=1441),
            "every 1441 minutes cannot be: give from 1 minute to 24 hours",
        ),
    ],
)
def test_what_cannot_be_a_schedule_is_refused(make: Callable[[], Schedule], reason: str) -> None:
    with pytest.raises(ScheduleWrong) as refused:
        make()
    assert refused.value.sentence == f"That is no schedule: {reason}."


def test_order_and_repetition_do_not_matter() -> None:
    one = Schedule(Repeat.WEEKLY, (time(2), time(1), time(2)), (3, 1, 3))
    assert one == Schedule(Repeat.WEEKLY, (time(1), time(2)), (1, 3))


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "", "..", "/etc/passwd", "Europe", "Europe/Berlin\0", "x" * 5000, "ß"]
)
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(TimeZoneUnknown):
        zone_of(name)


@pytest.mark.parametrize(
    ("schedule", "sentence"),
    [
        (Schedule(Repeat.DAILY, (time(2),)), "every day at 02:00"),
        (Schedule(Repeat.DAILY, (time(14, 30), time(2))), "every day at 02:00 and 14:30"),
        (Schedule(Repeat.WEEKLY, (time(2),), (0, 2, 4)), "every Monday, Wednesday and Friday at 02:00"),
        (
            Schedule(Repeat.MONTHLY, (time(2),), days=(1, 2, 3, 11, 22)),
            "every month on the 1st, 2nd, 3rd, 11th and 22nd at 02:00",
        ),
        (
            Schedule(Repeat.MONTHLY, (time(2),), days=(31,)),
            "every month on the 31st, or the month's last day where it has none such, at 02:00",
        ),
        (Schedule(Repeat.INTERVAL, minutes=30), "every 30m, counted from midnight"),
        (Schedule(Repeat.INTERVAL, minutes=360), "every 6h, counted from midnight"),
        (Schedule(Repeat.INTERVAL, minutes=1440), "every day at 00:00"),
    ],
)
def test_it_is_told_in_one_sentence(schedule: Schedule, sentence: str) -> None:
    assert describe(schedule) == sentence
