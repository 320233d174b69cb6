"""Recovery points over HTTP: what keeps them, locks, and the retention of a backup VD."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qreplica.state.models import Event, RecoveryPoint

POINTS = "/recovery-points/copy"
RETENTION = "/virtual-disks/copy/retention"
DEFAULT = {"last": 8, "hourly": 0, "daily": 0, "weekly": 0, "monthly": 0}


@pytest.fixture
def stocked(world: Any, admin: Any) -> Any:
    """Give an administrator whose backup VD has three points, one a day, and who has a VD of type RAID too."""
    world.add_disks("d1", "d2")
    admin.call("POST", "/raid-groups", {"name": "rg1", "level": "raid1", "disks": ["d1", "d2"]}, expect=201)
    for name, type_ in (("copy", "BACKUP"), ("payroll", "RAID")):
        body = {"name": name, "raid_group": "rg1", "size": "64MiB", "type": type_}
        admin.call("POST", "/virtual-disks", body, expect=201)
    for generation in (5, 6, 7):
        world.add_point("copy", generation, datetime(2026, 11, 20, 9, 30, tzinfo=UTC) + timedelta(days=generation))
    return admin


def kept(admin: Any) -> dict[int, list[str]]:
    return {one["generation"]: one["kept_by"] for one in admin.call("GET", POINTS)}


def events(world: Any, kind: str) -> list[str]:
    with world.database.session(read_only=True) as session:
        return [event.message for event in session.query(Event).filter_by(kind=kind)]


def test_points_are_listed_with_what_keeps_them(stocked: Any) -> None:
    (first, _, last) = stocked.call("GET", POINTS)
    assert (first["generation"], last["generation"]) == (5, 7)
    assert first == {
        "vd": "copy",
        "name": "recovery-5",
        "generation": 5,
        "job": "5" * 32,
        "committed_at": "2026-11-25T09:30:00.000Z",
        "size": 64 << 20,
        "lock": None,
        "kept_by": ["last"],
    }
    assert stocked.call("GET", f"{POINTS}/5") == stocked.call("GET", f"{POINTS}/recovery-5") == first
    stocked.call("PUT", RETENTION, {"last": 1, "daily": 2})
    assert kept(stocked) == {5: [], 6: ["daily"], 7: ["last", "daily"]}


def test_a_lock_keeps_a_point_its_snapshot_and_its_vd(world: Any, stocked: Any) -> None:
    stocked.call("PUT", RETENTION, {"last": 1})
    locked = stocked.call("PUT", f"{POINTS}/5/lock", {"note": "for the auditors"})
    assert (locked["kept_by"], locked["lock"]["note"], locked["lock"]["locked_by"]) == (
        ["locked"],
        "for the auditors",
        "admin",
    )
    again = stocked.call("PUT", f"{POINTS}/recovery-5/lock", {"note": "until May"})
    assert again["lock"] == {**locked["lock"], "note": "until May"}
    refused = stocked.call("DELETE", "/snapshots/copy/recovery-5", expect=409)
    assert refused["type"].endswith(":snapshot-of-locked-point")
    assert (
        "which admin locked: unlock it first with “qreplica recovery-point unlock copy recovery-5”" in refused["detail"]
    )
    refused = stocked.call("DELETE", "/virtual-disks/copy", expect=409)
    assert refused["type"].endswith(":vd-has-locked-point")
    for _ in range(2):
        stocked.call("DELETE", f"{POINTS}/5/lock", expect=204)
    assert stocked.call("GET", f"{POINTS}/5") == {**locked, "lock": None, "kept_by": []}
    assert stocked.call("DELETE", "/snapshots/copy/recovery-5", expect=409)["type"].endswith(":snapshot-pinned")
    assert [len(events(world, f"recovery-point-{what}")) for what in ("locked", "unlocked")] == [1, 1]
    stocked.call("DELETE", "/virtual-disks/copy", expect=204)
    assert stocked.call("GET", POINTS, expect=404)["type"].endswith(":not-found")


def test_the_retention_is_tried_set_and_taken_back(world: Any, stocked: Any) -> None:
    default = {**DEFAULT, "is_default": True, "keeps": 3, "lets_go": []}
    assert stocked.call("GET", RETENTION) == default
    tried = stocked.call("GET", f"{RETENTION}/preview?last=1&weekly=1")
    assert tried == {
        **DEFAULT,
        "last": 1,
        "weekly": 1,
        "is_default": False,
        "keeps": 1,
        "lets_go": ["recovery-5", "recovery-6"],
    }
    assert stocked.call("GET", RETENTION) == default
    for _ in range(2):
        assert stocked.call("PUT", RETENTION, {"last": 1, "weekly": 1}) == tried
    (told,) = events(world, "retention-set")
    assert "the last 1, and 0 hourly, 0 daily, 1 weekly and 0 monthly ones" in told
    assert len(stocked.call("GET", POINTS)) == 3  # until the next cycle
    for _ in range(2):
        stocked.call("DELETE", RETENTION, expect=204)
    assert stocked.call("GET", RETENTION) == default


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"last": 0}, "last"),
        ({"last": 1001}, "last"),
        ({"last": None}, "last"),
        ({"daily": -1}, "daily"),
        ({"monthly": 1001}, "monthly"),
        ({"yearly": 1}, "yearly"),
    ],
)
def test_what_is_no_retention_is_refused_with_its_place(stocked: Any, body: Any, place: str) -> None:
    refused = stocked.call("PUT", RETENTION, body, expect=422)
    assert [one["place"] for one in refused["places"]] == [f"body.{place}"]
    if body[place] is not None:
        tried = stocked.call("GET", f"{RETENTION}/preview?{place}={body[place]}", expect=422)
        assert [one["place"] for one in tried["places"]] == [f"query.{place}"]
    assert stocked.call("GET", RETENTION)["is_default"]


def test_only_points_that_there_are_and_backup_vds_are_known(world: Any, stocked: Any) -> None:
    assert stocked.call("PUT", f"{POINTS}/8/lock", {}, expect=404)["type"].endswith(":no-such-recovery-point")
    assert stocked.call("PUT", f"{POINTS}/5/lock", {"note": "x" * 257}, expect=422)["places"][0]["place"] == "body.note"
    for path in ("/recovery-points/payroll", "/virtual-disks/payroll/retention"):
        assert stocked.call("GET", path, expect=422)["type"].endswith(":retention-of-raid")
    assert stocked.call("PUT", "/virtual-disks/payroll/retention", DEFAULT, expect=422)["exit_code"] == 2
    with world.database.session() as session:
        session.execute(RecoveryPoint.__table__.update().where(RecoveryPoint.generation == 6).values(job_id="6" * 32))
        session.execute(RecoveryPoint.__table__.update().where(RecoveryPoint.generation == 6).values(generation=7))
    refused = stocked.call("PUT", f"{POINTS}/7/lock", {}, expect=409)
    assert "recovery-6 or recovery-7" in refused["detail"]
    stocked.call("PUT", f"{POINTS}/recovery-6/lock", {})
    assert [one["lock"] is None for one in stocked.call("GET", POINTS)] == [True, False, True]


def test_an_operator_locks_and_an_admin_sets_the_retention(world: Any, stocked: Any) -> None:
    body = {"name": "olaf", "password": "correct horse battery", "role": "operator"}
    stocked.call("POST", "/users", body, expect=201)
    token = stocked.http.post("/api/v1/login", json={"name": "olaf", "password": body["password"]}).json()["token"]
    stocked.http.headers["Authorization"] = f"Bearer {token}"
    assert stocked.call("PUT", f"{POINTS}/5/lock", {})["lock"]["locked_by"] == "olaf"
    assert stocked.call("GET", f"{RETENTION}/preview?last=1")["keeps"] == 2
    for method, sent in (("PUT", DEFAULT), ("DELETE", None)):
        assert stocked.call(method, RETENTION, sent, expect=403)["type"].endswith(":role-too-low")
    stocked.call("DELETE", f"{POINTS}/5/lock", expect=204)
    assert events(world, "retention-set") == []
