"""An RG's disks, rebuilds, scrubs and spares over HTTP."""

import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qreplica.state.models import MaintenanceLease
from qreplica.storage.driver import DiskErrors
from qreplica.storage.maintenance import Maintenance
from qreplica.units import GIB


def _load(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


worlds = _load("qreplica_worlds_of_maintenance", Path(__file__).with_name("world.py"))
engines = _load("qreplica_engines_of_api", Path(__file__).parents[1] / "storage" / "services" / "engine.py")


@pytest.fixture
def world() -> Iterator[Any]:
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="qreplica-test-", dir=memory) as directory:
        made = worlds.World(Path(directory) / "source", storage=engines.Engine)
        made.add_disks("d1", "d2", "d3")
        yield made
        made.close()


@pytest.fixture
def group(admin: Any) -> Any:
    return admin.call("POST", "/raid-groups", {"name": "rg1", "level": "raid1", "disks": ["d1", "d2"]}, expect=201)


def maintain(world: Any, group: Any) -> None:
    Maintenance(world.database, world.storage, group["id"], controller=1).round()


def shown(admin: Any) -> Any:
    return admin.call("GET", "/raid-groups/rg1")


def metrics(admin: Any) -> set[str]:
    return set(admin.http.get("/metrics").text.splitlines())


@pytest.mark.usefixtures("world")
def test_an_rg_shows_its_disks_and_that_it_was_never_scrubbed(admin: Any, group: Any) -> None:
    none = {"read": 0, "write": 0, "flush": 0, "corruption": 0, "generation": 0}
    assert group["members"] == [
        {"name": name, "size": 10 * GIB, "state": "online", "replaces": None, "errors": none} for name in ("d1", "d2")
    ]
    facts = ("health", "rebuilt_percent", "scrub", "scrub_days", "maintained_by", "warnings")
    assert [group[fact] for fact in facts] == ["online", None, None, 30, None, []]
    assert group["next_scrub_at"] > group["created_at"]
    assert admin.call("GET", "/raid-groups/rg1/scrubs") == []
    assert 'qreplica_raid_group_health{health="online",raid_group="rg1"} 1.0' in metrics(admin)


def test_a_disk_is_replaced_and_the_way_is_shown(world: Any, admin: Any, group: Any) -> None:
    world.storage.errors[world.directory / "d2"] = DiskErrors(write=12, corruption=1)
    world.storage.missing.add(world.directory / "d1")
    before = shown(admin)
    assert (before["health"], before["missing_disks"]) == ("degraded", 1)
    assert [one["state"] for one in before["members"]] == ["missing", "online"]
    assert before["members"][1]["errors"]["write"] == 12
    world.storage.missing.clear()
    begun = admin.call("POST", "/raid-groups/rg1/replace", {"old": "d2", "new": "d3"})
    assert (begun["health"], begun["rebuilt_percent"]) == ("rebuilding", 25.0)
    assert [(one["name"], one["state"], one["replaces"]) for one in begun["members"]] == [
        ("d1", "online", None),
        ("d2", "online", None),
        ("d3", "rebuilding", "d2"),
    ]
    assert {
        'qreplica_raid_group_health{health="rebuilding",raid_group="rg1"} 1.0',
        'qreplica_raid_group_health{health="online",raid_group="rg1"} 0.0',
        'qreplica_raid_group_rebuilt_percent{raid_group="rg1"} 25.0',
        'qreplica_disk_errors{disk="d2",error="write",raid_group="rg1"} 12.0',
    } <= metrics(admin)
    world.storage.finish(group["id"])
    maintain(world, group)
    after = shown(admin)
    assert (after["health"], after["disks"], after["rebuilt_percent"]) == ("online", ["d1", "d3"], None)
    assert admin.call("GET", "/disks/d2")["raid_group"] is None


@pytest.mark.usefixtures("world", "group")
@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("replace", {"old": "d2", "new": "d2"}, 409, "disk-of-group"),
        ("replace", {"old": "d3", "new": "d3"}, 422, "disk-not-of-group"),
        ("replace", {"old": "d2", "new": "d9"}, 404, "not-found"),
        ("replace", {"old": "d2"}, 422, "request-invalid"),
        ("grow", {"disk": "d1"}, 409, "disk-of-group"),
        ("grow", {"disk": "d9"}, 404, "not-found"),
    ],
)
def test_what_cannot_be_is_a_problem_and_changes_nothing(
    admin: Any, path: str, body: Any, status: int, kind: str
) -> None:
    before = shown(admin)
    assert admin.call("POST", f"/raid-groups/rg1/{path}", body, expect=status)["type"].endswith(kind)
    assert shown(admin) == before


def test_an_rg_grows(world: Any, admin: Any, group: Any) -> None:
    begun = admin.call("POST", "/raid-groups/rg1/grow", {"disk": "d3"})
    assert (begun["health"], begun["disks"], begun["free"]) == ("rebuilding", ["d1", "d2", "d3"], group["free"])
    world.storage.finish(group["id"])
    maintain(world, group)
    assert shown(admin)["free"] > group["free"]


