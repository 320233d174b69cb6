"""Disks replaced, added and kept as spares: what is refused, and what a failure or a crash in the middle leaves."""

import pytest

from qreplica.errors import NotFound, QReplicaError
from qreplica.storage import disks, raid_group_disks, raid_groups
from qreplica.storage.capacity import capacity
from qreplica.storage.driver import GroupHealth, RaidLevel
from qreplica.storage.errors import DiskInUse, GroupClosed, GroupLocked, RebuildRunning
from qreplica.storage.service_errors import (
    DiskAddsNothing,
    DiskHasFailed,
    DiskNotOfGroup,
    DiskOfGroup,
    GroupNotWhole,
    ReplacementTooSmall,
)
from qreplica.units import GIB

from .mirror import EngineWorld
from .world import Crash


def replace(world: EngineWorld, old: str = "d2", new: str = "d3", group: str = "rg1") -> None:
    raid_group_disks.replace(world.db, world.driver, group=group, old=old, new=new)


def grow(world: EngineWorld, disk: str = "d3") -> None:
    raid_group_disks.grow(world.db, world.driver, group="rg1", disk=disk)


def test_a_disk_is_replaced_by_a_free_one(mirror: EngineWorld) -> None:
    replace(mirror)
    assert mirror.disks_of() == ["d1", "d2", "d3"]
    assert mirror.storage.group_status(mirror.group_id).health is GroupHealth.REBUILDING
    replace(mirror)
    mirror.rounds(2)
    assert mirror.disks_of() == ["d1", "d2", "d3"]
    mirror.storage.finish(mirror.group_id)
    mirror.rounds()
    assert mirror.disks_of() == ["d1", "d3"]
    old = mirror.row("d2")
    assert (old.raid_group_id, old.failed, old.spare, mirror.row("d3").replaces_id) == (None, False, False, None)
    assert mirror.kinds() == ["disk-replaced"]
    assert mirror.message("disk-replaced") == "Disk d3 has taken the place of d2 in RAID group rg1."


def test_a_disk_that_was_replaced_though_it_was_good_can_be_used_again(mirror: EngineWorld) -> None:
    replace(mirror)
    mirror.storage.finish(mirror.group_id)
    mirror.rounds()
    replace(mirror, "d3", "d2")
    mirror.storage.finish(mirror.group_id)
    mirror.rounds()
    assert mirror.disks_of() == ["d1", "d2"]


@pytest.mark.parametrize(
    ("error", "group", "old", "new"),
    [
        (NotFound, "rg9", "d2", "d3"),
        (NotFound, "rg1", "d9", "d3"),
        (NotFound, "rg1", "d2", "d9"),
        (DiskNotOfGroup, "rg1", "small", "d3"),
        (DiskOfGroup, "rg1", "d2", "d1"),
        (DiskOfGroup, "rg1", "d2", "d2"),
        (ReplacementTooSmall, "rg1", "d2", "small"),
    ],
)
def test_a_replacement_that_cannot_be_is_refused_and_changes_nothing(
    mirror: EngineWorld, error: type[QReplicaError], group: str, old: str, new: str
) -> None:
    with mirror.unchanged(), pytest.raises(error):
        replace(mirror, old, new, group)


def test_only_one_replacement_goes_on_in_an_rg(mirror: EngineWorld) -> None:
    mirror.disk("d4", 2 * GIB)
    replace(mirror)
    with mirror.unchanged(), pytest.raises(RebuildRunning):
        replace(mirror, "d1", "d4")
    with mirror.unchanged(), pytest.raises(RebuildRunning):
        grow(mirror, "d4")


def test_a_disk_that_failed_is_not_used_again(mirror: EngineWorld) -> None:
    mirror.set("d3", failed=True)
    with mirror.unchanged():
        for attempt in (
            lambda: replace(mirror),
            lambda: grow(mirror),
            lambda: raid_group_disks.set_spare(mirror.db, "d3", spare=True),
            lambda: raid_groups.create(mirror.db, mirror.driver, name="rg2", level=RaidLevel.JBOD, disks=["d3"]),
        ):
            with pytest.raises(DiskHasFailed, match="Disk d3 has failed before"):
                attempt()
    disks.remove(mirror.db, "d3")
    mirror.disk("d3", 2 * GIB)
    replace(mirror)


