"""Automatic snapshots: when one is due, which are let go, and what happens without room."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreplica.errors import NotFound, QReplicaError
from qreplica.iscsi.target.errors import PauseTimedOut
from qreplica.state.models import Event, Lun, Node, Snapshot, SnapshotKind, VdType, VirtualDisk
from qreplica.storage import automatic_snapshots, snapshots, virtual_disks
from qreplica.storage.automatic_snapshots import AutomaticSnapshots, Taken, due, surplus
from qreplica.storage.service_errors import NoSnapshotSpace, ScheduleInvalid, ScheduleOfBackup
from qreplica.units import MIB

from .world import World

START = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_due_pure() -> None:
    assert due(START, None, HOUR)
    assert not due(START, START, HOUR)
    assert not due(START, START - HOUR + timedelta(seconds=1), HOUR)
    assert due(START, START - HOUR, HOUR)
    assert due(START, START - 100 * HOUR, HOUR)


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.booleans()), max_size=30, unique_by=lambda one: one[0]),
    st.integers(1, 12),
)
def test_only_the_oldest_unneeded_are_surplus(drawn: list[tuple[int, bool]], keep: int) -> None:
    taken = [Taken(str(at), START + timedelta(minutes=at), pinned) for at, pinned in drawn]
    gone = surplus(taken, keep)
    kept = [one for one in taken if one not in gone]
    newest = sorted(taken, key=lambda one: one.taken_at)[-keep:]
    assert not any(one.pinned for one in gone)
    assert all(one in kept for one in newest)
    assert all(one.pinned or one in newest for one in kept)
    assert gone == sorted(gone, key=lambda one: one.taken_at)


class Still:
    def still_paused(self) -> bool:
        return True


class Clocked:
    """A box whose automatic snapshots are taken at the times that a test says."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.time = START
        self.pauses = 0
        self.error: Exception | None = None
        self.step = self.fresh()

    def fresh(self) -> AutomaticSnapshots:
        return AutomaticSnapshots(self.pause, now=self.now, clock=self.clock)

    def now(self) -> datetime:
        return self.time

    def clock(self) -> float:
        return self.time.timestamp()

    @contextmanager
    def pause(self) -> Iterator[Still]:
        self.pauses += 1
        if self.error is not None:
            raise self.error
        yield Still()

    def run(self, *, after: timedelta = timedelta(), rounds: int = 1) -> None:
        """Let time pass, then do a round, and further ones three seconds apart."""
        self.time += after
        for number in range(rounds):
            self.time += timedelta(seconds=3) if number else timedelta()
            self.step(self.world.db, self.driver, row(self.world).raid_group_id)

    @property
    def driver(self) -> Any:
        """The engine, whose clock is the test's."""
        clocked = self

        class Driver:
            def __getattr__(self, name: str) -> Any:
                return getattr(clocked.world.driver, name)

            def take_snapshot(self, group: str, vd: str, snapshot: str) -> Any:
                info = clocked.world.driver.take_snapshot(group, vd, snapshot)
                return type(info)(info.snapshot, info.size, clocked.time)

        return Driver()


@pytest.fixture
def world(world: World) -> World:
    world.group()
    world.vd()
    virtual_disks.set_snapshot_space(world.db, world.driver, "v1", 64 * MIB)
    return world


@pytest.fixture
def box(world: World) -> Clocked:
    automatic_snapshots.schedule(world.db, "v1", minutes=60, keep=3)
    return Clocked(world)


def row(world: World, name: str = "v1") -> VirtualDisk:
    with world.database.session(read_only=True) as session:
        return virtual_disks.get(session, name)


def names(world: World, vd: str = "v1") -> list[str]:
    with world.database.session(read_only=True) as session:
        return [one.name for one in snapshots.listing(session, vd)]


def events(world: World) -> list[str]:
    with world.database.session(read_only=True) as session:
        return [event.message for event in session.query(Event).filter_by(kind="automatic-snapshots-skipped")]


def overwrite(world: World) -> None:
    vd = row(world)
    world.storage.vd_path(vd.raid_group_id, vd.id).write_bytes(b"x" * vd.size)


def test_they_are_taken_on_time_and_the_newest_are_kept(box: Clocked) -> None:
    box.run(rounds=5)
    assert names(box.world) == ["auto-20261125-120000"]
    box.run(after=HOUR - timedelta(seconds=30))
    assert len(names(box.world)) == 1
    for _ in range(4):
        box.run(after=HOUR, rounds=3)
    assert names(box.world) == ["auto-20261125-145948", "auto-20261125-155954", "auto-20261125-170000"]
    vd = row(box.world)
    assert len(box.world.storage.list_snapshots(vd.raid_group_id, vd.id)) == 3


def test_missed_times_make_one(box: Clocked) -> None:
    box.run()
    box.step = box.fresh()
    box.run(after=100 * HOUR, rounds=10)
    assert names(box.world) == ["auto-20261125-120000", "auto-20261129-160000"]


