"""Scrubs: what is refused, when one is due, and that each has its row and is told of once, whatever dies."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from qreplica.errors import NotFound
from qreplica.state.models import RaidGroup, ScrubOutcome, ScrubRun, Severity
from qreplica.storage import raid_group_disks, raid_groups, scrubs
from qreplica.storage.errors import GroupClosed, RebuildRunning, StorageCommandFailed
from qreplica.storage.service_errors import GroupNotWhole, ScrubDaysInvalid
from qreplica.units import GIB

from .mirror import EngineWorld, days_ago
from .world import Crash


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the engine says first is believed."""
    monkeypatch.setattr(scrubs, "_PATIENCE", 0.0)


def runs(world: EngineWorld) -> list[ScrubRun]:
    with world.database.session(read_only=True) as session:
        return scrubs.runs_of(session, world.group_id)


def last(world: EngineWorld) -> scrubs.ScrubState:
    with world.database.session(read_only=True) as session:
        state = scrubs.last(session, world.storage, world.group_id)
    assert state is not None
    return state


def made(world: EngineWorld, days: float) -> None:
    """Have the RG be so many days old."""
    with world.database.session() as session:
        session.get_one(RaidGroup, world.group_id).created_at = days_ago(days)


def start(world: EngineWorld) -> None:
    scrubs.start(world.db, world.driver, "rg1")


def test_a_scrub_has_a_row_while_it_runs_and_a_result_when_it_ended(mirror: EngineWorld) -> None:
    start(mirror)
    start(mirror)
    (run,) = runs(mirror)
    assert (run.outcome, run.finished_at, last(mirror).progress) == (None, None, 0.5)
    scrub = mirror.storage.end_scrub(mirror.group_id, checked=4 * GIB)
    assert (last(mirror).run.checked, last(mirror).progress) == (4 * GIB, None)
    mirror.rounds(2)
    (run,) = runs(mirror)
    assert (run.outcome, run.checked, run.started_at) == (ScrubOutcome.CLEAN, 4 * GIB, scrub.started_at)
    assert run.finished_at is not None
    assert (run.finished_at - run.started_at).total_seconds() == 9
    assert mirror.told() == [(Severity.INFO, "scrub-clean", "rg rg1")]
    assert mirror.message("scrub-clean") == "RAID group rg1 was scrubbed: 4 GiB were read, 0 errors mended and 0 left."


@pytest.mark.parametrize(
    ("corrected", "uncorrectable", "outcome", "severity"),
    [
        (0, 0, ScrubOutcome.CLEAN, Severity.INFO),
        (3, 0, ScrubOutcome.CLEAN, Severity.WARNING),
        (0, 1, ScrubOutcome.DAMAGED, Severity.ERROR),
        (3, 1, ScrubOutcome.DAMAGED, Severity.ERROR),
    ],
)
def test_what_a_scrub_found_says_how_bad_it_is(
    mirror: EngineWorld, corrected: int, uncorrectable: int, outcome: ScrubOutcome, severity: Severity
) -> None:
    start(mirror)
    mirror.storage.end_scrub(mirror.group_id, corrected=corrected, uncorrectable=uncorrectable)
    mirror.rounds()
    (run,) = runs(mirror)
    assert (run.outcome, run.corrected, run.uncorrectable) == (outcome, corrected, uncorrectable)
    assert mirror.told() == [(severity, f"scrub-{outcome}", "rg rg1")]


def test_a_scrub_that_is_stopped_was_interrupted(mirror: EngineWorld) -> None:
    start(mirror)
    scrubs.stop(mirror.db, mirror.driver, "rg1")
    scrubs.stop(mirror.db, mirror.driver, "rg1")
    (run,) = runs(mirror)
    assert run.outcome is ScrubOutcome.INTERRUPTED
    assert mirror.told() == [(Severity.WARNING, "scrub-interrupted", "rg rg1")]