def test_a_closed_rg_is_left_alone(mirror: EngineWorld) -> None:
    mirror.storage.close_group(mirror.group_id)
    with mirror.unchanged():
        with pytest.raises(GroupClosed, match="rg1"):
            replace(mirror)
        with pytest.raises(GroupClosed, match="rg1"):
            grow(mirror)


def test_a_degraded_rg_is_given_another_disk_but_not_one_more(mirror: EngineWorld) -> None:
    mirror.storage.missing.add(mirror.path("d2"))
    with mirror.unchanged(), pytest.raises(GroupNotWhole, match="cannot be grown while it is degraded"):
        grow(mirror)
    replace(mirror)


def test_a_scrub_gives_way_to_a_replacement(mirror: EngineWorld) -> None:
    mirror.storage.start_scrub(mirror.group_id)
    replace(mirror)
    scrub = mirror.storage.scrub_status(mirror.group_id)
    assert scrub is not None
    assert (scrub.running, scrub.interrupted) == (False, True)


def test_what_the_engine_refuses_is_undone(mirror: EngineWorld) -> None:
    mirror.set("d3", spare=False)
    with mirror.unchanged():
        mirror.fate.places["before replace_disk"] = DiskInUse(disk="d3", owner="something")
        with pytest.raises(DiskInUse):
            replace(mirror)
        mirror.fate.places["before add_disk"] = DiskInUse(disk="d3", owner="something")
        with pytest.raises(DiskInUse):
            grow(mirror)
    assert mirror.disks_of() == ["d1", "d2"]


def test_what_a_lock_held_up_is_begun_by_maintenance(mirror: EngineWorld) -> None:
    mirror.fate.places["before replace_disk"] = GroupLocked(group="x", seconds=1)
    with pytest.raises(GroupLocked):
        replace(mirror)
    mirror.rounds()
    assert mirror.storage.replacing[mirror.group_id] == (mirror.path("d2"), mirror.path("d3"))
    assert mirror.kinds() == []


@pytest.mark.parametrize("place", ["after commit", "before replace_disk", "after replace_disk"])
def test_a_replacement_that_was_written_down_before_a_crash_is_gone_on_with(mirror: EngineWorld, place: str) -> None:
    mirror.fate.places[place] = Crash()
    with pytest.raises(Crash):
        replace(mirror)
    mirror.restart()
    mirror.rounds(2)
    assert mirror.disks_of() == ["d1", "d2", "d3"]
    assert mirror.storage.replacing[mirror.group_id] == (mirror.path("d2"), mirror.path("d3"))
    mirror.storage.finish(mirror.group_id)
    mirror.rounds()
    assert mirror.disks_of() == ["d1", "d3"]
    assert mirror.kinds() == ["disk-replaced"]


@pytest.mark.parametrize("place", ["before stop_scrub", "before commit"])
def test_of_a_replacement_that_was_not_written_down_before_a_crash_nothing_is_left(
    mirror: EngineWorld, place: str
) -> None:
    with mirror.unchanged():
        mirror.fate.places[place] = Crash()
        with pytest.raises(Crash):
            replace(mirror)
        mirror.restart()
        mirror.rounds(2)


@pytest.mark.parametrize("place", ["before commit", "after commit"])
def test_a_crash_at_the_end_of_a_replacement_ends_it_later(mirror: EngineWorld, place: str) -> None:
    replace(mirror)
    mirror.rounds()
    mirror.storage.finish(mirror.group_id)
    mirror.fate.places[place] = Crash()
    with pytest.raises(Crash):
        mirror.rounds()
    mirror.restart()
    mirror.rounds()
    assert mirror.disks_of() == ["d1", "d3"]