def test_a_clock_that_was_set_back_holds_nothing_up(box: Clocked) -> None:
    box.run()
    box.time -= 24 * HOUR
    box.run(rounds=5)
    assert sorted(names(box.world)) == ["auto-20261124-120000", "auto-20261125-120000"]
    box.run(after=HOUR, rounds=5)
    assert len(names(box.world)) == 3


def test_others_are_never_let_go_and_neither_is_what_is_pinned(box: Clocked) -> None:
    snapshots.take(box.world.db, box.driver, box.pause, vd_id=row(box.world).id, name="mine", kind=SnapshotKind.MANUAL)
    box.run(after=timedelta(seconds=1))
    with box.world.database.session() as session:
        node = Node(name="n1", iqn="iqn.2026-11.org.qreplica:n1", tid=7)
        shown = session.query(Snapshot).filter_by(kind=SnapshotKind.AUTOMATIC).one()
        session.add(Lun(node=node, number=1, vd_id=row(box.world).id, snapshot_id=shown.id))
    for _ in range(5):
        box.run(after=HOUR, rounds=2)
    assert names(box.world)[:2] == ["mine", "auto-20261125-120001"]
    assert len(names(box.world)) == 5
    automatic_snapshots.schedule(box.world.db, "v1", minutes=60, keep=1)
    box.run()
    assert len(names(box.world)) == 3


def test_an_ended_schedule_leaves_what_is_there(box: Clocked) -> None:
    box.run()
    automatic_snapshots.schedule(box.world.db, "v1", minutes=None, keep=1)
    box.run(after=5 * HOUR)
    assert len(names(box.world)) == 1


def test_without_room_the_oldest_go_and_then_it_is_told_once(box: Clocked) -> None:
    for _ in range(3):
        overwrite(box.world)
        box.run(after=HOUR)
    assert len(names(box.world)) == 3
    with box.world.database.session() as session:
        # What the newest takes alone is all that there is.
        session.query(VirtualDisk).one().snapshot_space = 4 * MIB
    before = names(box.world)
    box.run(after=HOUR)
    assert names(box.world) == before[1:]
    box.run(rounds=5)
    assert names(box.world) == before[1:], "the space of the first has not come back yet, as far as anybody knows"
    box.run(after=timedelta(seconds=31))
    assert names(box.world) == before[2:]
    for _ in range(5):
        box.run(after=timedelta(seconds=61), rounds=3)
    assert names(box.world) == before[2:]
    (told,) = events(box.world)
    assert "has 4 MiB of snapshot space and 4 MiB of it are used" in told
    with box.world.database.session() as session:
        session.query(VirtualDisk).one().snapshot_space = 64 * MIB
    box.run(after=timedelta(seconds=61))
    assert len(names(box.world)) == 2
    with box.world.database.session() as session:
        session.query(VirtualDisk).one().snapshot_space = 4 * MIB
    for _ in range(5):
        box.run(after=HOUR, rounds=3)
    assert len(events(box.world)) == 2


def test_hosts_are_not_made_to_wait_again_and_again_for_one_that_fails(box: Clocked) -> None:
    box.error = PauseTimedOut(pid=7, seconds=5)
    with pytest.raises(PauseTimedOut):
        box.run()
    box.run(after=timedelta(seconds=3), rounds=10)
    assert box.pauses == 1
    with pytest.raises(PauseTimedOut):
        box.run(after=timedelta(seconds=60))
    box.error = None
    box.run(after=timedelta(seconds=60))
    assert len(names(box.world)) == 1


def test_one_vds_failure_holds_no_other_up(box: Clocked) -> None:
    box.world.vd("v2")
    virtual_disks.set_snapshot_space(box.world.db, box.world.driver, "v2", 8 * MIB)
    automatic_snapshots.schedule(box.world.db, "v2", minutes=60, keep=1)
    gone = row(box.world)
    box.world.storage.delete_vd(gone.raid_group_id, gone.id)
    with pytest.raises(QReplicaError, match="holds no virtual disk"):
        box.run()
    assert len(names(box.world, "v2")) == 1


@pytest.mark.parametrize(("minutes", "keep"), [(0, 8), (-1, 8), (366 * 24 * 60 + 1, 8), (60, 0), (60, 257), (None, 0)])
def test_a_schedule_that_cannot_be_is_refused(world: World, minutes: int | None, keep: int) -> None:
    with world.unchanged(), pytest.raises(ScheduleInvalid):
        automatic_snapshots.schedule(world.db, "v1", minutes=minutes, keep=keep)


def test_who_can_have_none_is_refused(world: World) -> None:
    world.vd("b1", type_=VdType.BACKUP)
    world.vd("v2")
    with world.unchanged():
        with pytest.raises(ScheduleOfBackup):
            automatic_snapshots.schedule(world.db, "b1", minutes=60, keep=8)
        with pytest.raises(NoSnapshotSpace):
            automatic_snapshots.schedule(world.db, "v2", minutes=60, keep=8)
        with pytest.raises(NotFound):
            automatic_snapshots.schedule(world.db, "v9", minutes=60, keep=8)
