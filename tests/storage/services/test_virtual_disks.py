"""Virtual disks: what is refused, and what a failure or a crash in the middle leaves."""

from collections.abc import Callable
from typing import Any

import pytest

from qreplica.errors import NotFound, QReplicaError
from qreplica.names import NotAName
from qreplica.state.models import (
    Claim,
    Job,
    Lun,
    Node,
    RaidGroup,
    RecoveryPoint,
    Snapshot,
    SnapshotKind,
    VdType,
    VirtualDisk,
    now,
)
from qreplica.storage import extending, virtual_disks
from qreplica.storage.driver import BLOCK, SpaceUsed
from qreplica.storage.errors import GroupFull
from qreplica.storage.service_errors import (
    CreationInterrupted,
    GroupHasNoRoom,
    NameTaken,
    SnapshotSpaceInvalid,
    SnapshotSpaceTooSmall,
    VdInUse,
    VdSizeInvalid,
)
from qreplica.units import GIB, MIB

from .world import Crash, World


@pytest.fixture
def world(world: World) -> World:
    world.group()
    return world


def found(world: World, name: str = "v1") -> VirtualDisk:
    with world.database.session(read_only=True) as session:
        return virtual_disks.get(session, name)


def held(world: World) -> list[str]:
    """Return the VDs that the driver holds."""
    with world.database.session(read_only=True) as session:
        group = session.query(RaidGroup).one().id
    return world.storage.list_vds(group)


def test_a_vd_is_made_reading_as_zeros(world: World) -> None:
    vd = world.vd(size=4 * MIB + BLOCK)
    path = world.storage.vd_path(found(world).raid_group_id, vd)
    assert path.read_bytes() == bytes(4 * MIB + BLOCK)


def test_serial_numbers_differ(world: World) -> None:
    serials = {found(world, name).serial for name in ("v1", "v2", "v3") if world.vd(name)}
    assert len(serials) == 3
    assert all(len(serial) == 32 and int(serial, 16) >= 0 for serial in serials)


def test_a_backup_vd_has_room_for_its_recovery_points(world: World) -> None:
    world.vd("b1", 8 * MIB, type_=VdType.BACKUP)
    world.vd("v1", 8 * MIB)
    assert (found(world, "b1").snapshot_space, found(world, "v1").snapshot_space) == (8 * MIB, 0)


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (NotAName, {"name": "V1"}),
        (NotAName, {"name": "../v1"}),
        (NotAName, {"name": ""}),
        (NotAName, {"name": "v" * 64}),
        (NotAName, {"name": "v1\n"}),
        (VdSizeInvalid, {"size": 0}),
        (VdSizeInvalid, {"size": -BLOCK}),
        (VdSizeInvalid, {"size": MIB - BLOCK}),
        (VdSizeInvalid, {"size": MIB + 512}),
        (NotFound, {"raid_group": "rg9"}),
    ],
)
def test_what_cannot_be_a_vd_is_refused(world: World, error: type[QReplicaError], facts: dict[str, Any]) -> None:
    asked = {"name": "v1", "raid_group": "rg1", "size": 4 * MIB, **facts}
    with world.unchanged(), pytest.raises(error):
        virtual_disks.create(world.db, world.driver, **asked)


def test_a_name_is_taken_once(world: World) -> None:
    world.vd()
    with world.unchanged(), pytest.raises(NameTaken, match="already a virtual disk “v1”"):
        world.vd()


