"""Which recovery points are kept: by hand, where clocks are changed, and whatever the points and the rules."""

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreplica.replication.retention import DEFAULT, MOST, Fact, Policy, expendable, kept_by, to_let_go
from qreplica.replication.retention_errors import RetentionWrong

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kolkata")]
BUCKETS: dict[str, Callable[[datetime], object]] = {
    "hourly": lambda at: (at.replace(minute=0, second=0, microsecond=0, tzinfo=None), at.fold),
    "daily": lambda at: at.date(),
    "weekly": lambda at: at.date() - timedelta(days=at.weekday()),
    "monthly": lambda at: at.date().replace(day=1),
}


def facts(*times: datetime) -> list[Fact]:
    return [Fact(str(number), at) for number, at in enumerate(times)]


def hourly(first: datetime, count: int) -> list[Fact]:
    return facts(*(first + timedelta(hours=number) for number in range(count)))


def kept(points: list[Fact], policy: Policy, zone: ZoneInfo = BERLIN) -> list[str]:
    gone = to_let_go(points, policy, zone)
    return [one.committed_at.astimezone(zone).strftime("%m-%d %H:%M") for one in points if one.id not in gone]


def test_the_newest_eight_are_kept_unless_said_otherwise() -> None:
    points = hourly(datetime(2026, 11, 24, tzinfo=UTC), 11)
    assert to_let_go(points, DEFAULT, BERLIN) == ["0", "1", "2"]
    assert to_let_go(points[:8], DEFAULT, BERLIN) == []


def test_grandfather_father_son() -> None:
    """Every six hours for ten weeks: the newest two, of three days, two weeks and two months the newest."""
    first = datetime(2026, 9, 14, 4, 30, tzinfo=BERLIN)  # a Monday
    points = facts(*(first + timedelta(hours=6 * number) for number in range(4 * 70)))
    policy = Policy(last=2, daily=3, weekly=2, monthly=2)
    assert kept(points, policy) == [
        "10-31 22:30",
        "11-15 22:30",
        "11-20 22:30",
        "11-21 22:30",
        "11-22 16:30",
        "11-22 22:30",
    ]
    rules = kept_by(points, policy, BERLIN)
    assert rules[points[-1].id] == ["last", "daily", "weekly", "monthly"]
    assert rules[points[-2].id] == ["last"]
    assert [rules[one.id] for one in points if one.committed_at.astimezone(BERLIN).month == 10][-1] == ["monthly"]


def test_an_hour_that_the_clock_shows_twice_is_two() -> None:
    # 00:30, 01:00 … UTC on the day on which 03:00 CEST becomes 02:00 CET.
    points = facts(*(datetime(2026, 10, 25, 0, tzinfo=UTC) + timedelta(minutes=30 * number) for number in range(4)))
    assert kept(points, Policy(last=1, hourly=2)) == ["10-25 02:30", "10-25 02:30"]
    assert to_let_go(points, Policy(last=1, hourly=2), BERLIN) == ["0", "2"]
    assert to_let_go(points, Policy(last=1, hourly=1), BERLIN) == ["0", "1", "2"]


def test_days_are_those_of_the_zone_also_when_they_have_23_or_25_hours() -> None:
    around = hourly(datetime(2026, 3, 28, 22, tzinfo=UTC), 26)  # to the evening of the day that has 23 hours
    assert kept(around, Policy(last=1, daily=9)) == ["03-28 23:00", "03-29 23:00", "03-30 01:00"]
    around = hourly(datetime(2026, 10, 24, 21, tzinfo=UTC), 27)
    assert kept(around, Policy(last=1, daily=9)) == ["10-24 23:00", "10-25 23:00", "10-26 00:00"]


def test_a_week_at_the_turn_of_the_year_is_one() -> None:
    points = facts(*(datetime(2026, 12, 27, 12, tzinfo=BERLIN) + timedelta(days=number) for number in range(9)))
    assert kept(points, Policy(last=1, weekly=3)) == ["12-27 12:00", "01-03 12:00", "01-04 12:00"]


