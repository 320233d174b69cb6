"""QSnap snapshots: taken while nothing writes, refused without space, kept while needed; failures and crashes."""

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from qreplica.errors import NotFound, QReplicaError
from qreplica.iscsi.target.errors import PauseTimedOut
from qreplica.names import NotAName
from qreplica.state.models import (
    Cycle,
    Job,
    Lun,
    Node,
    RecoveryPoint,
    Snapshot,
    SnapshotKind,
    VdType,
    VirtualDisk,
    new_id,
    now,
)
from qreplica.storage import snapshots, virtual_disks
from qreplica.storage.errors import GroupClosed, GroupFull, GroupLocked
from qreplica.storage.service_errors import (
    NameTaken,
    NoSnapshotSpace,
    NoSuchSnapshot,
    SnapshotInterrupted,
    SnapshotNotStill,
    SnapshotPinned,
)
from qreplica.units import MIB

from .world import Crash, World

SIZE = 4 * MIB


@dataclass
class Pauses:
    """Pretends to pause; ``still`` tells of each pause whether it lasted, and ``log`` who did what when."""

    still: list[bool] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    error: Exception | None = None

    @contextmanager
    def __call__(self) -> Iterator["Pauses"]:
        if self.error is not None:
            raise self.error
        self.log.append("paused")
        try:
            yield self
        finally:
            self.log.append("woken")

    def still_paused(self) -> bool:
        return self.still.pop(0) if self.still else True


class Watched:
    """Writes the driver's calls to the same log as the pauses."""

    def __init__(self, real: Any, log: list[str]) -> None:
        self._real = real
        self._log = log

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_snapshot"):
            self._log.append(name)
        return getattr(self._real, name)


@pytest.fixture
def world(world: World) -> World:
    world.group()
    world.vd()
    virtual_disks.set_snapshot_space(world.db, world.driver, "v1", 4 * SIZE)
    return world


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


def vd_of(world: World) -> VirtualDisk:
    with world.database.session(read_only=True) as session:
        return virtual_disks.get(session, "v1")


def take(world: World, name: str = "s1", pauses: Any = None, driver: Any = None, **facts: Any) -> Snapshot:
    asked = {"vd_id": vd_of(world).id, "name": name, "kind": SnapshotKind.MANUAL, **facts}
    return snapshots.take(world.db, driver or world.driver, pauses or Pauses(), **asked)


def write(world: World, content: bytes) -> None:
    vd = vd_of(world)
    with world.storage.vd_path(vd.raid_group_id, vd.id).open("r+b") as disk:
        disk.write(content)


def content(world: World, snapshot: Snapshot) -> bytes:
    return world.storage.snapshot_path(vd_of(world).raid_group_id, snapshot.vd_id, snapshot.id).read_bytes()


def held(world: World) -> list[str]:
    vd = vd_of(world)
    return [one.snapshot for one in world.storage.list_snapshots(vd.raid_group_id, vd.id)]


def listed(world: World, vd: str | None = None) -> list[str]:
    with world.database.session(read_only=True) as session:
        return [snapshot.name for snapshot in snapshots.listing(session, vd)]


def test_a_snapshot_keeps_what_the_vd_held(world: World) -> None:
    write(world, b"before" * 1000)
    snapshot = take(world)
    write(world, b"after!" * 1000)
    assert content(world, snapshot) == (b"before" * 1000).ljust(SIZE, b"\0")
    assert snapshot.size == SIZE
    assert snapshot.taken_at is not None
    with world.database.session(read_only=True) as session:
        assert snapshots.get(session, "v1", "s1").taken_at == snapshot.taken_at


def test_only_the_snapshot_itself_is_taken_within_the_pause(world: World, pauses: Pauses) -> None:
    take(world, pauses=pauses, driver=Watched(world.driver, pauses.log))
    assert pauses.log == ["prepare_snapshot", "paused", "take_snapshot", "woken"]


def test_a_snapshot_in_whose_pause_something_ran_is_taken_again(world: World, pauses: Pauses) -> None:
    pauses.still = [False, False]
    snapshot = take(world, pauses=pauses, driver=Watched(world.driver, pauses.log))
    once = ["prepare_snapshot", "paused", "take_snapshot", "woken"]
    assert pauses.log == [*once, "delete_snapshot", *once, "delete_snapshot", *once]
    assert held(world) == [snapshot.id]


def test_a_target_daemon_that_never_stands_still_is_told_of(world: World, pauses: Pauses) -> None:
    pauses.still = [False] * 3
    with world.unchanged(), pytest.raises(SnapshotNotStill, match=r"No snapshot of v1 was taken .* 3 tries"):
        take(world, pauses=pauses)
    take(world)