def test_a_scrub_that_nobody_knows_of_any_more_was_interrupted(mirror: EngineWorld) -> None:
    """The machine went down with it."""
    start(mirror)
    mirror.storage.forget_scrub(mirror.group_id)
    mirror.restart()
    mirror.rounds(2)
    (run,) = runs(mirror)
    assert (run.outcome, run.finished_at is not None) == (ScrubOutcome.INTERRUPTED, True)
    assert mirror.kinds() == ["scrub-interrupted"]


def test_a_scrub_goes_on_though_the_daemon_died(mirror: EngineWorld) -> None:
    start(mirror)
    mirror.restart()
    mirror.rounds()
    assert [run.outcome for run in runs(mirror)] == [None]
    mirror.storage.end_scrub(mirror.group_id)
    mirror.rounds()
    assert [run.outcome for run in runs(mirror)] == [ScrubOutcome.CLEAN]


@pytest.mark.parametrize("place", ["before start_scrub", "after start_scrub", "before commit", "after commit"])
def test_a_crash_at_the_beginning_leaves_no_scrub_without_a_row_and_no_row_without_one(
    mirror: EngineWorld, place: str
) -> None:
    mirror.fate.places[place] = Crash()
    with pytest.raises(Crash):
        start(mirror)
    mirror.restart()
    mirror.rounds()
    assert len(runs(mirror)) == (mirror.storage.scrub_status(mirror.group_id) is not None)


@pytest.mark.parametrize("for_a_moment", [None, "interrupted"])
@pytest.mark.parametrize("then_running", [True, False])
def test_what_the_engine_says_for_a_moment_is_not_believed(
    mirror: EngineWorld,
    monkeypatch: pytest.MonkeyPatch,
    for_a_moment: str | None,
    then_running: bool,  # noqa: FBT001 - a parameter
) -> None:
    """As btrfs does while a scrub begins or ends."""
    monkeypatch.setattr(scrubs, "_PATIENCE", 60.0)
    start(mirror)
    if not then_running:
        mirror.storage.end_scrub(mirror.group_id)
    real = mirror.storage.scrub_status(mirror.group_id)
    assert real is not None
    wrong = None if for_a_moment is None else replace(real, running=False, interrupted=True)
    answers = [wrong, wrong, wrong]

    monkeypatch.setattr(mirror.storage, "scrub_status", lambda _: answers.pop() if answers else real)
    assert last(mirror).run.outcome is None
    mirror.rounds()
    assert [run.outcome for run in runs(mirror)] == [None if then_running else ScrubOutcome.CLEAN]
    assert mirror.kinds() == ([] if then_running else ["scrub-clean"])


def test_a_scrub_that_says_nothing_yet_when_it_began_has_its_row(
    mirror: EngineWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubs, "_PATIENCE", 60.0)
    real, answers = mirror.storage.scrub_status, [None, None]
    monkeypatch.setattr(mirror.storage, "scrub_status", lambda group: answers.pop() if answers else real(group))
    start(mirror)
    assert [run.outcome for run in runs(mirror)] == [None]


def test_another_scrub_has_a_row_of_its_own(mirror: EngineWorld) -> None:
    start(mirror)
    mirror.storage.end_scrub(mirror.group_id, corrected=1)
    mirror.rounds()
    start(mirror)
    mirror.storage.end_scrub(mirror.group_id)
    mirror.rounds()
    assert [run.corrected for run in runs(mirror)] == [0, 1]
    assert mirror.kinds() == ["scrub-clean", "scrub-clean"]


def test_the_oldest_are_forgotten(mirror: EngineWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubs, "_KEEP", 3)
    for number in range(5):
        start(mirror)
        mirror.storage.end_scrub(mirror.group_id, corrected=number)
        mirror.rounds()
    assert [run.corrected for run in runs(mirror)] == [4, 3, 2]


def test_what_cannot_be_scrubbed_is_refused(mirror: EngineWorld) -> None:
    with mirror.unchanged():
        with pytest.raises(NotFound):
            scrubs.start(mirror.db, mirror.driver, "rg9")
        mirror.storage.stopped_writing = True
        with pytest.raises(GroupNotWhole, match="cannot be scrubbed while it is failed"):
            start(mirror)
        mirror.storage.stopped_writing = False
        mirror.storage.close_group(mirror.group_id)
        with pytest.raises(GroupClosed):
            start(mirror)
        mirror.storage.open_group(mirror.group_id, [mirror.path("d1")])
    raid_group_disks.replace(mirror.db, mirror.driver, group="rg1", old="d2", new="d3")
    with mirror.unchanged(), pytest.raises(RebuildRunning):
        start(mirror)


