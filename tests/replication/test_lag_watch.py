"""Two controllers that look whether copies are too old and jobs stand still, over real jobs of two subsystems."""

from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from sqlalchemy import event, select

from qreplica.alerts.delivery import Delivery
from qreplica.cluster.leases import Leases
from qreplica.license.errors import NotLicensed
from qreplica.replication import configuration, jobs, lags, planning, plans, qsnaps, rpo, store
from qreplica.replication.backlog import BacklogWatch
from qreplica.replication.configuration import Configuration
from qreplica.replication.errors import RpoWrong
from qreplica.replication.lag_watch import LagWatch
from qreplica.replication.schedule import Repeat, Schedule
from qreplica.replication.status import JobStatus
from qreplica.state.alert_models import AlertChannel
from qreplica.state.lag_models import JobLag
from qreplica.state.models import Base, Event, Job, JobState, Severity
from qreplica.storage.driver import BLOCK
from qreplica.storage.errors import GroupClosed

from .pair import BLOCKS, JOB, SIZE, SOURCE_GROUP, SOURCE_VD, Pair, Stop, fill
from .test_scheduler import AtThe

MINUTE = timedelta(minutes=1)
TAKEOVER = 5.0
SHORT = {"rpo-missed", "rpo-met-again", "job-without-progress", "job-progresses-again"}


class Storage:
    """The source's storage, which counts how often it was asked to count, and may be out of reach."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.counted = 0
        self.fails = False
        self.takes: Callable[[], None] = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def changed_since(self, group: str, vd: str, snapshot: str) -> int:
        self.counted += 1
        self.takes()
        if self.fails:
            raise GroupClosed(group=group)
        found: int = self._real.changed_since(group, vd, snapshot)
        return found


class Stage:
    """The wall clock, the monotonic one, and what each controller finds when it is told to look."""

    def __init__(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pair = pair
        self.wall = datetime.now(UTC)
        self.monotonic = 1000.0
        self.obstacle: NotLicensed | None = None
        self.storage: Any = Storage(pair.storage)
        for module in (plans, planning, store):
            monkeypatch.setattr(module, "now", lambda: self.wall)
        self.controllers = [self.controller(number) for number in (1, 2)]

    def controller(self, number: int) -> tuple[Leases, LagWatch, BacklogWatch]:
        """Return a controller that was just started."""
        duties, clock, database = Base.metadata.tables["duties"], lambda: self.monotonic, self.pair.database
        leases = Leases(database, duties, number, takeover=TAKEOVER, clock=clock)
        watch = LagWatch(database, leases, number, obstacle=lambda: self.obstacle, now=lambda: self.wall)
        backlog = BacklogWatch(database, self.storage, leases, number, now=lambda: self.wall, clock=clock)
        return leases, watch, backlog

    def look(self, number: int = 1, *, after: timedelta = timedelta()) -> "Stage":
        self.wall += after
        self.monotonic += after.total_seconds()
        leases, *watches = self.controllers[number - 1]
        leases.keep(["1", "2"])
        for watch in watches:
            watch.round()
        return self

    def take_over(self, number: int) -> None:
        """Have a controller that was just started take the duties of one that shows no life any more."""
        self.controllers[number - 1] = self.controller(number)
        self.controllers[number - 1][0].keep(["1", "2"])
        self.monotonic += TAKEOVER + 1

    def told(self) -> list[Event]:
        with self.pair.database.session(read_only=True) as session:
            return [one for one in session.scalars(select(Event).order_by(Event.id)) if one.kind in SHORT]

    def kinds(self) -> list[str]:
        return [one.kind for one in self.told()]

    def status(self) -> JobStatus:
        with self.pair.database.session(read_only=True) as session:
            return jobs.status_of(session, "nightly")

    def goal(self, minutes: int | None) -> None:
        rpo.set_goal(self.pair.database, "nightly", minutes)

    def job(self, **columns: Any) -> None:
        with self.pair.database.session() as session:
            for name, value in columns.items():
                setattr(session.get_one(Job, JOB), name, value)


@pytest.fixture
def stage(make_copied: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A job that has just made its first copy, with a goal of an hour."""
    made = Stage(make_copied(), monkeypatch)
    with made.pair.database.session() as session:
        (first,) = session.get_one(Job, JOB).cycles
        first.taken_at = made.wall
    made.goal(60)
    return made


