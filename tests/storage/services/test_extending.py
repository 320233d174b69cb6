"""Extending virtual disks: what is refused, and what a failure or a crash in the middle leaves."""

import pytest

from qreplica.errors import NotFound, QReplicaError
from qreplica.state.models import VdType, VirtualDisk
from qreplica.storage import extending, virtual_disks
from qreplica.storage.driver import BLOCK
from qreplica.storage.errors import GroupClosed, GroupFull
from qreplica.storage.service_errors import GroupHasNoRoom, NameTaken, VdCannotShrink, VdSizeInvalid
from qreplica.units import MIB

from .world import Crash, World


@pytest.fixture
def world(world: World) -> World:
    world.group()
    world.vd()
    return world


def found(world: World, name: str = "v1") -> VirtualDisk:
    with world.database.session(read_only=True) as session:
        return virtual_disks.get(session, name)


def length(world: World, name: str = "v1") -> int:
    vd = found(world, name)
    return world.storage.vd_path(vd.raid_group_id, vd.id).stat().st_size


def test_a_vd_grows_and_what_is_new_reads_as_zeros(world: World) -> None:
    vd = found(world)
    world.storage.vd_path(vd.raid_group_id, vd.id).write_bytes(b"x" * 4 * MIB)
    free = world.free()
    extending.extend(world.db, world.driver, "v1", 6 * MIB + BLOCK)
    assert found(world).size == 6 * MIB + BLOCK
    content = world.storage.vd_path(vd.raid_group_id, vd.id).read_bytes()
    assert content == b"x" * 4 * MIB + bytes(2 * MIB + BLOCK)
    assert world.free() == free - 2 * MIB - BLOCK
    with world.unchanged():
        extending.extend(world.db, world.driver, "v1", 6 * MIB + BLOCK)


def test_the_room_for_recovery_points_grows_along(world: World) -> None:
    world.vd("b1", 8 * MIB, type_=VdType.BACKUP)
    virtual_disks.set_snapshot_space(world.db, world.driver, "b1", 20 * MIB)
    free = world.free()
    extending.extend(world.db, world.driver, "b1", 10 * MIB)
    assert (found(world, "b1").size, found(world, "b1").snapshot_space) == (10 * MIB, 22 * MIB)
    assert world.free() == free - 4 * MIB


@pytest.mark.parametrize(
    ("name", "size", "error", "told"),
    [
        ("v1", 4 * MIB - BLOCK, VdCannotShrink, "has 4 MiB and cannot shrink to 4.00 MiB"),
        ("v1", 5 * MIB + 512, VdSizeInvalid, "multiple of 4 KiB"),
        ("v1", -BLOCK, VdSizeInvalid, "multiple of 4 KiB"),
        ("v1", 2**62, GroupHasNoRoom, "extending virtual disk v1 needs"),
        ("v9", 8 * MIB, NotFound, "no virtual disk “v9”"),
    ],
)
def test_what_cannot_be_is_refused(world: World, name: str, size: int, error: type[QReplicaError], told: str) -> None:
    with world.unchanged(), pytest.raises(error, match=told):
        extending.extend(world.db, world.driver, name, size)


def test_an_rg_is_extended_into_to_its_last_block_and_no_further(world: World) -> None:
    world.vd("b1", 4 * MIB, type_=VdType.BACKUP)
    half = world.free() // 2 // BLOCK * BLOCK
    with world.unchanged(), pytest.raises(GroupHasNoRoom, match="with its recovery points") as caught:
        extending.extend(world.db, world.driver, "b1", 4 * MIB + half + BLOCK)
    assert (caught.value.fields["free"], caught.value.fields["needed"]) == (world.free(), 2 * (half + BLOCK))
    extending.extend(world.db, world.driver, "b1", 4 * MIB + half)
    assert world.free() < 2 * BLOCK


