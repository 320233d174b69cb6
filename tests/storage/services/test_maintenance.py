"""Rounds of maintenance: what disks do wrong is told of once, and mended by itself where that is possible."""

from pathlib import Path

import pytest
from sqlalchemy import select

from qreplica.state.models import Disk, RaidGroup, Severity
from qreplica.storage import disks, raid_group_disks, virtual_disks
from qreplica.storage.driver import DiskErrors, GroupHealth
from qreplica.storage.errors import (
    DiskInUse,
    GroupBusy,
    GroupFailed,
    NotADisk,
    RebuildRunning,
    ReplacementFailed,
    RoomBeingMade,
    SpreadingFoundNoRoom,
)
from qreplica.storage.service_errors import GroupStoppedWriting
from qreplica.storage.space_pressure import Limits
from qreplica.units import GIB, MIB

from .mirror import EngineWorld
from .world import Crash


def spare(world: EngineWorld, *names: str) -> None:
    for name in names:
        raid_group_disks.set_spare(world.database, name, spare=True)


def errors(world: EngineWorld, disk: str, **counts: int) -> None:
    world.storage.errors[world.path(disk)] = DiskErrors(**counts)


def test_an_rg_that_is_well_is_tended_and_left_alone(mirror: EngineWorld) -> None:
    with mirror.unchanged():
        mirror.rounds(3)
    assert mirror.storage.tended == 3
    assert mirror.told() == []


def test_upkeep_may_use_what_no_host_has_to_wait_for(mirror: EngineWorld) -> None:
    mirror.rounds()
    with mirror.database.session() as session:
        group = session.scalars(select(RaidGroup)).one()
        limits = Limits.of(group.usable - group.reserve)
        assert mirror.storage.spare == limits.spare(mirror.storage.data_use(group.id))
    assert mirror.storage.spare


def test_errors_are_told_once_for_each_growth(mirror: EngineWorld) -> None:
    errors(mirror, "d1", read=2, corruption=1)
    mirror.rounds(3)
    assert mirror.told() == [(Severity.WARNING, "disk-errors", "disk d1")]
    assert mirror.message("disk-errors") == (
        "Disk d1 of RAID group rg1 made 3 errors (read 2, corruption 1 in all): if that goes on, replace it with "
        "“qreplica rg replace rg1 d1 NEW”."
    )
    mirror.restart()
    mirror.rounds()
    errors(mirror, "d1", read=4, corruption=1)
    mirror.rounds(2)
    assert mirror.kinds() == ["disk-errors"] * 2
    assert mirror.row("d1").errors == 5
    assert not mirror.row("d1").failed


@pytest.mark.parametrize("pathless", [False, True])
def test_without_a_spare_a_missing_disk_is_told_of_once_with_what_to_do(mirror: EngineWorld, pathless: bool) -> None:  # noqa: FBT001 - a parameter
    mirror.storage.missing.add(mirror.path("d2"))
    mirror.storage.pathless = pathless
    mirror.rounds(3)
    assert mirror.told() == [(Severity.ERROR, "disk-failed", "disk d2")]
    message = mirror.message("disk-failed")
    assert "Disk d2 of RAID group rg1 is missing" in message
    assert "2 GiB" in message
    assert "“qreplica rg replace rg1 d2 NEW”" in message
    assert (mirror.row("d2").failed, mirror.disks_of()) == (True, ["d1", "d2"])


def test_a_missing_disk_that_comes_back_is_one_of_the_rg_again(mirror: EngineWorld) -> None:
    mirror.storage.missing.add(mirror.path("d2"))
    mirror.rounds()
    mirror.storage.missing.clear()
    mirror.rounds(2)
    assert mirror.kinds() == ["disk-failed", "disk-returned"]
    assert not mirror.row("d2").failed