def test_what_does_not_fit_is_refused_with_both_figures(world: World) -> None:
    free = world.free() // MIB * MIB
    with world.unchanged():
        with pytest.raises(GroupHasNoRoom) as caught:
            world.vd(size=free + MIB)
        assert caught.value.fields["free"] == world.free()
        assert caught.value.fields["needed"] == free + MIB
        half = free // 2 // BLOCK * BLOCK + BLOCK * 256
        with pytest.raises(GroupHasNoRoom, match="virtual disk v1 with its recovery points needs"):
            world.vd(size=half, type_=VdType.BACKUP)
    world.vd("v1", half)
    with world.unchanged(), pytest.raises(GroupHasNoRoom):
        world.vd("v2", half)
    world.vd("v2", world.free() // BLOCK * BLOCK)
    assert world.free() < BLOCK


def test_huge_sizes_are_refused(world: World) -> None:
    with world.unchanged(), pytest.raises(GroupHasNoRoom):
        world.vd(size=2**62)


def test_a_deleted_vd_is_gone_with_all_that_belongs_to_it(world: World) -> None:
    with world.unchanged():
        vd = world.vd("b1", type_=VdType.BACKUP)
        with world.database.session() as session:
            node = Node(name="n1", iqn="iqn.2026-11.org.qreplica:n1", tid=7)
            snapshot = Snapshot(vd_id=vd, name="p1", kind=SnapshotKind.RECOVERY_POINT, size=4 * MIB, taken_at=now())
            session.add_all([node, snapshot])
            session.flush()
            session.add(
                RecoveryPoint(
                    vd_id=vd,
                    snapshot_id=snapshot.id,
                    job_id="j",
                    generation=1,
                    source_snapshot="s",
                    size=1,
                    manifest="m",
                )
            )
            session.add(Claim(vd_id=vd, node_id=node.id, job_id="", source_subsystem="s", epoch=3, initiator="nobody"))
        virtual_disks.delete(world.db, world.driver, "b1")
        with world.database.session() as session:
            session.query(Node).delete()
    with pytest.raises(NotFound, match="no virtual disk “b1”"):
        virtual_disks.delete(world.db, world.driver, "b1")


def attached(world: World, vd: str) -> str:
    with world.database.session() as session:
        node = Node(name="n1", iqn="iqn.2026-11.org.qreplica:n1", tid=7)
        session.add(Lun(node=node, number=3, vd_id=vd))
    return "because LUN 3 of node n1 uses it: detach it first"


def replicated(world: World, vd: str) -> str:
    with world.database.session() as session:
        session.add(
            Job(
                name="nightly",
                source_vd_id=vd,
                target_subsystem="s",
                target_node="n",
                target_lun=1,
                target_vd="t",
                target_serial="t",
                target_size=1,
            )
        )
    return "because replication job nightly uses it: delete the job first"


def claimed(world: World, vd: str) -> str:
    with world.database.session() as session:
        node = Node(name="n1", iqn="iqn.2026-11.org.qreplica:n1", tid=7)
        session.add(node)
        session.flush()
        session.add(Claim(vd_id=vd, node_id=node.id, job_id="j1", source_subsystem="s", epoch=3, initiator="i"))
    return "because replication job j1 of another subsystem uses it"


@pytest.mark.parametrize("use", [attached, replicated, claimed])
def test_a_vd_in_use_is_not_deleted(world: World, use: Any) -> None:
    told = use(world, world.vd())
    with world.unchanged(), pytest.raises(VdInUse, match=told):
        virtual_disks.delete(world.db, world.driver, "v1")


def test_snapshot_space_is_kept_within_what_is_free_and_above_what_is_used(world: World) -> None:
    vd = world.vd()
    group = found(world).raid_group_id
    free = world.free()
    virtual_disks.set_snapshot_space(world.db, world.driver, "v1", 8 * MIB)
    assert world.free() == free - 8 * MIB
    world.storage.vd_path(group, vd).write_bytes(b"x" * 4 * MIB)
    world.storage.take_snapshot(group, vd, "s1")
    with world.unchanged():
        with pytest.raises(SnapshotSpaceTooSmall, match="use 4 MiB, more than 3 MiB"):
            virtual_disks.set_snapshot_space(world.db, world.driver, "v1", 3 * MIB)
        with pytest.raises(GroupHasNoRoom, match="more snapshot space for v1 needs"):
            virtual_disks.set_snapshot_space(world.db, world.driver, "v1", 8 * MIB + world.free() + BLOCK)
        with pytest.raises(NotFound):
            virtual_disks.set_snapshot_space(world.db, world.driver, "v9", GIB)
    virtual_disks.set_snapshot_space(world.db, world.driver, "v1", 4 * MIB)
    assert world.free() == free - 4 * MIB
    assert virtual_disks.used(world.storage, found(world)).snapshots == 4 * MIB


@pytest.mark.parametrize(
    ("name", "size", "least"), [("v1", -BLOCK, "0 B"), ("b1", 4 * MIB - BLOCK, "4 MiB"), ("b1", 0, "4 MiB")]
)
def test_snapshot_space_that_cannot_be_is_refused(world: World, name: str, size: int, least: str) -> None:
    """A BACKUP VD's recovery points are promised as much room as it has itself."""
    world.vd("v1")
    world.vd("b1", type_=VdType.BACKUP)
    with world.unchanged(), pytest.raises(SnapshotSpaceInvalid, match=f"needs at least {least}"):
        virtual_disks.set_snapshot_space(world.db, world.driver, name, size)
    virtual_disks.set_snapshot_space(world.db, world.driver, "b1", 4 * MIB)


class Meddled:
    """A driver whose every settled count of space is followed by what somebody else does."""

    def __init__(self, world: World, meddle: Callable[[], object]) -> None:
        self._world = world
        self._meddle = meddle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.storage, name)

    def space_used(self, group: str, vd: str, *, settled: bool = True) -> SpaceUsed:
        found = self._world.storage.space_used(group, vd, settled=settled)
        if settled:
            self._meddle()
        return found


