"""The license over HTTP: what needs one, how it is uploaded, and that both controllers restart."""

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from qreplica.license.reading import LIMIT
from qreplica.state.models import Controller, Job, JobState, now

#: What of the jobs needs no license: it shows, stops, or takes away.
FREE = {
    ("GET", "/jobs"),
    ("GET", "/jobs/{name}"),
    ("DELETE", "/jobs/{name}"),
    ("GET", "/jobs/{name}/cycles"),
    ("GET", "/jobs/{name}/history"),
    ("GET", "/jobs/{name}/verification"),
    ("DELETE", "/jobs/{name}/verification"),
    ("PUT", "/jobs/{name}/verification/schedule"),
    ("GET", "/jobs/{name}/failover"),
    ("DELETE", "/jobs/{name}/failover"),
    ("GET", "/jobs/{name}/give-way"),
    ("POST", "/jobs/{name}/give-way"),
    ("POST", "/jobs/{name}/stop"),
    ("POST", "/jobs/{name}/pause"),
    ("GET", "/jobs/{name}/schedule"),
    ("GET", "/jobs/{name}/schedule/preview"),
    ("DELETE", "/jobs/{name}/schedule"),
    ("GET", "/jobs/{name}/bandwidth"),
    ("PUT", "/jobs/{name}/bandwidth"),
    ("DELETE", "/jobs/{name}/bandwidth"),
    ("GET", "/jobs/{name}/rpo"),
    ("PUT", "/jobs/{name}/rpo"),
    ("DELETE", "/jobs/{name}/rpo"),
    ("DELETE", "/jobs/{name}/paths/{address}/{port}"),
}


@pytest.fixture
def unlicensed(tmp_path: Path, world: Any) -> Iterator[tuple[Any, Any]]:
    """A subsystem without a license, and its administrator."""
    worlds = sys.modules[type(world).__module__]
    made = worlds.World(tmp_path / "unlicensed", licensed=False)
    with worlds.served(made.app) as port:
        admin = worlds.Administrator(port)
        admin.set_up(made)
        yield made, admin
        admin.http.close()
    made.close()


def upload(admin: Any, content: bytes, expect: int = 200) -> Any:
    answer = admin.http.post("/api/v1/license", content=content)
    assert answer.status_code == expect, answer.text
    return answer.json()


def test_every_operation_of_jobs_needs_a_license_but_those_that_are_listed(unlicensed: tuple[Any, Any]) -> None:
    world, admin = unlicensed
    paths = world.app.openapi()["paths"]
    seen = set()
    for path in (one for one in paths if one.startswith("/api/v1/jobs")):
        for method in paths[path]:
            short = path.removeprefix("/api/v1")
            called = re.sub(r"\{(\w+)\}", lambda match: "1" if match[1] == "port" else "anything", path)
            answer = admin.http.request(method, called)
            if (method.upper(), short) in FREE:
                assert answer.status_code in {200, 404, 422}, (method, path, answer.text)
            else:
                assert answer.status_code == 403, (method, path, answer.text)
                assert answer.json()["type"] == "urn:qreplica:error:not-licensed"
                assert "403" in paths[path][method]["responses"]
            seen.add((method.upper(), short))
    assert seen >= FREE
    assert len(seen - FREE) >= 5


def test_a_license_is_uploaded_and_needs_a_restart(unlicensed: tuple[Any, Any]) -> None:
    world, admin = unlicensed
    before = admin.call("GET", "/license")
    serial = admin.call("GET", "/subsystem")["serial"]
    assert (before["state"], before["serial"], before["license"]) == ("none", serial, None)
    refused = admin.call("POST", "/jobs/any/start", expect=403)
    assert (refused["exit_code"], refused["title"]) == (11, "No license is in force")
    assert serial in refused["detail"]
    answer = upload(admin, world.vendor.license(serial, days=10))
    assert answer == admin.call("GET", "/license")
    assert answer["state"] == "needs-restart"
    assert answer["message"].startswith("The license key is activated on the subsystem: restart the subsystem")
    assert answer["license"]["licensee"] == "The lab"
    assert answer["controllers"] == [{"number": 1, "in_force": False, "restart_needed": True}]
    assert admin.call("POST", "/jobs/any/start", expect=403)["type"].endswith("license-needs-restart")
    world.licensing.begin()
    assert admin.call("GET", "/license")["state"] == "in-force"
    assert admin.call("POST", "/jobs/any/start", expect=404)["type"].endswith("not-found")
    (event,) = admin.call("GET", "/events?subject=license")
    assert (event["kind"], event["controller"]) == ("license-activated", 1)