def test_a_failing_disk_is_replaced_by_the_smallest_sufficient_spare(mirror: EngineWorld) -> None:
    mirror.disk("large", 3 * GIB)
    spare(mirror, "large", "d3", "small")
    errors(mirror, "d2", write=10)
    mirror.rounds(3)
    assert mirror.storage.replacing[mirror.group_id] == (mirror.path("d2"), mirror.path("d3"))
    mirror.storage.finish(mirror.group_id)
    mirror.rounds(2)
    assert mirror.disks_of() == ["d1", "d3"]
    old = mirror.row("d2")
    assert (old.failed, old.raid_group_id, old.spare) == (True, None, False)
    assert mirror.kinds() == ["disk-errors", "disk-failed", "disk-replacement-begun", "disk-replaced"]
    assert [mirror.row(name).spare for name in ("large", "d3", "small")] == [True, False, True]


def test_a_spare_that_comes_later_is_taken_too(mirror: EngineWorld) -> None:
    mirror.storage.missing.add(mirror.path("d2"))
    mirror.rounds(2)
    spare(mirror, "small")
    mirror.rounds()
    assert mirror.disks_of() == ["d1", "d2"]
    spare(mirror, "d3")
    mirror.rounds()
    assert mirror.disks_of() == ["d1", "d2", "d3"]
    assert mirror.kinds() == ["disk-failed", "disk-replacement-begun"]


def test_a_spare_whose_device_is_gone_is_not_taken(mirror: EngineWorld) -> None:
    spare(mirror, "d3")
    mirror.path("d3").unlink()
    mirror.storage.missing.add(mirror.path("d2"))
    mirror.rounds(2)
    assert mirror.disks_of() == ["d1", "d2"]
    assert mirror.row("d3").spare


@pytest.mark.parametrize("error", [DiskInUse(disk="d3", owner="x"), NotADisk(disk="d3", reason="x")])
def test_a_spare_that_the_engine_refuses_is_none_any_more_and_the_next_is_taken(
    mirror: EngineWorld, error: Exception
) -> None:
    mirror.disk("large", 3 * GIB)
    spare(mirror, "d3", "large")
    mirror.storage.missing.add(mirror.path("d2"))
    mirror.fate.places["before replace_disk"] = error
    mirror.rounds()
    assert (mirror.disks_of(), mirror.row("d3").spare) == (["d1", "d2"], False)
    assert mirror.kinds()[-1] == "disk-replacement-refused"
    mirror.rounds()
    assert mirror.disks_of() == ["d1", "d2", "large"]


def test_two_failing_disks_are_replaced_one_after_the_other(mirror: EngineWorld) -> None:
    mirror.disk("d4", 2 * GIB)
    spare(mirror, "d3", "d4")
    errors(mirror, "d1", write=10)
    errors(mirror, "d2", corruption=1000)
    mirror.rounds(2)
    assert mirror.disks_of() == ["d1", "d2", "d3"]
    mirror.storage.finish(mirror.group_id)
    mirror.rounds(2)
    assert mirror.disks_of() == ["d2", "d3", "d4"]
    mirror.storage.finish(mirror.group_id)
    mirror.rounds(2)
    assert mirror.disks_of() == ["d3", "d4"]
    assert mirror.storage.group_status(mirror.group_id).health is GroupHealth.ONLINE


def test_a_disk_that_fails_while_another_is_replaced_waits(mirror: EngineWorld) -> None:
    spare(mirror, "d3")
    mirror.storage.missing.add(mirror.path("d2"))
    mirror.rounds()
    mirror.disk("d4", 2 * GIB)
    spare(mirror, "d4")
    errors(mirror, "d1", write=10)
    mirror.rounds()
    assert mirror.row("d1").failed
    assert mirror.row("d4").spare


@pytest.mark.parametrize(
    "place", ["before tend_group", "after commit", "before stop_scrub", "before replace_disk", "after replace_disk"]
)
@pytest.mark.parametrize("commits", [0, 1, 2])
def test_a_crash_anywhere_ends_in_a_whole_rg_all_the_same(mirror: EngineWorld, place: str, commits: int) -> None:
    spare(mirror, "d3")
    mirror.storage.missing.add(mirror.path("d2"))
    mirror.fate.places[place] = Crash()
    mirror.fate.commits = commits
    with pytest.raises(Crash):
        mirror.rounds()
    mirror.restart()
    mirror.rounds(2)
    assert mirror.storage.replacing[mirror.group_id] == (mirror.path("d2"), mirror.path("d3"))
    mirror.storage.finish(mirror.group_id)
    mirror.rounds()
    assert mirror.disks_of() == ["d1", "d3"]
    assert mirror.kinds().count("disk-failed") == mirror.kinds().count("disk-replaced") == 1