def test_each_crossing_is_told_once_over_fail_overs_and_restarts(stage: Stage) -> None:
    for live in (1, 2, 1, 2):
        stage.take_over(live)
        for _ in range(25):
            stage.look(live, after=MINUTE)
    (missed,) = stage.told()
    assert (missed.severity, missed.subject, missed.controller) == (Severity.ERROR, "job nightly", 1)
    assert missed.message == (
        "Its newest recovery point holds what the source VD held 1 h 01 min ago, and its RPO goal is 1h: nothing "
        "starts it by itself; start it with “qreplica job start nightly”, or give it a schedule with “qreplica job "
        "schedule set nightly”."
    )
    assert stage.status().rpo_minutes == 60
    stage.take_over(1)
    stage.look(1)
    jobs.start(stage.pair.database, "nightly")
    assert stage.pair.work()
    with stage.pair.database.session() as session:
        session.get_one(Job, JOB).cycles[-1].taken_at = stage.wall
    stage.take_over(2)
    stage.look(2).look(2)
    assert stage.kinds() == ["rpo-missed", "rpo-met-again"]
    assert stage.told()[-1].message.endswith("0.0 s ago: its RPO goal of 1h is met again.")


def test_a_controller_without_the_duty_tells_nothing(stage: Stage) -> None:
    stage.look(1)
    stage.look(2, after=timedelta(hours=2))
    assert stage.told() == []
    leases, watch, backlog = stage.controllers[0]
    held = dict(leases._held)
    stage.take_over(2)
    stage.look(2)
    leases._held = {key: (lease, stage.monotonic) for key, (lease, _) in held.items()}
    # It wakes up, and still believes to hold the lease.
    stage.goal(300)
    watch.round()
    backlog.round()
    assert stage.kinds() == ["rpo-missed"]
    stage.look(2)
    assert stage.kinds() == ["rpo-missed", "rpo-met-again"]


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        (JobState.STOPPED, None, "it is stopped; start it with “qreplica job start nightly”."),
        (JobState.STOPPING, None, "it is stopping; start it with"),
        (JobState.FAILED, "The target is full: free some space there.", "it failed. The target is full: free some"),
        (JobState.WAITING, "Nobody answers: look at the cable.", "it waits. Nobody answers: look at the cable."),
        (JobState.RUNNING, None, "its cycle is under way, with generation 1 committed; look at its paths"),
    ],
)
def test_a_missed_goal_says_why(stage: Stage, state: JobState, error: str | None, words: str) -> None:
    stage.job(state=state, error=error, error_kind=None if error is None else "any")
    stage.look(after=timedelta(hours=2))
    assert words in stage.told()[0].message


def test_a_paused_job_is_told_of_once_with_the_way_out(stage: Stage) -> None:
    planning.set_schedule(stage.pair.database, "nightly", Schedule(Repeat.DAILY, (time(2),)))
    planning.pause(stage.pair.database, "nightly")
    for _ in range(30):
        stage.look(after=10 * MINUTE)
    (missed,) = stage.told()
    assert missed.message.endswith("it is paused; let it go on with “qreplica job resume nightly”.")


def test_a_schedule_that_is_too_seldom_is_named_and_so_is_a_missing_license(stage: Stage) -> None:
    planning.set_schedule(stage.pair.database, "nightly", Schedule(Repeat.INTERVAL, minutes=720))
    stage.look(after=timedelta(hours=2))
    assert "it runs every 12h, counted from midnight, next at " in stage.told()[0].message
    stage.goal(None)
    stage.look()
    stage.obstacle = NotLicensed(serial="QR-1")
    stage.goal(60)
    stage.look()
    assert stage.kinds() == ["rpo-missed", "rpo-missed"]
    assert f"no cycle begins. {stage.obstacle.sentence}" in stage.told()[1].message


def test_a_job_without_a_point_is_measured_from_its_making(make_pair: Callable[[], Pair], monkeypatch: Any) -> None:
    stage = Stage(make_pair(), monkeypatch)
    stage.goal(60)
    assert stage.look(after=50 * MINUTE).told() == []
    stage.look(after=15 * MINUTE)
    assert stage.told()[0].message.startswith("It has no recovery point 1 h 05 min after it was made, and its RPO goal")
    assert (stage.status().lag_seconds, stage.status().recovery_point_at) == (None, None)


