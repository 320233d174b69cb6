"""A simulated month and more: jobs begin by themselves when a model without any of the machinery says so."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, update

from qreplica.cluster.leases import Leases
from qreplica.replication import configuration, cycle, jobs, planning, plans
from qreplica.replication.bandwidth import Bandwidth, Window
from qreplica.replication.configuration import Configuration
from qreplica.replication.schedule import Repeat, Schedule
from qreplica.replication.schedule_errors import JobPaused
from qreplica.replication.scheduler import Scheduler
from qreplica.replication.status import JobStatus
from qreplica.replication.store import JobStore
from qreplica.state.models import Base, Cycle, CycleKind, Event, Job, JobState, Outcome, VdType, VirtualDisk
from qreplica.state.schedule_models import JobPlan
from qreplica.storage.driver import DataUse, SpaceUsed
from qreplica.storage.errors import GroupClosed
from qreplica.units import MIB

from .pair import BLOCKS, JOB, SOURCE_VD, Pair, SteppingDatabase, Steps, Stop

MINUTE = timedelta(minutes=1)
TAKEOVER = 5.0
SPACE = 1 << 20


class AtThe(Steps):
    """Does something at the so-manieth step of a name."""

    def __init__(self, name: str, number: int, what: Callable[[], None]) -> None:
        super().__init__()
        self._left = [(name, number)]
        self._do = what

    def take(self, name: str) -> None:
        super().take(name)
        if self._left and name == self._left[0][0] and self.taken.count(name) == self._left[0][1]:
            self._left.clear()
            self._do()


class Storage:
    """The source's storage, with as much snapshot space used as the test says; by default by nobody."""

    def __init__(self, pair: Pair) -> None:
        self._real = pair.storage
        self.used = 0
        self.fails = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def space_used(self, group: str, vd: str, *, settled: bool = True) -> SpaceUsed:  # noqa: ARG002 - the driver's
        if self.fails:
            raise GroupClosed(group=group)
        return SpaceUsed(total=self.used, snapshots=self.used)