@pytest.mark.parametrize("days", [0, -1, 366])
def test_an_impossible_schedule_is_refused(mirror: EngineWorld, days: int) -> None:
    with mirror.unchanged(), pytest.raises(ScrubDaysInvalid, match=f"every {days} days"):
        scrubs.schedule(mirror.db, "rg1", days)


def test_a_scrub_begins_by_itself_when_it_is_due(mirror: EngineWorld) -> None:
    scrubs.schedule(mirror.db, "rg1", 7)
    made(mirror, 6.9)
    mirror.rounds()
    assert runs(mirror) == []
    made(mirror, 7)
    mirror.rounds(2)
    assert [run.finished_at for run in runs(mirror)] == [None]
    mirror.storage.end_scrub(mirror.group_id)
    mirror.rounds(2)
    assert [run.outcome for run in runs(mirror)] == [ScrubOutcome.CLEAN]


def test_without_a_schedule_none_begins(mirror: EngineWorld) -> None:
    scrubs.schedule(mirror.db, "rg1", None)
    made(mirror, 5000)
    mirror.rounds()
    assert runs(mirror) == []


def test_one_that_was_cut_off_is_tried_again_after_a_day(mirror: EngineWorld) -> None:
    made(mirror, 40)
    mirror.rounds()
    scrubs.stop(mirror.db, mirror.driver, "rg1")
    mirror.rounds(2)
    assert [run.outcome for run in runs(mirror)] == [ScrubOutcome.INTERRUPTED]
    with mirror.database.session() as session:
        run = session.get_one(ScrubRun, runs(mirror)[0].id)
        run.started_at = run.finished_at = days_ago(1.1)
    mirror.storage.forget_scrub(mirror.group_id)
    mirror.rounds()
    assert [run.outcome for run in runs(mirror)] == [None, ScrubOutcome.INTERRUPTED]


def test_one_that_cannot_begin_is_told_of_and_tried_again_after_a_day(mirror: EngineWorld) -> None:
    made(mirror, 40)
    mirror.fate.places["before start_scrub"] = StorageCommandFailed(command="scrub", reason="no")
    mirror.rounds(3)
    (run,) = runs(mirror)
    assert (run.outcome, run.error) == (
        ScrubOutcome.FAILED,
        "“scrub” failed (no): see the event log; the state was left as it was.",
    )
    assert mirror.told() == [(Severity.ERROR, "scrub-failed", "rg rg1")]


def test_none_begins_by_itself_while_the_rg_is_not_whole(mirror: EngineWorld) -> None:
    made(mirror, 40)
    mirror.storage.missing.add(mirror.path("d2"))
    mirror.rounds()
    assert runs(mirror) == []


def test_deleting_the_rg_forgets_its_scrubs(mirror: EngineWorld) -> None:
    start(mirror)
    raid_groups.delete(mirror.db, mirror.driver, "rg1")
    assert runs(mirror) == []


def test_one_from_before_a_clock_was_set_back_holds_nothing_up(mirror: EngineWorld) -> None:
    made(mirror, 40)
    clean = {"outcome": ScrubOutcome.CLEAN, "raid_group_id": mirror.group_id}
    with mirror.database.session() as session:
        session.add(ScrubRun(started_at=days_ago(-365), finished_at=days_ago(-365), **clean))
    mirror.rounds()
    (run,) = [one for one in runs(mirror) if one.outcome is None]
    assert run.started_at <= datetime.now(UTC)


def test_the_next_one_is_shown(mirror: EngineWorld) -> None:
    with mirror.database.session(read_only=True) as session:
        group = raid_groups.get(session, "rg1")
        due = scrubs.next_due(session, group)
    assert due is not None
    assert 29 < (due - datetime.now(UTC)).total_seconds() / 86400 <= 30