def test_a_new_disk_that_breaks_the_rebuild_leaves_and_the_next_spare_is_taken(mirror: EngineWorld) -> None:
    mirror.disk("d4", 2 * GIB)
    spare(mirror, "d3", "d4")
    mirror.storage.missing.add(mirror.path("d2"))
    mirror.rounds(2)
    errors(mirror, "d3", write=1)
    mirror.rounds()
    mirror.storage.fail_rebuild(mirror.group_id)
    mirror.rounds(2)
    assert mirror.disks_of() == ["d1", "d2", "d4"]
    new = mirror.row("d3")
    assert (new.failed, new.raid_group_id, new.replaces_id) == (True, None, None)
    assert "disk-replacement-failed" in mirror.kinds()


def test_a_replacement_that_is_cut_off_is_told_once_and_begun_again_with_the_same_good_disk(
    mirror: EngineWorld,
) -> None:
    spare(mirror, "d3")
    mirror.storage.missing.add(mirror.path("d2"))
    mirror.rounds(2)
    mirror.storage.fail_rebuild(mirror.group_id)
    mirror.storage.hindered = ReplacementFailed(group="rg1", reason="no room", remedy="it begins again")
    mirror.fate.places["before replace_disk"] = RoomBeingMade(group="rg1")
    for _ in range(2):
        with pytest.raises(RoomBeingMade):
            mirror.rounds()
        mirror.fate.places["before replace_disk"] = RoomBeingMade(group="rg1")
    del mirror.fate.places["before replace_disk"]
    mirror.storage.hindered = None
    mirror.rounds()
    assert mirror.storage.replacing[mirror.group_id] == (mirror.path("d2"), mirror.path("d3"))
    mirror.storage.finish(mirror.group_id)
    mirror.rounds()
    assert mirror.disks_of() == ["d1", "d3"]
    assert not mirror.row("d3").failed
    assert mirror.kinds() == ["disk-failed", "disk-replacement-begun", "replacement-failed", "disk-replaced"]
    assert (
        mirror.message("replacement-failed")
        == "Replacing a disk of RAID group rg1 was cut off (no room): it begins again."
    )


def test_what_hinders_the_driver_is_told_until_it_changes_and_holds_nothing_else_up(mirror: EngineWorld) -> None:
    mirror.storage.hindered = SpreadingFoundNoRoom(group="rg1", minutes=10)
    errors(mirror, "d1", read=1)
    mirror.rounds(3)
    assert mirror.kinds() == ["spreading-found-no-room", "disk-errors"]
    assert "delete snapshots or virtual disks" in mirror.message("spreading-found-no-room")
    mirror.storage.hindered = None
    mirror.rounds()
    mirror.storage.hindered = SpreadingFoundNoRoom(group="rg1", minutes=10)
    mirror.rounds(2)
    assert mirror.kinds().count("spreading-found-no-room") == 2


def test_a_disk_that_fails_while_a_growth_is_spread_is_replaced_meanwhile(mirror: EngineWorld) -> None:
    mirror.disk("d4", 2 * GIB)
    spare(mirror, "d4")
    raid_group_disks.grow(mirror.db, mirror.driver, group="rg1", disk="d3")
    errors(mirror, "d2", write=10)
    mirror.rounds()
    assert mirror.row("d4").spare, "it is not known to be only a growth"
    mirror.storage.spreading = True
    mirror.rounds()
    assert mirror.storage.replacing[mirror.group_id] == (mirror.path("d2"), mirror.path("d4"))


def test_a_disk_is_replaced_on_request_while_a_growth_is_spread(mirror: EngineWorld) -> None:
    mirror.disk("d4", 2 * GIB)
    raid_group_disks.grow(mirror.db, mirror.driver, group="rg1", disk="d3")
    with pytest.raises(RebuildRunning):
        raid_group_disks.replace(mirror.db, mirror.driver, group="rg1", old="d1", new="d4")
    mirror.storage.spreading = True
    raid_group_disks.replace(mirror.db, mirror.driver, group="rg1", old="d1", new="d4")
    assert mirror.storage.replacing[mirror.group_id] == (mirror.path("d1"), mirror.path("d4"))