def test_a_pause_that_fails_leaves_nothing(world: World, pauses: Pauses) -> None:
    pauses.error = PauseTimedOut(pid=1, seconds=5)
    with world.unchanged(), pytest.raises(PauseTimedOut):
        take(world, pauses=pauses)


def test_without_snapshot_space_none_is_taken(world: World) -> None:
    virtual_disks.set_snapshot_space(world.db, world.driver, "v1", 0)
    with world.unchanged(), pytest.raises(NoSnapshotSpace, match="has 0 B of snapshot space and 0 B of it are used"):
        take(world)


def test_snapshot_space_that_is_used_up_refuses_the_next(world: World) -> None:
    virtual_disks.set_snapshot_space(world.db, world.driver, "v1", SIZE)
    write(world, b"x" * SIZE)
    take(world)
    with world.unchanged(), pytest.raises(NoSnapshotSpace, match="4 MiB of snapshot space and 4 MiB of it are used"):
        take(world, "s2")


def test_names_are_checked_and_taken_once_for_a_vd(world: World) -> None:
    take(world)
    with world.unchanged():
        with pytest.raises(NameTaken, match="already a snapshot of v1 “s1”"):
            take(world)
        with pytest.raises(NotAName):
            take(world, "../s2")
        with pytest.raises(NotFound):
            take(world, "s2", vd_id=new_id())


def test_taking_the_same_snapshot_again_finds_it(world: World, pauses: Pauses) -> None:
    first = take(world, snapshot_id="a" * 32)
    with world.unchanged():
        again = take(world, snapshot_id="a" * 32, pauses=pauses)
    assert (again.id, again.taken_at) == (first.id, first.taken_at)
    assert pauses.log == []


def test_they_are_listed_oldest_first(world: World) -> None:
    world.vd("v2")
    virtual_disks.set_snapshot_space(world.db, world.driver, "v2", SIZE)
    for name in ("z", "a", "m"):
        take(world, name)
    with world.database.session(read_only=True) as session:
        other = virtual_disks.get(session, "v2").id
    take(world, "other", vd_id=other)
    assert listed(world) == ["z", "a", "m", "other"]
    assert listed(world, "v1") == ["z", "a", "m"]


def test_a_deleted_snapshot_is_gone(world: World) -> None:
    with world.unchanged():
        take(world)
        snapshots.delete(world.db, world.driver, "v1", "s1")
    with pytest.raises(NoSuchSnapshot, match="v1 has no snapshot “s1”"):
        snapshots.delete(world.db, world.driver, "v1", "s1")
    with pytest.raises(NotFound):
        snapshots.delete(world.db, world.driver, "v9", "s1")


def job(world: World, **facts: Any) -> Job:
    target = {"target_subsystem": "s", "target_node": "n", "target_lun": 1, "target_vd": "t", "target_serial": "t"}
    made = Job(name="nightly", source_vd_id=vd_of(world).id, target_size=1, **target, **facts)
    with world.database.session() as session:
        session.add(made)
    return made


def as_base(world: World, snapshot: str) -> str:
    job(world, base_snapshot_id=snapshot)
    return "the base of job nightly"


def as_cycle(world: World, snapshot: str) -> str:
    of = job(world)
    with world.database.session() as session:
        session.add(Cycle(job_id=of.id, generation=1, snapshot_id=snapshot))
    return "the cycle of job nightly"


def as_base_of_cycle(world: World, snapshot: str) -> str:
    of = job(world)
    with world.database.session() as session:
        session.add(Cycle(job_id=of.id, generation=1, base_snapshot_id=snapshot))
    return "the cycle of job nightly"


def as_point(world: World, snapshot: str) -> str:
    with world.database.session() as session:
        facts = {"job_id": "j", "generation": 4, "source_snapshot": "s", "size": 1, "manifest": "m"}
        session.add(RecoveryPoint(vd_id=vd_of(world).id, snapshot_id=snapshot, **facts))
    return "recovery point 4"


def as_lun(world: World, snapshot: str) -> str:
    with world.database.session() as session:
        node = Node(name="n1", iqn="iqn.2026-11.org.qreplica:n1", tid=7)
        session.add(Lun(node=node, number=3, vd_id=vd_of(world).id, snapshot_id=snapshot))
    return "LUN 3 of node n1"