def test_a_scrub_is_started_shown_and_stopped(world: Any, admin: Any, group: Any) -> None:
    begun = admin.call("POST", "/raid-groups/rg1/scrub/start")
    assert (begun["scrub"]["running"], begun["scrub"]["percent"], begun["scrub"]["outcome"]) == (True, 50.0, None)
    assert 'qreplica_scrub_percent{raid_group="rg1"} 50.0' in metrics(admin)
    world.storage.end_scrub(group["id"], corrected=2, checked=GIB)
    maintain(world, group)
    ended = shown(admin)["scrub"]
    assert (ended["running"], ended["percent"], ended["outcome"]) == (False, None, "clean")
    assert (ended["corrected"], ended["checked"], ended["uncorrectable"]) == (2, GIB, 0)
    assert {
        'qreplica_scrub_outcome{outcome="clean",raid_group="rg1"} 1.0',
        'qreplica_scrub_corrected_errors{raid_group="rg1"} 2.0',
    } <= metrics(admin)
    admin.call("POST", "/raid-groups/rg1/scrub/start")
    assert admin.call("POST", "/raid-groups/rg1/scrub/stop")["scrub"]["outcome"] == "interrupted"
    admin.call("POST", "/raid-groups/rg1/scrub/stop")
    outcomes = [one["outcome"] for one in admin.call("GET", "/raid-groups/rg1/scrubs")]
    assert outcomes == ["interrupted", "clean"]
    severities = {event["kind"]: event["severity"] for event in admin.call("GET", "/events")}
    assert (severities["scrub-clean"], severities["scrub-interrupted"]) == ("warning", "warning")


@pytest.mark.usefixtures("world", "group")
def test_the_schedule_is_set_and_taken_away(admin: Any) -> None:
    assert admin.call("PATCH", "/raid-groups/rg1", {"scrub_days": 7})["scrub_days"] == 7
    changed = admin.call("PATCH", "/raid-groups/rg1", {"scrub_days": None})
    assert (changed["scrub_days"], changed["next_scrub_at"]) == (None, None)
    for bad, kind in ((0, "scrub-days-invalid"), ("x", "request-invalid")):
        answer = admin.call("PATCH", "/raid-groups/rg1", {"scrub_days": bad}, expect=422)
        assert answer["type"].endswith(kind)
    admin.call("PATCH", "/raid-groups/rg1", {}, expect=422)


@pytest.mark.usefixtures("group")
def test_a_spare_takes_the_place_of_a_disk_that_failed(world: Any, admin: Any, group: Any) -> None:
    assert admin.call("PATCH", "/disks/d3", {"spare": True})["spare"] is True
    assert admin.call("PATCH", "/disks/d1", {"spare": True}, expect=409)["type"].endswith("disk-of-group")
    world.storage.missing.add(world.directory / "d2")
    maintain(world, group)
    assert [one["replaces"] for one in shown(admin)["members"]] == [None, None, "d2"]
    world.storage.finish(group["id"])
    maintain(world, group)
    gone = admin.call("GET", "/disks/d2")
    assert (gone["failed"], gone["spare"], gone["raid_group"]) == (True, False, None)
    answer = admin.call("PATCH", "/disks/d2", {"spare": True}, expect=409)
    assert "remove it with “qreplica disk delete” and add it anew" in answer["detail"]


def test_a_closed_rg_shows_what_is_known(world: Any, admin: Any, group: Any) -> None:
    world.storage.close_group(group["id"])
    closed = shown(admin)
    assert closed["health"] == "closed"
    assert [(one["state"], one["errors"]) for one in closed["members"]] == [("unknown", None)] * 2
    assert admin.call("POST", "/raid-groups/rg1/scrub/start", expect=500)["type"].endswith("group-closed")
    assert not any(line.startswith("qreplica_disk_errors{") for line in metrics(admin))


def test_who_maintains_it_is_shown(world: Any, admin: Any, group: Any) -> None:
    with world.database.session() as session:
        session.add(MaintenanceLease(raid_group_id=group["id"], controller=2))
    assert shown(admin)["maintained_by"] == 2
    admin.call("POST", "/virtual-disks", {"name": "v", "raid_group": "rg1", "size": "1MiB"}, expect=201)
    assert admin.call("GET", "/virtual-disks/v")["owner"] == 2
    assert 'qreplica_vd_owner{type="RAID",vd="v"} 2.0' in metrics(admin)
    with world.database.session() as session:
        session.get_one(MaintenanceLease, group["id"]).controller = 0
    assert shown(admin)["maintained_by"] is None
    assert admin.call("GET", "/virtual-disks/v")["owner"] is None
    assert 'qreplica_vd_owner{type="RAID",vd="v"} 0.0' in metrics(admin)


@pytest.mark.parametrize("level", ["raid5", "raid6"])
def test_raid_5_and_6_are_made_and_warned_of(world: Any, admin: Any, level: str) -> None:
    world.add_disks("d4")
    body = {"name": "rg5", "level": level, "disks": ["d1", "d2", "d3", "d4"]}
    made = admin.call("POST", "/raid-groups", body, expect=201)
    (warning,) = made["warnings"]
    assert "write hole" in warning
    assert admin.call("GET", "/raid-groups")[0]["warnings"] == [warning]