def test_buckets_in_which_there_is_nothing_do_not_count() -> None:
    points = facts(datetime(2020, 1, 1, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
    assert to_let_go(points, Policy(last=1, daily=2), BERLIN) == ["0"]


def test_the_newest_is_the_last_one_though_a_clock_was_set_back() -> None:
    points = facts(datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
    assert to_let_go(points, Policy(last=1), BERLIN) == ["0"]
    assert expendable(points) == ["0"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"last": 0},
        {"last": -1},
        {"last": MOST + 1},
        {"hourly": -1},
        {"daily": MOST + 1},
        {"weekly": -5},
        {"monthly": 10**6},
    ],
)
def test_what_is_no_policy_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(RetentionWrong, match=f"{next(iter(wrong.values()))} .*choose other numbers"):
        Policy(**wrong)


# Whatever there is.

#: Close together and years apart, often around changes of clocks.
TIMES = st.one_of(
    st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31)),  # noqa: DTZ001 - made UTC below
    st.datetimes(datetime(2026, 10, 24), datetime(2026, 10, 27)),  # noqa: DTZ001
    st.datetimes(datetime(2026, 3, 27), datetime(2026, 4, 6)),  # noqa: DTZ001
).map(lambda at: at.replace(tzinfo=UTC))
#: Mostly in order, as points are committed.
HISTORIES = st.one_of(st.lists(TIMES, max_size=40).map(sorted), st.lists(TIMES, max_size=12))
SOME = st.one_of(st.just(0), st.integers(0, 6))
POLICIES = st.builds(Policy, st.integers(1, 12), SOME, SOME, SOME, SOME)


@st.composite
def pasts(draw: st.DrawFn) -> list[Fact]:
    rarely = st.integers(0, 5).map(lambda number: number == 0)
    return [replace(one, locked=draw(rarely), needed=draw(rarely)) for one in facts(*draw(HISTORIES))]


@given(pasts(), POLICIES, st.sampled_from(ZONES))
def test_what_is_let_go_is_neither_newest_nor_locked_nor_needed(
    points: list[Fact], policy: Policy, zone: ZoneInfo
) -> None:
    guarded = {one.id for one in points[-policy.last :]} | {one.id for one in points if one.locked or one.needed}
    gone = to_let_go(points, policy, zone)
    assert not guarded & set(gone)
    assert set(gone) <= set(expendable(points))
    assert gone == sorted(gone, key=int)
    assert set(gone) == {one for one, rules in kept_by(points, policy, zone).items() if not rules}


@given(pasts())
def test_what_may_go_for_space_is_all_but_the_newest_and_what_is_locked_or_needed(points: list[Fact]) -> None:
    stay = {one.id for one in points[-1:]} | {one.id for one in points if one.locked or one.needed}
    assert expendable(points) == [one.id for one in points if one.id not in stay]


@given(pasts(), POLICIES, st.sampled_from(ZONES), st.sampled_from(sorted(BUCKETS)))
def test_each_of_the_newest_buckets_keeps_its_newest(
    points: list[Fact], policy: Policy, zone: ZoneInfo, kind: str
) -> None:
    held: dict[object, Fact] = {}
    for one in reversed(points):
        held.setdefault(BUCKETS[kind](one.committed_at.astimezone(zone)), one)
    wanted = [one.id for one in list(held.values())[: getattr(policy, kind)]]
    rules = kept_by(points, policy, zone)
    assert [one.id for one in reversed(points) if kind in rules[one.id]] == wanted
    assert not set(wanted) & set(to_let_go(points, policy, zone))


@given(pasts(), POLICIES, st.sampled_from(ZONES))
def test_once_applied_it_lets_nothing_more_go(points: list[Fact], policy: Policy, zone: ZoneInfo) -> None:
    gone = to_let_go(points, policy, zone)
    assert to_let_go([one for one in points if one.id not in gone], policy, zone) == []


@given(pasts(), POLICIES, st.sampled_from(ZONES), st.tuples(*[SOME] * 5))
def test_a_policy_that_grows_lets_nothing_more_go(
    points: list[Fact], policy: Policy, zone: ZoneInfo, more: tuple[int, ...]
) -> None:
    grown = Policy(*(number + one for number, one in zip(asdict(policy).values(), more, strict=True)))
    assert set(to_let_go(points, grown, zone)) <= set(to_let_go(points, policy, zone))


@given(pasts(), POLICIES, st.sampled_from(ZONES))
def test_it_does_not_matter_how_often_it_is_applied(points: list[Fact], policy: Policy, zone: ZoneInfo) -> None:
    """What is judged at each commit is what the commits before have left, and that is as if all were there still."""
    left: list[Fact] = []
    for one in points:
        left = [*left, one]
        gone = to_let_go(left, policy, zone)
        left = [point for point in left if point.id not in gone]
    assert {one.id for one in left} == {one.id for one in points} - set(to_let_go(points, policy, zone))
