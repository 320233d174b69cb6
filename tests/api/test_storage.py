"""Disks, RAID groups, virtual disks and snapshots over HTTP."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qreplica.storage.driver import GroupHealth, GroupStatus
from qreplica.units import GIB, MIB


@pytest.fixture
def group(world: Any, admin: Any) -> Any:
    world.add_disks("d1", "d2")
    return admin.call("POST", "/raid-groups", {"name": "rg1", "level": "raid1", "disks": ["d1", "d2"]}, expect=201)


@pytest.mark.usefixtures("world")
def test_a_raid_group_takes_disks_and_gives_them_back(admin: Any, group: Any) -> None:
    assert group["health"] == "online"
    assert group["usable"] - group["reserve"] == group["free"] > 7 * GIB
    assert [disk["raid_group"] for disk in admin.call("GET", "/disks")] == ["rg1", "rg1"]
    assert admin.call("DELETE", "/disks/d1", expect=409)["type"].endswith("disk-of-group")
    assert admin.call("GET", "/raid-groups") == [admin.call("GET", "/raid-groups/rg1")]
    admin.call("DELETE", "/raid-groups/rg1", expect=204)
    assert admin.call("GET", "/disks/d1")["raid_group"] is None
    assert admin.call("GET", "/raid-groups/rg1", expect=404)["exit_code"] == 3


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"name": "UPPER", "level": "raid1", "disks": ["d1"]}, 422, "not-a-name"),
        ({"name": "rg", "level": "raid1", "disks": ["nope", "d1"]}, 404, "not-found"),
        ({"name": "rg", "level": "raid1", "disks": ["d1"]}, 422, "too-few-disks"),
        ({"name": "rg", "level": "raid1", "disks": ["d1", "d1"]}, 422, "disks-repeated"),
        ({"name": "rg", "level": "raid7", "disks": ["d1"]}, 422, "request-invalid"),
        ({"name": "rg", "level": "raid1"}, 422, "request-invalid"),
    ],
)
def test_a_bad_raid_group_is_refused_and_nothing_is_made(
    world: Any, admin: Any, body: Any, status: int, kind: str
) -> None:
    world.add_disks("d1")
    assert admin.call("POST", "/raid-groups", body, expect=status)["type"] == f"urn:qreplica:error:{kind}"
    assert admin.call("GET", "/raid-groups") == []
    assert admin.call("GET", "/disks/d1")["raid_group"] is None


@pytest.mark.parametrize("size", [2 * GIB, "2GiB", "2048 MiB"])
def test_a_virtual_disk_takes_a_number_of_bytes_or_a_text(admin: Any, group: Any, size: Any) -> None:
    vd = admin.call("POST", "/virtual-disks", {"name": "v", "raid_group": "rg1", "size": size}, expect=201)
    assert (vd["size"], vd["type"], vd["snapshot_used"], vd["luns"]) == (2 * GIB, "RAID", 0, [])
    assert admin.call("GET", "/raid-groups/rg1")["free"] == group["free"] - 2 * GIB


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize(
    ("size", "kind"),
    [
        ("ten", "request-invalid"),
        (-4096, "request-invalid"),
        (2.5, "request-invalid"),
        (True, "request-invalid"),
        (2**63, "request-invalid"),
        (None, "request-invalid"),
        (MIB + 1, "vd-size-invalid"),
        (0, "vd-size-invalid"),
    ],
)
def test_what_is_no_size_is_refused_with_its_place(admin: Any, size: Any, kind: str) -> None:
    body = {"name": "v", "raid_group": "rg1", "size": size}
    problem = admin.call("POST", "/virtual-disks", body, expect=422)
    assert problem["type"].endswith(kind)
    if kind == "request-invalid":
        assert all(place["place"].startswith("body.size") for place in problem["places"])
        assert problem["places"]
    assert admin.call("GET", "/virtual-disks") == []


@pytest.mark.usefixtures("group")
def test_all_wrong_places_are_named_at_once(admin: Any) -> None:
    problem = admin.call("POST", "/virtual-disks", {"name": "", "size": "x", "typ": "RAID"}, expect=422)
    places = {place["place"].split(".int")[0] for place in problem["places"]}
    assert places == {"body.name", "body.raid_group", "body.size", "body.typ"}


def test_a_full_raid_group_refuses_with_both_figures(admin: Any, group: Any) -> None:
    needed = group["free"] // 2 // 4096 * 4096 + 4096
    body = {"name": "v", "raid_group": "rg1", "size": needed, "type": "BACKUP"}
    problem = admin.call("POST", "/virtual-disks", body, expect=507)
    assert (problem["fields"]["needed"], problem["fields"]["free"]) == (2 * needed, group["free"])
    assert problem["exit_code"] == 5
    assert admin.call("GET", "/raid-groups/rg1")["free"] == group["free"]


@pytest.mark.usefixtures("group")
def test_snapshots_are_taken_listed_and_deleted(admin: Any) -> None:
    admin.call("POST", "/virtual-disks", {"name": "v", "raid_group": "rg1", "size": "1GiB"}, expect=201)
    admin.call("POST", "/virtual-disks", {"name": "w", "raid_group": "rg1", "size": "1GiB"}, expect=201)
    wanted = {"vd": "v", "name": "s1"}
    assert admin.call("POST", "/snapshots", wanted, expect=507)["type"].endswith("no-snapshot-space")
    assert admin.call("PATCH", "/virtual-disks/v", {"snapshot_space": "2GiB"})["snapshot_space"] == 2 * GIB
    taken = admin.call("POST", "/snapshots", wanted, expect=201)
    assert (taken["kind"], taken["size"], taken["pinned_by"]) == ("manual", GIB, None)
    at = datetime.fromisoformat(taken["taken_at"])
    assert taken["taken_at"].endswith("Z")
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=5)
    assert admin.call("POST", "/snapshots", wanted, expect=409)["type"].endswith("name-taken")
    assert admin.call("GET", "/snapshots?vd=v") == [taken] == admin.call("GET", "/snapshots")
    assert admin.call("GET", "/snapshots?vd=w") == []
    assert admin.call("GET", "/snapshots?vd=x", expect=404)["fields"]["name"] == "x"
    assert admin.call("GET", "/virtual-disks/v")["snapshots"] == 1
    admin.call("DELETE", "/snapshots/v/s1", expect=204)
    assert admin.call("DELETE", "/snapshots/v/s1", expect=404)["type"].endswith("no-such-snapshot")


@pytest.mark.usefixtures("group")
def test_snapshot_space_beyond_the_group_is_refused(admin: Any) -> None:
    admin.call("POST", "/virtual-disks", {"name": "v", "raid_group": "rg1", "size": "1GiB"}, expect=201)
    admin.call("PATCH", "/virtual-disks/v", {"snapshot_space": "100GiB"}, expect=507)
    assert admin.call("GET", "/virtual-disks/v")["snapshot_space"] == 0


@pytest.mark.usefixtures("group")
def test_an_attached_virtual_disk_is_extended_and_served_so(world: Any, admin: Any) -> None:
    admin.call("POST", "/virtual-disks", {"name": "v", "raid_group": "rg1", "size": "1GiB"}, expect=201)
    admin.call("POST", "/nodes", {"name": "hosts"}, expect=201)
    admin.call("POST", "/luns", {"node": "hosts", "vd": "v"}, expect=201)
    assert admin.call("POST", "/virtual-disks/v/extend", {"size": "1.5GiB"})["size"] == 3 * GIB // 2
    (served,) = world.target.specs.values()
    assert served.luns[0].path.stat().st_size == 3 * GIB // 2
    assert admin.call("GET", "/luns/hosts/1")["size"] == 3 * GIB // 2
    for size, kind, status in (("1GiB", "vd-cannot-shrink", 422), ("1TiB", "group-has-no-room", 507)):
        assert admin.call("POST", "/virtual-disks/v/extend", {"size": size}, expect=status)["type"].endswith(kind)


@pytest.mark.usefixtures("group")
def test_a_virtual_disk_is_renamed_wherever_it_is_shown(admin: Any) -> None:
    made = admin.call("POST", "/virtual-disks", {"name": "v", "raid_group": "rg1", "size": "1GiB"}, expect=201)
    admin.call("POST", "/nodes", {"name": "hosts"}, expect=201)
    admin.call("POST", "/luns", {"node": "hosts", "vd": "v"}, expect=201)
    renamed = admin.call("POST", "/virtual-disks/v/rename", {"name": "payroll"})
    assert {**renamed, "name": "v", "luns": []} == made
    assert admin.call("GET", "/luns/hosts/1")["vd"] == "payroll"
    admin.call("GET", "/virtual-disks/v", expect=404)
    admin.call("POST", "/virtual-disks", {"name": "v", "raid_group": "rg1", "size": "1GiB"}, expect=201)
    problem = admin.call("POST", "/virtual-disks/v/rename", {"name": "payroll"}, expect=409)
    assert problem["type"].endswith("name-taken")


@pytest.mark.usefixtures("group")
def test_a_roll_back_needs_the_word_and_hosts_that_are_gone(world: Any, admin: Any) -> None:
    admin.call("POST", "/virtual-disks", {"name": "v", "raid_group": "rg1", "size": "1MiB"}, expect=201)
    admin.call("PATCH", "/virtual-disks/v", {"snapshot_space": "8MiB"})
    iqn = admin.call("POST", "/nodes", {"name": "hosts"}, expect=201)["iqn"]
    admin.call("POST", "/luns", {"node": "hosts", "vd": "v"}, expect=201)
    live = world.target.specs[iqn].luns[0].path
    live.write_bytes(b"a" * MIB)
    admin.call("POST", "/snapshots", {"vd": "v", "name": "s1"}, expect=201)
    live.write_bytes(b"a" * (MIB - 8192) + b"b" * 8192)
    loss = admin.call("GET", "/snapshots/v/s1/roll-back")
    assert (loss["vd"], loss["snapshot"], loss["changed"]) == ("v", "s1", 8192)
    problem = admin.call("POST", "/snapshots/v/s1/roll-back", {}, expect=409)
    assert problem["type"].endswith("roll-back-not-confirmed")
    assert "8 KiB" in problem["detail"]
    world.target.log_in(iqn, "iqn.1993-08.org.debian:01:a")
    problem = admin.call("POST", "/snapshots/v/s1/roll-back", {"confirm": "v"}, expect=409)
    assert problem["type"].endswith("vd-has-hosts")
    assert problem["fields"] == {"vd": "v", "hosts": "iqn.1993-08.org.debian:01:a", "node": "hosts", "lun": 1}
    assert live.read_bytes().endswith(b"b")
    admin.call("DELETE", "/luns/hosts/1", expect=204)
    done = admin.call("POST", "/snapshots/v/s1/roll-back", {"confirm": "v"})
    admin.call("POST", "/luns", {"node": "hosts", "vd": "v"}, expect=201)
    assert world.target.specs[iqn].luns[0].path.read_bytes() == b"a" * MIB
    assert [one["name"] for one in admin.call("GET", "/snapshots?vd=v")] == ["s1", done["kept"]]
    assert admin.call("GET", "/events")[0]["kind"] == "vd-rolled-back"


@pytest.mark.usefixtures("group")
def test_automatic_snapshots_are_scheduled_and_shown(admin: Any) -> None:
    admin.call("POST", "/virtual-disks", {"name": "v", "raid_group": "rg1", "size": "1MiB"}, expect=201)
    wanted = {"every_minutes": 90, "keep": 4}
    place = "/virtual-disks/v/automatic-snapshots"
    assert admin.call("PUT", place, wanted, expect=507)["type"].endswith("no-snapshot-space")
    admin.call("PATCH", "/virtual-disks/v", {"snapshot_space": "8MiB"})
    vd = admin.call("PUT", place, wanted)
    assert (vd["snapshot_minutes"], vd["snapshots_kept"]) == (90, 4)
    assert admin.call("PUT", place, {**wanted, "keep": 0}, expect=422)["type"].endswith("schedule-invalid")
    assert admin.call("PUT", place, {"keep": 4}, expect=422)["type"].endswith("request-invalid")
    assert admin.call("PUT", place, {"every_minutes": None})["snapshot_minutes"] is None


@pytest.mark.usefixtures("group")
def test_whoever_asks_again_and_again_has_nothing_counted_anew(
    world: Any, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.call("POST", "/virtual-disks", {"name": "v", "raid_group": "rg1", "size": "1GiB"}, expect=201)
    asked: list[bool] = []
    space_used = world.storage.space_used

    def noting(group: str, vd: str, *, settled: bool = True) -> Any:
        asked.append(settled)
        return space_used(group, vd, settled=settled)

    monkeypatch.setattr(world.storage, "space_used", noting)
    for path in ("/virtual-disks", "/virtual-disks/v"):
        admin.call("GET", path)
        admin.call("GET", f"{path}?settled=false")
    admin.http.get("/metrics")
    assert asked == [True, False, True, False, False]


@pytest.mark.usefixtures("group")
def test_what_snapshots_use_is_told_during_a_rebuild_too(
    world: Any, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.call("POST", "/virtual-disks", {"name": "v", "raid_group": "rg1", "size": "1GiB"}, expect=201)
    status = world.storage.group_status

    def rebuilding(group: str) -> GroupStatus:
        return replace(status(group), health=GroupHealth.REBUILDING, rebuilt=0.5)

    monkeypatch.setattr(world.storage, "group_status", rebuilding)
    assert admin.call("GET", "/virtual-disks/v")["snapshot_used"] == 0


def test_a_virtual_disk_of_a_closed_group_is_still_shown(world: Any, admin: Any, group: Any) -> None:
    admin.call("POST", "/virtual-disks", {"name": "v", "raid_group": "rg1", "size": "1GiB"}, expect=201)
    world.storage.close_group(group["id"])
    assert admin.call("GET", "/virtual-disks/v")["snapshot_used"] is None
    assert admin.call("GET", "/raid-groups/rg1")["health"] == "closed"
    assert "qreplica_vd_snapshot_used_bytes{" not in admin.http.get("/metrics").text


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"name": "d"}, "disk-source-invalid"),
        ({"name": "d", "device": "/dev/null"}, "path-invalid"),
        ({"name": "d", "image": "relative"}, "path-invalid"),
        ({"name": "d", "image": "/nowhere/at/all.img", "size": "1GiB"}, "path-invalid"),
        ({"name": "d", "image": "/nowhere/at/all.img", "size": "1MiB"}, "disk-too-small"),
    ],
)
def test_a_disk_that_cannot_be_is_refused(admin: Any, body: Any, kind: str) -> None:
    assert admin.call("POST", "/disks", body, expect=422)["type"].endswith(kind)
    assert admin.call("GET", "/disks") == []


@pytest.mark.root
def test_an_image_becomes_a_disk_on_a_loop_device(world: Any, admin: Any) -> None:
    image = world.directory / "disk.img"
    disk = admin.call("POST", "/disks", {"name": "d", "image": str(image), "size": "1GiB"}, expect=201)
    try:
        assert (disk["size"], disk["image"]) == (GIB, str(image))
        assert disk["device"].startswith("/dev/loop")
    finally:
        admin.call("DELETE", "/disks/d", expect=204)
    assert image.stat().st_size == GIB
