"""What an RG needs is judged from the state's disks and the engine's."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreplica.storage.driver import DiskErrors, GroupHealth, GroupStatus, MemberStatus
from qreplica.storage.upkeep import Findings, Member, failing, judge, next_scrub, smallest_sufficient


def member(name: str, **facts: object) -> Member:
    values: dict[str, object] = {
        "id": f"id-{name}",
        "name": name,
        "path": Path("/dev") / name,
        "size": 1 << 30,
        "there": True,
        "failed": False,
        "errors": 0,
        "replaces": None,
    }
    return Member(**(values | facts))  # type: ignore[arg-type] # its own fields


def has(name: str | None, *, missing: bool = False, errors: DiskErrors | None = None) -> MemberStatus:
    return MemberStatus(None if name is None else Path("/dev") / name, missing, errors or DiskErrors())


def status(*members: MemberStatus, health: GroupHealth = GroupHealth.ONLINE) -> GroupStatus:
    return GroupStatus(health, 0, sum(one.missing for one in members), members=members)


def names(found: list[Member]) -> list[str]:
    return [one.name for one in found]


def test_an_rg_that_is_well_needs_nothing() -> None:
    assert judge([member("a"), member("b")], status(has("a"), has("b"))) == Findings(settled=True)


def test_of_an_engine_that_tells_nothing_nothing_is_concluded() -> None:
    assert judge([member("a"), member("b", failed=True)], status()) == Findings()


def test_growing_errors_are_told_and_a_count_that_began_anew_is_taken_over() -> None:
    members = [member("a", errors=3), member("b", errors=3), member("c", errors=3)]
    found = judge(
        members,
        status(has("a", errors=DiskErrors(read=4)), has("b", errors=DiskErrors(read=3)), has("c")),
    )
    assert [(one.name, errors.total) for one, errors in found.counted] == [("a", 4), ("c", 0)]
    assert found.failed == found.unreplaced == []
    assert found.settled


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        (DiskErrors(write=9), None),
        (DiskErrors(write=6, flush=4), "has failed to write 10 times"),
        (DiskErrors(read=400, corruption=400, generation=199), None),
        (DiskErrors(read=400, corruption=400, generation=200), "has given wrong or no data 1000 times"),
    ],
)
def test_a_disk_counts_as_failed_from_a_threshold_on(errors: DiskErrors, reason: str | None) -> None:
    assert failing(errors) == reason
    found = judge([member("a"), member("b")], status(has("a", errors=errors), has("b")))
    assert [(one.name, why) for one, why in found.failed] == ([] if reason is None else [("a", reason)])
    assert names(found.unreplaced) == ([] if reason is None else ["a"])


@pytest.mark.parametrize("known", ["b", None])
def test_a_missing_disk_is_found_whether_the_engine_knows_its_path_or_not(known: str | None) -> None:
    members = [member("a"), member("b", there=False)]
    found = judge(members, status(has("a"), has(known, missing=True), health=GroupHealth.DEGRADED))
    assert [(one.name, why) for one, why in found.failed] == [("b", "is missing")]
    assert found.join == []


def test_a_disk_that_is_known_to_have_failed_is_not_told_of_again_but_still_to_be_replaced() -> None:
    members = [member("a"), member("b", failed=True, there=False)]
    found = judge(members, status(has("a"), has(None, missing=True), health=GroupHealth.DEGRADED))
    assert (found.failed, names(found.unreplaced)) == ([], ["b"])


def test_a_missing_disk_that_is_back_has_returned() -> None:
    found = judge([member("a"), member("b", failed=True)], status(has("a"), has("b")))
    assert (names(found.returned), found.unreplaced) == (["b"], [])


def test_a_disk_that_the_engine_never_had_is_to_join() -> None:
    found = judge([member("a"), member("b"), member("c")], status(has("a"), has("b")))
    assert (names(found.join), found.failed, found.settled) == (["c"], [], False)


def test_one_missing_and_one_to_join_are_told_apart_by_which_is_there() -> None:
    members = [member("a"), member("b", there=False), member("c")]
    found = judge(members, status(has("a"), has(None, missing=True), health=GroupHealth.DEGRADED))
    assert (names(found.join), names(found.unreplaced)) == (["c"], ["b"])


def test_where_the_numbers_do_not_tell_nothing_is_concluded() -> None:
    """Two disks not listed, one lost, both there: either may be the one."""
    members = [member("a"), member("b"), member("c")]
    found = judge(members, status(has("a"), has(None, missing=True), health=GroupHealth.DEGRADED))
    assert (found.join, found.unreplaced, found.settled) == ([], [], False)


def test_a_disk_that_the_engine_has_by_another_path_is_neither_lost_nor_new() -> None:
    found = judge([member("a"), member("b")], status(has("a"), has("by-another-name")))
    assert (found.join, found.unreplaced) == ([], [])


def test_a_replacement_goes_on_while_the_engine_rebuilds() -> None:
    members = [member("a"), member("b", failed=True), member("c", replaces="id-b")]
    for rebuilding in (
        status(has("a"), has("b", missing=True), has("c"), health=GroupHealth.REBUILDING),
        status(has("a"), has(None, missing=True), has("c"), health=GroupHealth.REBUILDING),
        status(has("a"), has("c"), health=GroupHealth.REBUILDING),
    ):
        assert judge(members, rebuilding) == Findings()


@pytest.mark.parametrize("old", [(), (has(None, missing=True),), (has("b", missing=True),)])
def test_a_replacement_has_ended_when_the_new_disk_is_there_and_the_old_one_is_not(old: tuple[MemberStatus]) -> None:
    members = [member("a"), member("b", failed=True), member("c", replaces="id-b")]
    found = judge(members, status(has("a"), has("c"), *old))
    assert (names(found.done), found.begin, found.settled) == (["c"], [], False)


@pytest.mark.parametrize("old", [has("b"), has("b", missing=True), has(None, missing=True)])
def test_a_replacement_that_the_engine_does_not_know_is_begun(old: MemberStatus) -> None:
    members = [member("a"), member("b"), member("c", replaces="id-b")]
    found = judge(members, status(has("a"), old))
    assert (names(found.begin), found.done, found.join, found.unreplaced) == (["c"], [], [], [])


def test_an_rg_that_misses_a_disk_is_not_settled_whatever_else_is_left_to_do() -> None:
    members = [member("a"), member("b", failed=True), member("c")]
    engine = status(has("a"), has("b", missing=True), has("c"), health=GroupHealth.DEGRADED)
    assert not judge(members, engine).settled


def test_nothing_joins_or_settles_during_a_rebuild() -> None:
    members = [member("a"), member("b"), member("c")]
    found = judge(members, status(has("a"), has("b"), health=GroupHealth.REBUILDING))
    assert (found.join, found.settled) == ([], False)
    found = judge(members, status(has("a"), has("b"), has("c"), health=GroupHealth.REBUILDING))
    assert not found.settled


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=5),
    st.sampled_from([GroupHealth.ONLINE, GroupHealth.DEGRADED, GroupHealth.REBUILDING]),
)
def test_a_disk_is_never_both_lost_and_new_and_a_good_one_is_neither(
    disks: list[tuple[bool, bool, bool]], health: GroupHealth
) -> None:
    """Each disk: whether its device is there, whether the engine has it, and whether it knows its path."""
    members = [member(f"d{number}", there=there) for number, (there, _, _) in enumerate(disks)]
    engine = [
        has(f"d{number}" if there or knows else None, missing=not there)
        for number, (there, known, knows) in enumerate(disks)
        if known
    ]
    found = judge(members, status(*engine, health=health))
    lost, new = set(names(found.unreplaced)), set(names(found.join))
    assert not lost & new
    for number, (there, known, _) in enumerate(disks):
        if there and known:
            assert f"d{number}" not in lost | new
        if known and not there:
            assert f"d{number}" not in new
        if there and not known:
            assert f"d{number}" not in lost


def test_the_smallest_sufficient_spare_is_taken_and_of_equals_the_first_by_name() -> None:
    sizes = [("big", 30), ("b", 20), ("a", 20), ("small", 10)]
    assert [smallest_sufficient(sizes, needed) for needed in (10, 11, 20, 21, 31)] == ["small", "a", "a", "big", None]
    assert smallest_sufficient([], 1) is None


NOW = datetime(2026, 11, 25, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("days", "complete", "cut_off", "due"),
    [
        (None, None, None, None),
        (7, None, None, NOW + 7 * DAY),
        (7, NOW + DAY, None, NOW + 8 * DAY),
        (7, NOW + DAY, NOW + 2 * DAY, NOW + 8 * DAY),
        (7, NOW + DAY, NOW + 8 * DAY, NOW + 9 * DAY),
        (7, None, NOW + 30 * DAY, NOW + 31 * DAY),
    ],
)
def test_a_scrub_is_due_so_long_after_the_last_complete_one(
    days: int | None, complete: datetime | None, cut_off: datetime | None, due: datetime | None
) -> None:
    assert next_scrub(days, NOW, complete, cut_off) == due