@pytest.mark.parametrize("use", [as_base, as_cycle, as_base_of_cycle, as_point, as_lun])
def test_a_snapshot_that_something_needs_is_kept(world: World, use: Any) -> None:
    snapshot = take(world)
    user = use(world, snapshot.id)
    with world.database.session(read_only=True) as session:
        assert snapshots.pins(session, snapshot.id) == [user]
    with world.unchanged(), pytest.raises(SnapshotPinned, match=f"because {user} needs it"):
        snapshots.delete(world.db, world.driver, "v1", "s1")


def test_a_finished_cycle_pins_nothing(world: World) -> None:
    snapshot = take(world)
    of = job(world)
    with world.database.session() as session:
        session.add(Cycle(job_id=of.id, generation=1, snapshot_id=snapshot.id, finished_at=now()))
    with world.database.session(read_only=True) as session:
        assert snapshots.pins(session, snapshot.id) == []


@pytest.mark.parametrize("place", ["before prepare_snapshot", "before take_snapshot", "after take_snapshot"])
def test_a_snapshot_that_fails_leaves_nothing(world: World, place: str) -> None:
    world.fate.places[place] = GroupFull(group="x", operation="it")
    with world.unchanged(), pytest.raises(GroupFull):
        take(world)
    take(world)


TAKING = [
    ("before commit", 0),
    ("after commit", 0),
    ("before prepare_snapshot", 0),
    ("before take_snapshot", 0),
    ("after take_snapshot", 0),
    ("before commit", 1),
]


@pytest.mark.parametrize(("place", "commits"), TAKING)
def test_a_crash_while_one_is_taken_is_undone_at_start(world: World, place: str, commits: int) -> None:
    with world.unchanged():
        world.fate.places[place] = Crash()
        world.fate.commits = commits
        with pytest.raises(Crash):
            take(world)
        assert listed(world) == []
        world.restart()
    take(world)


@pytest.mark.parametrize(("place", "commits"), TAKING)
def test_a_crash_while_one_is_taken_is_healed_by_the_second_call(world: World, place: str, commits: int) -> None:
    """What a crash left may hold a write of after the pause, so it is never taken for the snapshot."""
    write(world, b"first ")
    world.fate.places[place] = Crash()
    world.fate.commits = commits
    with pytest.raises(Crash):
        take(world, snapshot_id="a" * 32)
    world.fate.dead = False
    write(world, b"second")
    snapshot = take(world, snapshot_id="a" * 32)
    assert content(world, snapshot)[:6] == b"second"
    assert held(world) == ["a" * 32]
    assert listed(world) == ["s1"]


@pytest.mark.parametrize(
    ("place", "commits"),
    [
        ("after commit", 0),
        ("before delete_snapshot", 0),
        ("after delete_snapshot", 0),
        ("before commit", 2),
        ("after commit", 2),
    ],
)
def test_a_crash_while_one_is_deleted_is_finished_at_start(world: World, place: str, commits: int) -> None:
    with world.unchanged():
        take(world)
        world.fate.places[place] = Crash()
        world.fate.commits = commits
        with pytest.raises(Crash):
            snapshots.delete(world.db, world.driver, "v1", "s1")
        assert listed(world) == []
        with world.database.session(read_only=True) as session, pytest.raises(NoSuchSnapshot):
            snapshots.get(session, "v1", "s1")
        world.restart()


@pytest.mark.parametrize("error", [GroupClosed(group="x"), GroupLocked(group="x", seconds=120)])
def test_a_deletion_that_did_not_begin_leaves_it_to_be_relied_upon(world: World, error: QReplicaError) -> None:
    take(world)
    world.fate.places["before delete_snapshot"] = error
    with world.unchanged():
        with pytest.raises(type(error)):
            snapshots.delete(world.db, world.driver, "v1", "s1")
        world.restart()
    assert listed(world) == ["s1"]
    snapshots.delete(world.db, world.driver, "v1", "s1")
    assert held(world) == []


@pytest.mark.parametrize("how", ["it is through", "it is at it"])
def test_a_deletion_that_somebody_else_goes_on_with_is_not_taken_back(world: World, how: str) -> None:
    """A controller that starts while the engine makes the first one wait, which then gives up."""
    snapshot = take(world)
    group = vd_of(world).raid_group_id

    class Waiting:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.storage, name)

        def delete_snapshot(self, *_: str) -> None:
            if how == "it is at it":
                world.fate.places["before delete_snapshot"] = Crash()
            with contextlib.suppress(Crash):
                snapshots.undo_incomplete(world.db, world.driver, group)
            raise GroupLocked(group=group, seconds=120)

    driver: Any = Waiting()
    with pytest.raises(GroupLocked):
        snapshots.delete(world.database, driver, "v1", "s1")
    assert listed(world) == []
    world.restart()
    assert held(world) == []
    with world.database.session(read_only=True) as session:
        assert session.get(Snapshot, snapshot.id) is None