def test_snapshot_space_is_judged_by_what_there_is_when_it_is_set(world: World) -> None:
    """A backup VD grows, or a snapshot is taken, between the look at the engine and the writing of the new figure."""
    world.vd("b1", type_=VdType.BACKUP)
    driver: Any = Meddled(world, lambda: extending.extend(world.db, world.storage, "b1", 8 * MIB))
    with pytest.raises(SnapshotSpaceInvalid, match="needs at least 8 MiB"):
        virtual_disks.set_snapshot_space(world.db, driver, "b1", 4 * MIB)
    vd = world.vd("v1")
    group = found(world).raid_group_id
    virtual_disks.set_snapshot_space(world.db, world.driver, "v1", 8 * MIB)
    world.storage.vd_path(group, vd).write_bytes(b"x" * 4 * MIB)
    driver = Meddled(world, lambda: world.storage.take_snapshot(group, vd, "s1"))
    with pytest.raises(SnapshotSpaceTooSmall, match="use 4 MiB, more than 0 B"):
        virtual_disks.set_snapshot_space(world.db, driver, "v1", 0)
    assert (found(world, "b1").snapshot_space, found(world).snapshot_space) == (8 * MIB, 8 * MIB)


@pytest.mark.parametrize("place", ["before create_vd", "after create_vd"])
def test_a_creation_that_fails_leaves_nothing(world: World, place: str) -> None:
    world.fate.places[place] = GroupFull(group="x", operation="it")
    with world.unchanged(), pytest.raises(GroupFull):
        world.vd()
    world.vd()


@pytest.mark.parametrize(
    ("place", "commits"),
    [("before commit", 0), ("after commit", 0), ("before create_vd", 0), ("after create_vd", 0), ("before commit", 1)],
)
def test_a_crash_while_a_vd_is_made_is_undone_at_start(world: World, place: str, commits: int) -> None:
    with world.unchanged():
        world.fate.places[place] = Crash()
        world.fate.commits = commits
        with pytest.raises(Crash):
            world.vd()
        with pytest.raises(NotFound):
            found(world)
        world.restart()
    world.vd()
    assert held(world) == [found(world).id]


@pytest.mark.parametrize(
    ("place", "commits"),
    [("after commit", 0), ("before delete_vd", 0), ("after delete_vd", 0), ("before commit", 1), ("after commit", 1)],
)
def test_a_crash_while_a_vd_is_deleted_is_finished_at_start(world: World, place: str, commits: int) -> None:
    with world.unchanged():
        world.vd()
        world.fate.places[place] = Crash()
        world.fate.commits = commits
        with pytest.raises(Crash):
            virtual_disks.delete(world.db, world.driver, "v1")
        with pytest.raises(NotFound):
            found(world)
        world.restart()


def test_a_deletion_that_failed_can_be_asked_for_again(world: World) -> None:
    with world.unchanged():
        world.vd()
        world.fate.places["before delete_vd"] = GroupFull(group="x", operation="it")
        with pytest.raises(GroupFull):
            virtual_disks.delete(world.db, world.driver, "v1")
        virtual_disks.delete(world.db, world.driver, "v1")


def test_a_start_elsewhere_that_undoes_a_creation_is_told_of(world: World) -> None:
    class Meddled:
        def __getattr__(self, name: str) -> object:
            return getattr(world.storage, name)

        def create_vd(self, group: str, vd: str, size: int) -> None:
            virtual_disks.undo_incomplete(world.database, world.storage, group)
            world.storage.create_vd(group, vd, size)

    with world.unchanged(), pytest.raises(CreationInterrupted, match="“v1” was not made"):
        virtual_disks.create(world.db, Meddled(), name="v1", raid_group="rg1", size=4 * MIB)  # type: ignore[arg-type] # looks like one