@pytest.mark.parametrize("type_", [VdType.RAID, VdType.BACKUP])
@pytest.mark.parametrize("error", [GroupFull(group="x", operation="it"), GroupClosed(group="x")])
def test_a_failure_takes_the_promise_back(world: World, error: Exception, type_: VdType) -> None:
    world.vd("v2", type_=type_)
    world.fate.places["before resize_vd"] = error
    with world.unchanged(), pytest.raises(type(error)):
        extending.extend(world.db, world.driver, "v2", 8 * MIB)
    extending.extend(world.db, world.driver, "v2", 8 * MIB)


def test_a_failure_after_the_engine_has_followed_keeps_the_promise(world: World) -> None:
    world.fate.places["after resize_vd"] = GroupFull(group="x", operation="it")
    with pytest.raises(GroupFull):
        extending.extend(world.db, world.driver, "v1", 8 * MIB)
    assert found(world).size == length(world) == 8 * MIB


@pytest.mark.parametrize("place", ["before resize_vd", "after resize_vd"])
def test_a_promise_stands_where_it_cannot_be_told_whether_the_engine_followed(world: World, place: str) -> None:
    """A host may have seen the new size, and written there."""
    vd = found(world)
    world.fate.places[place] = GroupFull(group="x", operation="it")
    world.fate.places["before vd_path"] = GroupClosed(group="x")
    with pytest.raises(GroupFull):
        extending.extend(world.db, world.driver, "v1", 8 * MIB)
    assert found(world).size == 8 * MIB
    world.restart()
    assert world.storage.vd_path(vd.raid_group_id, vd.id).stat().st_size == 8 * MIB


def test_a_vd_that_was_deleted_meanwhile_follows_nothing(world: World) -> None:
    vd = found(world)
    virtual_disks.delete(world.db, world.driver, "v1")
    assert not extending.follow(world.db, world.driver, vd.id)


@pytest.mark.parametrize("place", ["after commit", "before resize_vd", "after resize_vd"])
def test_a_crash_in_the_middle_is_finished_at_start(world: World, place: str) -> None:
    world.fate.places[place] = Crash()
    with pytest.raises(Crash):
        extending.extend(world.db, world.driver, "v1", 8 * MIB)
    world.restart()
    assert found(world).size == length(world) == 8 * MIB


def test_a_crash_before_anything_leaves_all_as_it_was(world: World) -> None:
    world.fate.places["before commit"] = Crash()
    with world.unchanged():
        with pytest.raises(Crash):
            extending.extend(world.db, world.driver, "v1", 8 * MIB)
        world.restart()


def test_a_vd_that_is_gone_holds_a_start_up_from_nothing(world: World) -> None:
    world.vd("v2")
    vd = found(world)
    world.storage.delete_vd(vd.raid_group_id, vd.id)
    world.fate.places["before resize_vd"] = Crash()
    with pytest.raises(Crash):
        extending.extend(world.db, world.driver, "v2", 8 * MIB)
    world.restart()
    assert length(world, "v2") == 8 * MIB


def test_a_vd_gets_another_name_and_nothing_else(world: World) -> None:
    before = found(world)
    virtual_disks.rename(world.db, "v1", "payroll")
    after = found(world, "payroll")
    assert (after.id, after.serial, after.size) == (before.id, before.serial, before.size)
    with pytest.raises(NotFound):
        found(world)
    with world.unchanged():
        virtual_disks.rename(world.db, "payroll", "payroll")


def test_a_name_that_is_taken_or_none_is_refused(world: World) -> None:
    world.vd("v2")
    with world.unchanged():
        with pytest.raises(NameTaken, match="already a virtual disk “v2”"):
            virtual_disks.rename(world.db, "v1", "v2")
        with pytest.raises(QReplicaError, match="cannot name a virtual disk"):
            virtual_disks.rename(world.db, "v1", "../v1")
        with pytest.raises(NotFound):
            virtual_disks.rename(world.db, "v9", "v3")