def test_bad_files_are_refused_by_name_and_change_nothing(unlicensed: tuple[Any, Any]) -> None:
    world, admin = unlicensed
    good = world.vendor.license(world.licensing.status().serial)
    other = world.vendor.license("QR-0000-0000-0000")
    for content, status, kind in (
        (b"", 422, "not-a-license"),
        (b"\xff" * 100, 422, "not-a-license"),
        (b"{}", 422, "not-a-license"),
        (good[:-1], 422, "license-truncated"),
        (good.replace(b"The lab", b"The Lab"), 422, "license-altered"),
        (good.replace(b"{", b'{"id": 1,', 1).replace(b'"version"', b'"id": 2, "version"'), 422, "license-repeats"),
        (good + b" " * LIMIT, 413, "license-too-large"),
        (good + b" " * (64 * 1024), 413, "request-too-large"),
        (other, 422, "license-of-another-subsystem"),
    ):
        assert upload(admin, content, status)["type"] == f"urn:qreplica:error:{kind}"
    assert admin.call("GET", "/license")["state"] == "none"
    assert admin.call("GET", "/events?subject=license") == []


def test_one_that_is_signed_by_nobody_known_is_refused(unlicensed: tuple[Any, Any], world: Any, admin: Any) -> None:
    theirs, their_admin = unlicensed
    file = world.vendor.license(theirs.licensing.status().serial)
    assert upload(their_admin, file, 422)["type"].endswith("license-of-another-vendor")
    assert admin.call("GET", "/license")["state"] == "in-force"


def test_an_expired_license_lets_a_cycle_end_and_no_other_begin(world: Any, admin: Any) -> None:
    world.add_disks("d1")
    admin.call("POST", "/raid-groups", {"name": "rg1", "level": "jbod", "disks": ["d1"]}, expect=201)
    admin.call("POST", "/virtual-disks", {"name": "v", "raid_group": "rg1", "size": "1GiB"}, expect=201)
    upload(admin, world.vendor.license(world.licensing.status().serial, days=20))
    world.licensing.begin()
    world.add_job("j", "v")
    assert admin.call("POST", "/jobs/j/start", expect=202)["unlicensed"] is None
    world.now = datetime.now(UTC) + timedelta(days=21)
    world.licensing.tell()
    job = admin.call("GET", "/jobs/j")
    assert (job["state"], job["error"]) == ("running", None)
    assert "cycles that run are finished and no other begins" in job["unlicensed"]
    assert admin.call("GET", "/jobs") == [job]
    told, *_ = admin.call("GET", "/events?subject=license")
    assert (told["kind"], told["severity"]) == ("license-expired", "error")
    admin.call("POST", "/jobs/j/stop", expect=202)
    with world.database.session() as session:
        session.query(Job).one().state = JobState.STOPPED
    assert admin.call("POST", "/jobs/j/start", expect=403)["type"].endswith("license-ran-out")
    admin.call("DELETE", "/jobs/j", expect=204)
    assert admin.call("GET", "/license")["state"] == "expired"


def test_restarts_are_asked_for_once_and_only_of_controllers_that_run(world: Any, admin: Any) -> None:
    problem = admin.call("POST", "/controllers/2/restart", expect=409)
    assert problem["type"].endswith("controller-not-running")
    (one,) = admin.call("POST", "/controllers/1/restart", expect=202)
    assert one["restarting"] is True
    with world.database.session() as session:
        session.add(Controller(number=2, heartbeat_at=now()))
    both = admin.call("POST", "/subsystem/restart", expect=202)
    assert [controller["restarting"] for controller in both] == [True, True]
    with world.database.session(read_only=True) as session:
        asked = [row.restarts_asked for row in session.query(Controller).order_by(Controller.number)]
    assert asked == [1, 1]
    kinds = [event["kind"] for event in admin.call("GET", "/events")]
    assert kinds.count("restart-asked") == 2