def test_the_state_is_anybodys_while_the_engine_deletes(world: World) -> None:
    """It may have to wait for two minutes; a transaction of somebody else does not wait for it."""
    take(world)
    busy: list[object] = []

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.storage, name)

        def delete_snapshot(self, *of: str) -> None:
            second = sqlite3.connect(world.place / "state.db", timeout=0)
            try:
                second.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                busy.append(error)
            finally:
                second.close()
            world.storage.delete_snapshot(*of)

    driver: Any = Slow()
    snapshots.delete(world.database, driver, "v1", "s1")
    with snapshots.momentary(world.database, driver, vd_of(world)):
        pass
    with pytest.raises(SnapshotNotStill):
        snapshots.take(
            world.database,
            driver,
            Pauses(still=[False] * 3),
            vd_id=vd_of(world).id,
            name="s2",
            kind=SnapshotKind.MANUAL,
        )
    assert busy == []
    assert held(world) == []


def test_nobody_completes_what_somebody_else_is_deleting(world: World) -> None:
    """A start elsewhere has decided to undo it, and is about to ask the engine, when it is taken."""
    group = vd_of(world).raid_group_id

    class Meddled(Pauses):
        def still_paused(self) -> bool:
            world.fate.places["before delete_snapshot"] = Crash()
            with contextlib.suppress(Crash):
                snapshots.undo_incomplete(world.db, world.driver, group)
            return True

    with pytest.raises(SnapshotInterrupted):
        snapshots.take(
            world.database, world.storage, Meddled(), vd_id=vd_of(world).id, name="s1", kind=SnapshotKind.MANUAL
        )
    assert listed(world) == []
    world.restart()
    assert held(world) == []


def test_a_stale_taker_never_completes_what_its_successor_took(world: World) -> None:
    """It was woken after the other had finished, and was still all the while."""

    class Overtaken(Pauses):
        def still_paused(self) -> bool:
            self.taken = take(world, snapshot_id="a" * 32)
            return True

    pauses = Overtaken()
    with pytest.raises(SnapshotInterrupted):
        take(world, snapshot_id="a" * 32, pauses=pauses)
    with world.database.session(read_only=True) as session:
        assert session.get_one(Snapshot, "a" * 32).taken_at == pauses.taken.taken_at
    assert held(world) == ["a" * 32]


def test_one_that_was_taken_before_the_crash_is_there_after(world: World) -> None:
    world.fate.places["after commit"] = Crash()
    world.fate.commits = 1
    with pytest.raises(Crash):
        take(world)
    world.restart()
    assert listed(world) == ["s1"]
    assert len(held(world)) == 1


def test_what_a_cycle_or_a_commit_goes_on_with_is_left_at_start(world: World) -> None:
    vd = vd_of(world).id
    of = job(world)
    with world.database.session() as session:
        facts: dict[str, Any] = {"vd_id": vd, "size": SIZE, "taken_at": None}
        session.add(Snapshot(id="a" * 32, name="r1", kind=SnapshotKind.REPLICATION, **facts))
        session.add(Snapshot(id="b" * 32, name="p1", kind=SnapshotKind.RECOVERY_POINT, **facts))
        session.flush()
        session.add(Cycle(job_id=of.id, generation=1, snapshot_id="a" * 32))
    with world.unchanged():
        world.restart()


def test_a_stale_taker_never_deletes_what_its_successor_took(world: World) -> None:
    """It wakes up in its pause after another process has taken the same snapshot, and finds that it was woken."""
    write(world, b"theirs")

    class Overtaken(Pauses):
        def still_paused(self) -> bool:
            take(world, snapshot_id="a" * 32)
            return False

    with pytest.raises(SnapshotNotStill):
        take(world, snapshot_id="a" * 32, pauses=Overtaken())
    assert held(world) == ["a" * 32]
    assert listed(world) == ["s1"]


def test_a_start_elsewhere_that_undoes_one_is_told_of(world: World) -> None:
    group = vd_of(world).raid_group_id

    class Meddled(Pauses):
        def still_paused(self) -> bool:
            snapshots.undo_incomplete(world.database, world.storage, group)
            return True

    with world.unchanged(), pytest.raises(SnapshotInterrupted, match="“s1” of v1 was not taken"):
        take(world, pauses=Meddled())


def test_a_backup_vd_can_have_snapshots_of_its_own(world: World) -> None:
    backup = world.vd("b1", type_=VdType.BACKUP)
    take(world, vd_id=backup)
    assert listed(world, "b1") == ["s1"]