def test_a_cycle_that_stands_still_is_told_of_and_its_progress_is_shown(stage: Stage) -> None:
    """A worker that stops in the midst of the transfer looks like one whose target takes nothing any more."""
    pair = stage.pair
    configuration.put(pair.database, Configuration(progress_minutes=20))
    for block in range(BLOCKS):
        pair.write(block, 9)
    stage.look()
    jobs.start(pair.database, "nightly")
    stop = Stop()
    stage.look(after=MINUTE)
    assert stage.status().last_progress_at == stage.wall
    pair.work(AtThe("write", BLOCKS - 2, stop.set), stop)
    stage.look(after=MINUTE)
    moved = stage.status().last_progress_at
    assert moved == stage.wall
    assert 0 < pair.cycle_row().checkpoint < SIZE
    for number in range(19):
        stage.look(after=MINUTE)
        assert stage.status().stalled_since is None, number
    for _ in range(10):
        stage.look(after=MINUTE)
    status = stage.status()
    assert (status.last_progress_at, status.stalled_since) == (moved, moved)
    (still,) = stage.told()
    assert still.kind == "job-without-progress"
    assert still.severity is Severity.ERROR
    assert still.message.startswith("For 20 min it made no progress, at ")
    assert (
        "% of generation 2 in step transfer: look at its paths and rate with “qreplica job show nightly”"
        in still.message
    )
    pair.work()
    stage.look(after=MINUTE)
    assert stage.kinds() == ["job-without-progress", "job-progresses-again"]
    assert stage.told()[-1].message == "It progresses again, with generation 2 committed."
    assert stage.status().stalled_since is None
    pair.check_points()


def test_one_that_waits_for_its_target_says_why_it_stands_still(stage: Stage) -> None:
    jobs.start(stage.pair.database, "nightly")
    stage.job(state=JobState.WAITING, error_kind="peer-unreachable", error="Nobody answers: look at the cable.")
    for _ in range(20):
        stage.look(after=MINUTE)
    (still,) = stage.told()
    assert still.message == (
        "For 15 min it made no progress, at 0.0 % of generation 2 in step snapshot: it waits. Nobody answers: look at "
        "the cable."
    )


# The backlog.


def test_the_backlog_is_what_the_next_cycle_would_send(stage: Stage) -> None:
    pair = stage.pair
    stage.look()
    assert (stage.status().backlog_bytes, stage.status().backlog_at) == (0, stage.wall)
    for block in (1, 2, 7):
        pair.write(block, 8)
    stage.look(after=MINUTE)
    assert (stage.status().backlog_bytes, stage.status().backlog_at) == (3 * BLOCK, stage.wall)
    # The cycle sends a part of these; two are overwritten meanwhile, one of them again, and one is new.
    jobs.start(pair.database, "nightly")
    stop = Stop()

    def overwrite() -> None:
        for block in (2, 7, 9):
            pair.write(block, 5)
        stop.set()

    pair.work(AtThe("write", 2, overwrite), stop)
    stage.look()
    cycle = pair.cycle_row()
    assert cycle.total_bytes == 3 * BLOCK
    rest = cycle.total_bytes - cycle.done_bytes
    assert 0 < rest < 3 * BLOCK
    assert stage.status().backlog_bytes == rest + 3 * BLOCK
    pair.work()
    stage.look(after=MINUTE)
    assert stage.status().backlog_bytes == 3 * BLOCK
    jobs.start(pair.database, "nightly")
    pair.work()
    assert pair.cycle_row().total_bytes == 3 * BLOCK
    stage.look()
    assert stage.status().backlog_bytes == 0
    pair.check_points()


def test_before_the_first_copy_it_is_all_that_the_vd_holds(make_pair: Callable[[], Pair], monkeypatch: Any) -> None:
    stage = Stage(make_pair(), monkeypatch)
    stage.look()
    assert stage.status().backlog_bytes == 0
    fill(stage.pair)
    stage.look(after=MINUTE)
    assert stage.status().backlog_bytes == SIZE == stage.storage.allocated(SOURCE_GROUP, SOURCE_VD)