def test_an_rg_grows_by_a_disk_and_promises_more_when_all_is_spread(mirror: EngineWorld) -> None:
    before = mirror.free()
    grow(mirror)
    grow(mirror)
    mirror.rounds(2)
    assert mirror.disks_of() == ["d1", "d2", "d3"]
    assert mirror.free() == before
    mirror.storage.finish(mirror.group_id)
    mirror.rounds(2)
    room = capacity(RaidLevel.RAID1, [2 * GIB] * 3)
    assert (mirror.rg().usable, mirror.rg().reserve) == (room.usable, room.reserve)
    assert mirror.free() > before
    assert mirror.kinds() == ["rg-grown"]


@pytest.mark.parametrize("place", ["after commit", "before add_disk", "after add_disk"])
def test_a_crash_while_an_rg_grows_is_gone_on_with(mirror: EngineWorld, place: str) -> None:
    mirror.fate.places[place] = Crash()
    with pytest.raises(Crash):
        grow(mirror)
    mirror.restart()
    mirror.rounds()
    assert mirror.storage.members[mirror.group_id] == [mirror.path(name) for name in ("d1", "d2", "d3")]
    mirror.storage.finish(mirror.group_id)
    mirror.rounds()
    assert mirror.rg().usable == capacity(RaidLevel.RAID1, [2 * GIB] * 3).usable


def test_a_disk_that_vanished_before_the_engine_took_it_is_free_again(mirror: EngineWorld) -> None:
    mirror.fate.places["before add_disk"] = Crash()
    with pytest.raises(Crash):
        grow(mirror)
    mirror.restart()
    mirror.path("d3").unlink()
    mirror.fate.places["before add_disk"] = DiskInUse(disk="d3", owner="something")
    mirror.rounds()
    assert mirror.disks_of() == ["d1", "d2"]
    assert mirror.kinds() == ["disk-not-added"]
    mirror.rounds()
    assert mirror.kinds() == ["disk-not-added"]


def test_a_disk_that_would_take_space_away_is_refused(mirror: EngineWorld) -> None:
    """RAID 0 spreads each chunk over all disks: a small one makes it end sooner."""
    for name in ("s1", "s2"):
        mirror.disk(name, 8 * GIB)
    raid_groups.create(mirror.db, mirror.driver, name="rg2", level=RaidLevel.RAID0, disks=["s1", "s2"])
    with mirror.unchanged(), pytest.raises(DiskAddsNothing, match=r"rg2 would hold .* with disk small of 1 GiB"):
        raid_group_disks.grow(mirror.db, mirror.driver, group="rg2", disk="small")


@pytest.mark.parametrize(("error", "disk"), [(NotFound, "d9"), (DiskOfGroup, "d1")])
def test_a_disk_that_cannot_be_added_is_refused(mirror: EngineWorld, error: type[QReplicaError], disk: str) -> None:
    with mirror.unchanged():
        with pytest.raises(error):
            grow(mirror, disk)
        with pytest.raises(error):
            raid_group_disks.set_spare(mirror.db, disk, spare=True)


def test_what_is_promised_never_becomes_less(mirror: EngineWorld) -> None:
    """The figures of an RG made when less was kept back stay."""
    with mirror.database.session() as session:
        group = raid_groups.get(session, "rg1")
        group.reserve = 0
    mirror.rounds()
    assert mirror.rg().reserve == 0


def test_a_spare_is_set_and_let_go_and_used_when_asked_for(mirror: EngineWorld) -> None:
    raid_group_disks.set_spare(mirror.db, "d3", spare=True)
    raid_group_disks.set_spare(mirror.db, "d3", spare=True)
    assert mirror.row("d3").spare
    raid_group_disks.set_spare(mirror.db, "d3", spare=False)
    assert not mirror.row("d3").spare
    raid_group_disks.set_spare(mirror.db, "d3", spare=True)
    replace(mirror)
    assert not mirror.row("d3").spare


def test_deleting_an_rg_frees_old_and_new(mirror: EngineWorld) -> None:
    replace(mirror)
    mirror.rounds()
    raid_groups.delete(mirror.db, mirror.driver, "rg1")
    for name in ("d1", "d2", "d3"):
        row = mirror.row(name)
        assert (row.raid_group_id, row.replaces_id) == (None, None)
        disks.remove(mirror.db, name)
