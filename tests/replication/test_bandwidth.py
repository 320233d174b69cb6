"""Which limit holds when."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qreplica.replication.bandwidth import LEAST, Bandwidth, Window, describe, limit_at
from qreplica.replication.schedule_errors import BandwidthWrong
from qreplica.units import MIB

BERLIN = ZoneInfo("Europe/Berlin")
WORKDAYS = (0, 1, 2, 3, 4)
DAY = Window(WORKDAYS, time(8), time(18), 10 * MIB)
FRIDAY_NIGHT = Window((4,), time(22), time(6), None)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("moment", "limit"),
    [
        ("2026-11-25T07:59:59", 50 * MIB),
        ("2026-11-25T08:00", 10 * MIB),
        ("2026-11-25T17:59:59", 10 * MIB),
        ("2026-11-25T18:00", 50 * MIB),
        ("2026-11-28T12:00", 50 * MIB),
        ("2026-11-27T21:59", 50 * MIB),
        ("2026-11-27T22:00", None),
        ("2026-11-28T05:59", None),
        ("2026-11-28T06:00", 50 * MIB),
        ("2026-11-28T23:00", 50 * MIB),
    ],
)
def test_a_window_has_its_limit_and_all_else_the_default(moment: str, limit: int | None) -> None:
    assert limit_at(Bandwidth(50 * MIB, (DAY, FRIDAY_NIGHT)), BERLIN, at(moment).astimezone(UTC)) == limit


def test_it_is_the_clock_on_the_wall_that_counts() -> None:
    bandwidth = Bandwidth(None, (DAY,))
    for text in ("2026-03-27T08:00", "2026-03-30T08:00", "2026-10-26T08:00"):
        assert limit_at(bandwidth, BERLIN, at(text)) == 10 * MIB
        assert limit_at(bandwidth, BERLIN, at(text) - timedelta(seconds=1)) is None


def test_the_lowest_of_windows_that_overlap_holds() -> None:
    slow, slower = Window(WORKDAYS, time(9), time(10), MIB), Window(WORKDAYS, time(9, 30), time(9, 40), LEAST)
    bandwidth = Bandwidth(None, (DAY, slow, slower, Window(WORKDAYS, time(9), time(10), None)))
    assert limit_at(bandwidth, BERLIN, at("2026-11-25T09:00")) == MIB
    assert limit_at(bandwidth, BERLIN, at("2026-11-25T09:30")) == LEAST


def test_from_a_time_to_the_same_is_a_whole_day() -> None:
    bandwidth = Bandwidth(None, (Window((2,), time(8), time(8), MIB),))
    assert [
        limit_at(bandwidth, BERLIN, at(f"2026-11-{day}T{hour}"))
        for day, hour in ((25, "07"), (25, "08"), (26, "07"), (26, "08"))
    ] == [None, MIB, MIB, None]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sets(st.integers(0, 6), min_size=1), st.integers(0, 1439), st.integers(0, 1439)), max_size=4),
    st.integers(0, 7 * 1440 - 1),
)
def test_it_is_what_counting_the_minutes_of_a_week_gives(
    given_windows: list[tuple[set[int], int, int]], minute: int
) -> None:
    limits: dict[int, int] = {}
    windows = []
    for number, (days, begin, end) in enumerate(given_windows, start=1):
        limit = LEAST * number
        windows.append(Window(tuple(days), time(*divmod(begin, 60)), time(*divmod(end, 60)), limit))
        for day in days:
            for past in range((end - begin) % 1440 or 1440):
                here = (day * 1440 + begin + past) % (7 * 1440)
                limits[here] = min(limit, limits.get(here, limit))
    moment = datetime(2026, 11, 23, tzinfo=UTC) + timedelta(minutes=minute)
    assert limit_at(Bandwidth(None, tuple(windows)), ZoneInfo("UTC"), moment) == limits.get(minute)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Bandwidth(LEAST - 1), "64.00 KiB/s is less than 64 KiB/s"),
        (lambda: Bandwidth(0), "0 B/s is less than 64 KiB/s"),
        (lambda: Window((), time(8), time(9), None), "a window needs days of the week, from 0 (Monday) to 6 (Sunday)"),
        (
            lambda: Window((7,), time(8), time(9), None),
            "a window needs days of the week, from 0 (Monday) to 6 (Sunday)",
        ),
        (lambda: Window((1,), time(8, 0, 1), time(9), None), "08:00:01 is not hours and minutes, such as 08:30"),
        (lambda: Window((1,), time(8), time(9), 1), "1 B/s is less than 64 KiB/s"),
        (lambda: Bandwidth(None, (DAY,) * 65), "65 windows are more than 64"),
    ],
)
def test_what_cannot_be_is_refused(make: object, reason: str) -> None:
    assert callable(make)
    with pytest.raises(BandwidthWrong) as refused:
        make()
    assert refused.value.sentence == f"That is no bandwidth limit: {reason}."


def test_it_is_told() -> None:
    assert (describe(None), describe(50 * MIB)) == ("no limit", "50 MiB/s")