def test_it_is_counted_once_a_minute_and_less_often_when_that_takes_long(stage: Stage) -> None:
    for _ in range(60):
        stage.look(after=timedelta(seconds=5))
    assert stage.storage.counted == 5

    def take_long() -> None:
        stage.monotonic += 3

    stage.storage.takes = take_long
    stage.look(after=MINUTE)
    counted = stage.storage.counted
    for _ in range(59):
        stage.look(after=timedelta(seconds=5))
    assert stage.storage.counted == counted
    stage.look(after=timedelta(seconds=5))
    assert stage.storage.counted == counted + 1


def test_an_rg_that_cannot_be_asked_leaves_it_unknown_and_the_goal_judged(stage: Stage) -> None:
    stage.look()
    stage.storage.fails = True
    stage.look(after=timedelta(hours=2))
    assert (stage.status().backlog_bytes, stage.status().backlog_at) == (None, None)
    assert stage.kinds() == ["rpo-missed"]
    stage.storage.fails = False
    assert stage.look().status().backlog_bytes == 0


def test_nothing_is_written_while_nothing_is_new(stage: Stage) -> None:
    stage.look()
    written: list[str] = []

    @contextmanager
    def counting() -> Any:
        def note(*arguments: Any) -> None:
            if arguments[2].split()[0] in {"INSERT", "UPDATE", "DELETE"}:
                written.append(arguments[2])

        engine = stage.pair.database._engine
        event.listen(engine, "before_cursor_execute", note)
        yield
        event.remove(engine, "before_cursor_execute", note)

    with counting():
        for _ in range(2):
            for watch in stage.controllers[0][1:]:
                watch.round()
            stage.wall += timedelta(seconds=20)
            stage.monotonic += 1
        assert written == []
        stage.look(after=MINUTE)
        assert any("job_lags" in one for one in written)


# The goal, as it is set.


def test_a_goal_is_set_shown_removed_and_goes_with_its_job(stage: Stage) -> None:
    database = stage.pair.database
    with pytest.raises(RpoWrong):
        rpo.set_goal(database, "nightly", 0)
    with database.session(read_only=True) as session:
        assert rpo.goal(session, "nightly") == 60
    for _ in range(2):
        stage.goal(1440)
        stage.goal(None)
        stage.goal(None)
    with database.session(read_only=True) as session:
        told = [one.message for one in session.scalars(select(Event)) if one.kind == "rpo-set"]
    assert told == [
        "Its RPO goal is 1h.",
        *["Its RPO goal is 1d.", "It has no RPO goal any more."] * 2,
    ]
    stage.look()
    with database.session() as session:
        session.delete(session.get_one(Job, JOB))
    with database.session(read_only=True) as session:
        assert list(session.scalars(select(JobLag))) == []
    stage.look()


def test_the_age_outlives_the_snapshot(stage: Stage) -> None:
    """When snapshots are cleared for want of space, the recovery point is still there, and as old as it was."""
    pair = stage.pair
    with pair.database.session() as session:
        (cycle,) = session.get_one(Job, JOB).cycles
        cycle.started_at -= timedelta(hours=7)
        left = store.snapshots_of(session, JOB)
        store.unpin(session, left)
        point = lags.newest_point(session, JOB)
        assert point is not None
        assert lags.taken_at(point) == stage.wall
    for snapshot in left:
        qsnaps.delete(pair.database, pair.storage, SOURCE_VD, snapshot)
    assert pair.snapshots() == set()
    assert stage.status().recovery_point_at == stage.wall


def test_those_who_are_to_be_told_are(stage: Stage) -> None:
    with stage.pair.database.session() as session:
        settings = {"kind": "syslog", "server": "192.0.2.9"}
        session.add(AlertChannel(name="night-shift", severity=Severity.ERROR, settings=settings, sent_to=0))
    sent: list[tuple[str, str]] = []

    def send(*arguments: Any) -> None:
        sent.extend((one.kind, one.subject) for one in arguments[4])

    stage.look(after=timedelta(hours=2))
    jobs.start(stage.pair.database, "nightly")
    for _ in range(17):
        stage.look(after=MINUTE)
    Delivery(stage.pair.database, 1, send=send).round()
    assert sent == [("rpo-missed", "job nightly"), ("job-without-progress", "job nightly")]