class Stage:
    """The source's two controllers, whose schedulers look when they are told to; the wall clock and the other one."""

    def __init__(self, pair: Pair, begin: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pair = pair
        self.wall = begin
        self.monotonic = 1000.0
        self.storage: Any = Storage(pair)
        pair.storage = self.storage
        for module in (planning, plans, configuration):
            monkeypatch.setattr(module, "now", lambda: self.wall)
        self.woken = 0
        self.controllers = [self.controller(number) for number in (1, 2)]
        with pair.database.session() as session:
            session.get_one(VirtualDisk, SOURCE_VD).snapshot_space = SPACE
            session.execute(update(Cycle).values(snapshot_used=0))

    def controller(self, number: int) -> tuple[Leases, Scheduler]:
        database = self.pair.database
        duties = Base.metadata.tables["duties"]
        leases = Leases(database, duties, number, takeover=TAKEOVER, clock=lambda: self.monotonic)
        scheduler = Scheduler(
            database, self.storage, leases, number, begun=self.wake, now=lambda: self.wall, clock=lambda: self.monotonic
        )
        return leases, scheduler

    def wake(self) -> None:
        self.woken += 1

    def look(self, number: int = 1) -> None:
        """Have a controller that lives do what it does each second."""
        leases, scheduler = self.controllers[number - 1]
        leases.keep(["1", "2"])
        scheduler.round()

    def go(self, duration: timedelta) -> None:
        """Nobody looks meanwhile."""
        self.wall += duration
        self.monotonic += duration.total_seconds()

    def work(self, steps: Steps | None = None, stop: Stop | None = None) -> bool:
        """Run what is to run to its end, on whichever controller has the duty; tell whether there was something."""
        steps = steps or Steps()
        database: Any = SteppingDatabase(self.pair.database, steps)
        for number in (1, 2):
            store = JobStore.take_over(database, JOB, number)
            if store is not None:
                cycle.run(database, self.pair.parts(steps), store, stop or Stop())
                return True
        return False

    def state(self) -> JobState:
        state: JobState = self.pair.job().state
        return state

    def begun(self) -> int:
        """Return how many cycles there have been."""
        return len(self.pair.cycles())

    def told(self, kind: str) -> list[str]:
        with self.pair.database.session(read_only=True) as session:
            return [event.message for event in session.scalars(select(Event)) if event.kind == kind]


@pytest.fixture
def make_stage(make_copied: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    return lambda begin=NOON: Stage(make_copied(), begin, monkeypatch)


@pytest.fixture
def stage(make_stage: Callable[[], Stage]) -> Stage:
    return make_stage()


NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
NIGHTLY = Schedule(Repeat.DAILY, (time(2),))
EVERY_5 = Schedule(Repeat.INTERVAL, minutes=5)


def schedule(stage: Stage, one: Schedule = NIGHTLY) -> None:
    planning.set_schedule(stage.pair.database, "nightly", one)


def configure(stage: Stage, **changes: Any) -> None:
    configuration.put(stage.pair.database, Configuration(**changes))


# A model: it walks over every minute, and knows nothing of leases, cycles or databases.


class Model:
    """What is to begin, minute by minute."""

    def __init__(self, one: Schedule, zone: str) -> None:
        self.schedule = one
        self.zone = ZoneInfo(zone)
        self.seen: set[datetime] = set()
        self.before: datetime | None = None
        self.waiting = 0

    def pass_minute(self, at: datetime) -> None:
        """Count what is due at this minute."""
        wall = at.astimezone(self.zone).replace(tzinfo=None)
        shown = [wall]
        while self.before is not None and shown[0] - self.before > MINUTE:
            shown.insert(0, shown[0] - MINUTE)
        again, self.before = wall in self.seen, wall
        self.seen.add(wall)
        if any(self._names(one) for one in shown) and (self.schedule.minutes or not again):
            self.waiting += 1

    def _names(self, wall: datetime) -> bool:
        schedule = self.schedule
        if schedule.minutes:
            return (wall.hour * 60 + wall.minute) % schedule.minutes == 0
        last = (wall.replace(day=1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        on_day = {
            Repeat.DAILY: True,
            Repeat.WEEKLY: wall.weekday() in schedule.weekdays,
            Repeat.MONTHLY: wall.day in {min(day, last.day) for day in schedule.days},
        }[schedule.repeat]
        return on_day and wall.time() in schedule.times


@pytest.mark.parametrize(
    ("one", "zone", "begin"),
    [
        (Schedule(Repeat.DAILY, (time(2, 30), time(14))), "Europe/Berlin", datetime(2026, 10, 10, tzinfo=UTC)),
        (Schedule(Repeat.DAILY, (time(2, 30),)), "Europe/Berlin", datetime(2026, 3, 10, tzinfo=UTC)),
        (
            Schedule(Repeat.WEEKLY, (time(1), time(2, 15)), (0, 6)),
            "Australia/Lord_Howe",
            datetime(2026, 4, 1, tzinfo=UTC),
        ),
        (
            Schedule(Repeat.MONTHLY, (time(0),), days=(1, 4, 15, 31)),
            "America/Sao_Paulo",
            datetime(2018, 10, 20, tzinfo=UTC),
        ),
        (Schedule(Repeat.INTERVAL, minutes=720), "Asia/Kathmandu", datetime(2028, 2, 15, tzinfo=UTC)),
    ],
    ids=["autumn", "spring", "lord-howe", "sao-paulo", "interval"],
)
def test_a_month_with_everything_that_may_happen(
    make_stage: Callable[..., Stage], one: Schedule, zone: str, begin: datetime
) -> None:
    """Each due time is served by one run, whoever holds the duty, however long nobody or a cycle was there."""
    stage = make_stage(begin)
    configure(stage, restart_after_failure=True)
    configuration.put_time_zone(stage.pair.database, zone)
    schedule(stage, one)
    model = Model(one, zone)
    model.pass_minute(begin)
    model.waiting = 0
    month = Month(stage, model, random.Random(zone))
    first = stage.begun()
    while stage.wall < begin + timedelta(days=31) or stage.wall < max(month.away_until, month.busy_until):
        month.pass_minute()
    month.end()
    assert model.waiting == 0
    assert stage.begun() - first == month.served + month.cleared
    assert month.served >= 3
    outcomes = [one.outcome for one in stage.pair.cycles()]
    assert outcomes.count(Outcome.ABANDONED) == month.cleared
    assert outcomes.count(Outcome.COMMITTED) == first + month.served
    stage.pair.check_points()


class Month:
    """What befalls the controllers: both are away for a while, one takes over from the other, a cycle takes long.

    Snapshot space is used and given back, and runs out: ``used_after`` is what was used after the last snapshot.
    """

    def __init__(self, stage: Stage, model: Model, chance: random.Random) -> None:
        self.stage = stage
        self.model = model
        self.chance = chance
        self.live = 1
        self.away_until = self.busy_until = stage.wall
        self.restart_at: datetime | None = None
        self.used_after = 0
        self.served = self.cleared = self.by_threshold = 0

    def pass_minute(self) -> None:
        stage, chance = self.stage, self.chance
        stage.go(MINUTE)
        self.model.pass_minute(stage.wall)
        # Of the minutes in which nothing is due, looking at a few is enough.
        near = self.model.waiting or self.restart_at == stage.wall or chance.random() < 0.002
        if stage.wall < self.away_until or not near:
            return
        if chance.random() < 0.2:
            self.away_until = stage.wall + chance.choice([7, 90, 3000]) * MINUTE
            return
        if chance.random() < 0.3:
            self.take_over()
        stage.storage.used = chance.choice([0, 0, SPACE // 3, SPACE // 2, SPACE * 4 // 5])
        self.look()
        if chance.random() < 0.1 and stage.pair.job().base_snapshot_id is not None:
            self.run_out()

    def run_out(self) -> None:
        """Whether it works or not, the job is cleared in two looks; all that is due waits for its restart."""
        stage = self.stage
        stage.storage.used = SPACE
        works = stage.state() is JobState.RUNNING
        for _ in range(2):
            stage.look(self.live)
        assert stage.pair.job().error_kind == "snapshots-cleared"
        assert stage.pair.snapshots() == set()
        self.cleared += works
        self.restart_at = stage.wall + timedelta(hours=1)
        stage.storage.used = 0

    def take_over(self) -> None:
        """Have the other controller take over, or the same begin anew, remembering nothing."""
        stage = self.stage
        self.live = self.chance.choice([1, 2])
        stage.controllers[self.live - 1] = stage.controller(self.live)
        stage.controllers[self.live - 1][0].keep(["1", "2"])
        stage.monotonic += TAKEOVER + 1

    def look(self) -> None:
        """What was due when a run began is served by it; what comes while it works waits for the next."""
        stage = self.stage
        before, at_rest = stage.begun(), stage.state() is not JobState.RUNNING
        stage.look(self.live)
        if self.restart_at is None:
            expected = at_rest and self.model.waiting > 0
        else:
            expected = at_rest and stage.wall >= self.restart_at
        if begins := stage.begun() > before:
            if not expected:
                assert at_rest
                assert self.restart_at is None
                assert stage.storage.used >= self.used_after + (SPACE - self.used_after) / 2
                self.by_threshold += 1
            self.model.waiting, self.restart_at = 0, None
            self.busy_until = stage.wall + self.chance.choice([0, 0, 0, 2, 400]) * MINUTE
        assert begins or not expected
        if stage.state() is JobState.RUNNING and stage.wall >= self.busy_until:
            assert stage.work()
            self.used_after = stage.storage.used
            self.served += 1

    def end(self) -> None:
        """Nothing happens any more but what is still to be served."""
        self.away_until = self.busy_until = self.stage.wall
        self.stage.storage.used = 0
        if self.restart_at is not None:
            while self.stage.wall < self.restart_at:
                self.stage.go(MINUTE)
                self.model.pass_minute(self.stage.wall)
        for _ in range(3):
            self.stage.monotonic += TAKEOVER + 1
            self.look()


def test_each_time_is_served_when_it_comes_and_once(stage: Stage) -> None:
    schedule(stage, EVERY_5)
    begun, first = [], stage.begun()
    for _ in range(12 * 10):
        stage.go(timedelta(seconds=30))
        before = stage.begun()
        stage.look()
        if stage.begun() > before:
            begun.append(stage.wall)
            stage.work()
    assert begun == [NOON + number * 5 * MINUTE for number in range(1, 13)]
    assert stage.begun() == first + 12
    assert stage.woken == 12
    assert stage.told("job-started")[-1].endswith("by its schedule, which was due at 2026-11-25 13:00 (UTC).")


def test_what_was_missed_while_all_was_down_is_made_up_for_once(stage: Stage) -> None:
    schedule(stage, EVERY_5)
    stage.go(timedelta(days=3, seconds=200))
    stage.look()
    assert stage.told("job-started")[-1].endswith("was due at 2026-11-28 12:00 (UTC) to make up for it.")
    stage.work()
    stage.look()
    assert stage.state() is JobState.IDLE


def test_what_is_due_while_one_runs_is_not_queued_twice(stage: Stage) -> None:
    schedule(stage, EVERY_5)
    stage.go(5 * MINUTE)
    stage.look()
    before = stage.begun()
    for _ in range(4):
        stage.go(5 * MINUTE)
        stage.look()
    assert stage.begun() == before
    stage.work()
    stage.look()
    stage.work()
    stage.look()
    assert stage.begun() == before + 1
    assert stage.state() is JobState.IDLE


def test_of_two_controllers_only_the_one_with_the_duty_begins(stage: Stage) -> None:
    schedule(stage)
    stage.look(1)
    stage.go(timedelta(hours=15))
    # Controller 1 sleeps; 2 sees its lease unchanged, and takes it only after a while.
    stage.look(2)
    assert stage.state() is JobState.IDLE
    stage.go(timedelta(seconds=6))
    stage.look(2)
    assert stage.state() is JobState.RUNNING
    stage.work()
    # The first one wakes up in the midst of a round: it still believes to hold the lease.
    leases, scheduler = stage.controllers[0]
    stage.go(timedelta(days=1))
    lease = leases._held["1"][0]
    assert scheduler._fenced(lease) is not None
    leases._held = {"1": (lease, stage.monotonic)}
    scheduler.round()
    assert stage.state() is JobState.IDLE
    assert stage.told("lease-lost") == []


def test_a_clock_that_was_a_year_ahead_holds_nothing_up(stage: Stage) -> None:
    schedule(stage)
    stage.wall += timedelta(days=365)
    stage.look()
    stage.work()
    stage.wall -= timedelta(days=365)
    stage.look()
    assert len(stage.told("clock-set-back")) == 1
    before = stage.begun()
    for _ in range(24 * 3):
        stage.go(timedelta(hours=1))
        stage.look()
        stage.work()
    assert stage.begun() == before + 3


def test_a_clock_that_is_put_right_by_seconds_serves_nothing_twice(stage: Stage) -> None:
    schedule(stage)
    stage.go(timedelta(hours=14, seconds=1))
    stage.look()
    stage.work()
    before = stage.begun()
    stage.wall -= timedelta(seconds=3)
    for _ in range(6):
        stage.go(timedelta(seconds=1))
        stage.look()
    assert stage.begun() == before
    assert stage.told("clock-set-back") == []


# Pauses.


def test_a_paused_job_stays_so_until_it_is_resumed_and_goes_on_from_its_checkpoint(stage: Stage) -> None:
    pair = stage.pair
    schedule(stage, EVERY_5)
    for block in range(BLOCKS):
        pair.write(block, 9)
    jobs.start(pair.database, "nightly")
    stop = Stop()

    def pause() -> None:
        planning.pause(pair.database, "nightly")
        stop.set()

    stage.work(AtThe("write", BLOCKS - 2, pause), stop)
    assert stage.state() is JobState.STOPPED
    checkpoint = pair.cycle_row().checkpoint
    assert checkpoint > 0
    for _ in range(5):
        stage.go(5 * MINUTE)
        stage.look()
        assert not stage.work()
    with pytest.raises(JobPaused, match="qreplica job resume nightly"):
        jobs.start(pair.database, "nightly")
    planning.pause(pair.database, "nightly")
    planning.resume(pair.database, "nightly")
    assert stage.state() is JobState.RUNNING
    before = stage.begun()
    stage.work()
    assert pair.cycle_row().resumes == 1
    assert pair.cycle_row().outcome is Outcome.COMMITTED
    stage.look()
    planning.resume(pair.database, "nightly")
    assert (stage.state(), stage.begun()) == (JobState.IDLE, before)
    pair.check_points()


def test_a_job_that_was_at_rest_when_it_was_paused_is_so_when_it_is_resumed(stage: Stage) -> None:
    planning.pause(stage.pair.database, "nightly")
    planning.resume(stage.pair.database, "nightly")
    assert stage.state() is JobState.IDLE
    assert not stage.work()


# Snapshot space.


def test_the_threshold_begins_runs_at_a_half_then_three_quarters_then_seven_eighths(stage: Stage) -> None:
    """Nothing is given back meanwhile, as in the white paper's example."""
    schedule(stage)
    begun_at = []
    for used in range(200):
        stage.storage.used = SPACE * used // 200
        stage.monotonic += 3600
        stage.look()
        if stage.work():
            begun_at.append(used / 2)
    assert begun_at[:3] == [50, 75, 87.5]
    assert (
        "by the threshold: 50.0 % of its snapshot space are used, of 50.0 % that set it off"
        in stage.told("job-started")[-len(begun_at)]
    )


def test_the_threshold_is_checked_every_period_only(stage: Stage) -> None:
    configure(stage, check_minutes=30, threshold=80)
    schedule(stage)
    stage.look()
    stage.storage.used = SPACE * 9 // 10
    stage.go(29 * MINUTE)
    stage.look()
    assert stage.state() is JobState.IDLE
    stage.go(MINUTE)
    stage.look()
    assert stage.state() is JobState.RUNNING


def test_the_threshold_is_not_for_jobs_without_a_schedule(stage: Stage) -> None:
    stage.storage.used = SPACE * 9 // 10
    stage.look()
    assert stage.state() is JobState.IDLE
    planning.set_schedule(stage.pair.database, "nightly", NIGHTLY, enabled=False)
    stage.go(timedelta(hours=2))
    stage.look()
    assert stage.state() is JobState.IDLE


def run_out(stage: Stage) -> None:
    """The space runs out in the midst of a cycle."""
    for block in range(1, BLOCKS):
        stage.pair.write(block, 5)
    jobs.start(stage.pair.database, "nightly")
    stop = Stop()

    def exceed() -> None:
        stage.storage.used = SPACE
        stage.look()
        stop.set()

    stage.work(AtThe("write", 1, exceed), stop)


def test_a_cycle_whose_space_runs_out_fails_by_name_and_keeps_what_it_needs(stage: Stage) -> None:
    schedule(stage)
    run_out(stage)
    job = stage.pair.job()
    assert (job.state, job.error_kind) == (JobState.FAILED, "snapshot-space-exhausted")
    assert "qreplica vd set-snapshot-space s1" in (job.error or "")
    assert stage.woken == 1
    held = stage.pair.snapshots()
    assert job.base_snapshot_id in held
    assert stage.pair.cycle_row().id in held
    stage.go(timedelta(days=2))
    for _ in range(3):
        stage.look()
    assert stage.state() is JobState.FAILED
    assert len(stage.told("job-failed")) == 1
    assert stage.pair.snapshots() == held
    # The remedy.
    with stage.pair.database.session() as session:
        session.get_one(VirtualDisk, SOURCE_VD).snapshot_space = 2 * SPACE
    # What was due meanwhile begins by itself then.
    stage.look()
    stage.work()
    assert stage.state() is JobState.IDLE
    assert stage.pair.cycle_row().kind is CycleKind.INCREMENTAL
    stage.pair.check_points()


def test_with_restart_the_snapshots_are_cleared_and_an_hour_later_a_full_copy_begins(stage: Stage) -> None:
    configure(stage, restart_after_failure=True)
    schedule(stage)
    run_out(stage)
    stage.look()
    job = stage.pair.job()
    assert (job.state, job.error_kind) == (JobState.FAILED, "snapshots-cleared")
    assert "it runs again at 2026-11-25 13:00 (UTC), with a full copy" in (job.error or "")
    assert stage.pair.snapshots() == set()
    assert job.base_snapshot_id is None
    assert jobs_status(stage).next_run_at == NOON + timedelta(hours=1)
    stage.storage.used = 0
    stage.go(59 * MINUTE)
    stage.look()
    assert stage.state() is JobState.FAILED
    stage.go(MINUTE)
    stage.look()
    assert stage.told("job-started")[-1].endswith(
        "was started again, with a full copy, because its snapshots were cleared."
    )
    stage.work()
    assert stage.state() is JobState.IDLE
    assert stage.pair.cycle_row().kind is CycleKind.FULL
    assert any(
        "It sends a full copy, because the target's newest recovery point" in one[2] for one in stage.pair.events
    )
    stage.pair.check_points()


def jobs_status(stage: Stage) -> JobStatus:
    with stage.pair.database.session(read_only=True) as session:
        return jobs.status_of(session, "nightly")


def test_the_engine_is_made_to_count_when_as_much_was_written_as_was_left(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage.pair.database.session() as session:
        session.get_one(VirtualDisk, SOURCE_VD).snapshot_space = 100 * MIB
    counted: list[bool] = []
    held, used = 0, 0

    def space_used(group: str, vd: str, *, settled: bool = True) -> SpaceUsed:  # noqa: ARG001 - the driver's
        counted.append(settled)
        return SpaceUsed(total=0, snapshots=used if settled else 0)

    monkeypatch.setattr(stage.storage, "space_used", space_used, raising=False)
    monkeypatch.setattr(stage.storage, "data_use", lambda _: DataUse(held=held, coming=0), raising=False)
    jobs.start(stage.pair.database, "nightly")
    for held, used, expected in (  # noqa: B007 - read by the functions above
        (0, 0, 1),
        (99 * MIB, 70 * MIB, 0),
        (100 * MIB, 70 * MIB, 1),
        (129 * MIB, 99 * MIB, 0),
        (130 * MIB, 99 * MIB, 1),
        (145 * MIB, 99 * MIB, 0),
        (146 * MIB, 100 * MIB, 1),
    ):
        counted.clear()
        stage.look()
        assert counted.count(True) == expected
    assert stage.pair.job().error_kind == "snapshot-space-exhausted"


def test_no_job_fails_by_a_count_that_is_not_settled(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def space_used(group: str, vd: str, *, settled: bool = True) -> SpaceUsed:  # noqa: ARG001 - the driver's
        return SpaceUsed(total=0, snapshots=SPACE - 1 if settled else SPACE)

    monkeypatch.setattr(stage.storage, "space_used", space_used, raising=False)
    jobs.start(stage.pair.database, "nightly")
    stage.look()
    assert stage.state() is JobState.RUNNING


def test_no_job_fails_while_something_of_its_space_can_be_given_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.storage, "freeing", lambda _: freeing, raising=False)
    stage.storage.used, freeing = SPACE, True
    jobs.start(stage.pair.database, "nightly")
    stage.look()
    assert stage.state() is JobState.RUNNING
    freeing = False
    stage.look()
    assert stage.pair.job().error_kind == "snapshot-space-exhausted"


def test_without_a_schedule_nothing_is_cleared(stage: Stage) -> None:
    configure(stage, restart_after_failure=True)
    run_out(stage)
    held = stage.pair.snapshots()
    stage.go(timedelta(hours=2))
    stage.look()
    assert stage.pair.job().error_kind == "snapshot-space-exhausted"
    assert stage.pair.snapshots() == held != set()


def test_a_base_alone_that_uses_the_space_up_is_cleared_too(stage: Stage) -> None:
    configure(stage, restart_after_failure=True)
    schedule(stage)
    stage.storage.used = SPACE
    stage.look()
    assert stage.pair.job().error_kind == "snapshots-cleared"
    assert stage.pair.snapshots() == set()


def test_what_could_not_be_deleted_when_it_was_cleared_is_deleted_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(stage, restart_after_failure=True)
    schedule(stage)
    stage.storage.used = SPACE
    with monkeypatch.context() as patch:

        def refuse(group: str, vd: str, snapshot: str) -> None:  # noqa: ARG001 - the driver's
            raise GroupClosed(group=group)

        patch.setattr(stage.storage, "delete_snapshot", refuse, raising=False)
        stage.look()
    assert len(stage.pair.snapshots()) == 1
    assert len(stage.told("group-closed")) == 1
    stage.look()
    assert stage.pair.snapshots() == set()


def test_who_takes_the_schedule_away_is_told_that_nothing_starts_the_job_any_more(stage: Stage) -> None:
    configure(stage, restart_after_failure=True)
    schedule(stage)
    stage.storage.used = SPACE
    stage.look()
    planning.delete_schedule(stage.pair.database, "nightly")
    assert "start it, which begins with a full copy" in (stage.pair.job().error or "")
    stage.go(timedelta(hours=2))
    stage.look()
    assert stage.state() is JobState.FAILED


def test_a_space_that_others_use_up_is_tried_again_each_hour(stage: Stage) -> None:
    """What the administrator took by hand is not cleared."""
    configure(stage, restart_after_failure=True)
    schedule(stage)
    stage.storage.used = SPACE
    stage.look()
    for _ in range(3):
        stage.go(timedelta(hours=1))
        stage.look()
        assert stage.state() is JobState.RUNNING
        stage.work()
        assert stage.pair.job().error_kind == "no-snapshot-space"
        stage.look()
        assert stage.pair.job().error_kind == "snapshots-cleared"


def test_a_group_that_is_closed_is_told_of_once_and_holds_no_run_up_later(stage: Stage) -> None:
    schedule(stage)
    jobs.start(stage.pair.database, "nightly")
    stage.storage.fails = True
    for _ in range(3):
        stage.look()
    assert len(stage.told("group-closed")) == 1
    stage.storage.fails = False
    stage.look()
    stage.work()
    stage.go(timedelta(days=1))
    stage.look()
    assert stage.state() is JobState.RUNNING


def test_a_job_that_is_deleted_takes_its_plan_along(stage: Stage) -> None:
    schedule(stage)
    with stage.pair.database.session() as session:
        session.delete(session.get_one(Job, JOB))
    stage.look()
    with stage.pair.database.session(read_only=True) as session:
        assert session.get(JobPlan, JOB) is None


def test_another_time_zone_makes_nothing_due_at_once(stage: Stage) -> None:
    schedule(stage, Schedule(Repeat.DAILY, (time(21),)))
    stage.go(timedelta(hours=8))
    configuration.put_time_zone(stage.pair.database, "Asia/Tokyo")
    stage.look()
    assert stage.state() is JobState.IDLE
    assert jobs_status(stage).next_run_at == datetime(2026, 11, 26, 12, tzinfo=UTC)


def test_a_cycle_is_held_to_the_limit_and_follows_a_change(stage: Stage) -> None:
    """What the worker asks for: the limit of the job at present, by the subsystem's time zone."""
    database = stage.pair.database
    assert plans.limit_now(database, JOB) is None
    window = Window((2,), time(13), time(14), MIB)
    planning.set_bandwidth(database, "nightly", Bandwidth(50 * MIB, (window,)))
    assert plans.limit_now(database, JOB) == 50 * MIB
    configuration.put_time_zone(database, "Europe/Berlin")
    assert plans.limit_now(database, JOB) == MIB
    asked = []
    parts = replace(stage.pair.parts(Steps()), limit=lambda: asked.append(1))
    jobs.start(database, "nightly")
    store = JobStore.take_over(database, JOB, 1)
    assert store is not None
    for block in range(BLOCKS):
        stage.pair.write(block, 7)
    cycle.run(database, parts, store, Stop())
    # At its begin, and with each progress.
    assert len(asked) >= 2


def other_job(stage: Stage) -> str:
    """Add a job that runs, so that the limit of one is reached; return its id."""
    with stage.pair.database.session() as session:
        source = session.get_one(VirtualDisk, SOURCE_VD)
        vd = VirtualDisk(name="v2", type=VdType.RAID, size=source.size, raid_group_id=source.raid_group_id, serial="v2")
        session.add(vd)
        session.flush()
        job = Job(
            name="other",
            source_vd_id=vd.id,
            target_subsystem="7" * 32,
            target_node="iqn.2026-11.org.qreplica:other",
            target_lun=1,
            target_vd="9" * 32,
            target_serial="o",
            target_size=source.size,
        )
        session.add(job)
        session.flush()
        other = job.id
    configure(stage, running_jobs=1)
    jobs.start(stage.pair.database, "other")
    return other


def end_other(stage: Stage, other: str) -> None:
    store = JobStore.take_over(stage.pair.database, other, 1)
    assert store is not None
    store.finished()
    with stage.pair.database.session() as session:
        plans.admit(session)


def test_what_is_due_is_queued_once_and_served_by_the_run_that_begins_in_its_turn(stage: Stage) -> None:
    """Due three times while another job runs: one run, whose snapshot is taken when its turn comes, serves them all."""
    other = other_job(stage)
    schedule(stage, Schedule(Repeat.INTERVAL, minutes=60))
    before = stage.begun()
    for _ in range(3):
        stage.go(timedelta(hours=1))
        stage.look()
        assert stage.state() is JobState.QUEUED
        assert stage.begun() == before
    assert len(stage.told("job-queued")) == 1
    assert "by its schedule, which was due at" in stage.told("job-queued")[0]
    # The controller that would have run it dies, and the other one lets it in.
    stage.go(timedelta(seconds=TAKEOVER + 1))
    stage.look(2)
    end_other(stage, other)
    assert (stage.state(), stage.begun()) == (JobState.RUNNING, before + 1)
    assert stage.work()
    stage.look(2)
    assert (stage.state(), stage.begun()) == (JobState.IDLE, before + 1)
    stage.go(timedelta(hours=1))
    stage.look(2)
    assert (stage.state(), stage.begun()) == (JobState.RUNNING, before + 2)


def test_the_space_of_a_queued_job_that_runs_out_is_cleared_as_that_of_one_at_rest(stage: Stage) -> None:
    other_job(stage)
    schedule(stage)
    configure(stage, running_jobs=1, restart_after_failure=True)
    jobs.start(stage.pair.database, "nightly")
    assert stage.state() is JobState.QUEUED
    stage.storage.used = SPACE
    stage.look()
    assert (stage.state(), stage.pair.job().error_kind) == (JobState.FAILED, "snapshots-cleared")
    with stage.pair.database.session(read_only=True) as session:
        assert jobs.status_of(session, "nightly").queued is None