def test_one_that_waits_for_room_is_begun_by_maintenance(mirror: EngineWorld) -> None:
    mirror.fate.places["before replace_disk"] = RoomBeingMade(group="rg1")
    raid_group_disks.replace(mirror.db, mirror.driver, group="rg1", old="d2", new="d3")
    assert mirror.disks_of() == ["d1", "d2", "d3"]
    mirror.rounds()
    assert mirror.storage.replacing[mirror.group_id] == (mirror.path("d2"), mirror.path("d3"))


def test_what_a_growth_adds_is_not_promised_while_a_disk_is_missing(mirror: EngineWorld) -> None:
    before = mirror.free()
    raid_group_disks.grow(mirror.db, mirror.driver, group="rg1", disk="d3")
    mirror.storage.finish(mirror.group_id)
    mirror.storage.missing.add(mirror.path("d1"))
    mirror.rounds(2)
    assert mirror.free() == before
    mirror.storage.missing.clear()
    mirror.rounds(2)
    assert mirror.free() > before


def test_an_rg_whose_disks_were_away_is_opened_when_they_are_back(mirror: EngineWorld) -> None:
    half_made = mirror.vd("v1")
    with mirror.database.session() as session:
        row = virtual_disks.get(session, "v1")
        row.incomplete = True
    hidden = {name: mirror.path(name).rename(mirror.place / f"away-{name}") for name in ("d1", "d2")}
    mirror.storage.close_group(mirror.group_id)
    with pytest.raises(GroupFailed):
        mirror.maintenance.reopen()
    assert not mirror.maintenance.reopen(), "it is not tried again while nothing changes"
    hidden["d1"].rename(mirror.path("d1"))
    assert mirror.maintenance.reopen()
    assert mirror.storage.group_status(mirror.group_id).health is GroupHealth.ONLINE
    assert half_made not in mirror.storage.list_vds(mirror.group_id), "what was half done is undone as at a start"
    assert mirror.told() == [(Severity.INFO, "rg-opened", "rg rg1")]
    assert not mirror.maintenance.reopen()


def test_opening_is_tried_again_now_and_then(mirror: EngineWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.storage.close_group(mirror.group_id)
    mirror.fate.places["before open_group"] = GroupFailed(group="x", reason="y")
    with pytest.raises(GroupFailed):
        mirror.maintenance.reopen()
    assert not mirror.maintenance.reopen()
    monkeypatch.setattr("qreplica.storage.maintenance._TRY_AGAIN", 0.0)
    assert mirror.maintenance.reopen()


def test_an_rg_that_stopped_writing_is_opened_anew_as_soon_as_nothing_uses_it(mirror: EngineWorld) -> None:
    mirror.storage.stopped_writing = True
    mirror.fate.places["before close_group"] = GroupBusy(group="x")
    with pytest.raises(GroupStoppedWriting, match="RAID group rg1 stopped writing"):
        mirror.maintenance.reopen()
    mirror.storage.stopped_writing = False
    mirror.storage.close_group(mirror.group_id)
    assert mirror.maintenance.reopen()


@pytest.mark.root
def test_an_image_that_comes_back_gets_its_loop_device(mirror: EngineWorld, tmp_path: Path) -> None:
    image = tmp_path / "back.img"
    with image.open("xb") as file:
        file.truncate(512 * MIB)
    with mirror.database.session() as session:
        session.add(Disk(name="i1", device=None, image=str(image), size=512 * MIB))
        session.add(Disk(name="i2", device=None, image=str(tmp_path / "gone.img"), size=512 * MIB))
    mirror.rounds()
    device = mirror.row("i1").device
    assert device is not None
    try:
        assert device.startswith("/dev/loop")
        assert mirror.row("i2").device is None
        mirror.rounds()
        assert mirror.row("i1").device == device
    finally:
        disks.remove(mirror.database, "i1")
