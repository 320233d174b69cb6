"""Replication jobs over HTTP, against a target that answers the peer conversation for real."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from qreplica.iscsi.target.errors import TargetDaemonDown
from qreplica.replication import creation
from qreplica.state.models import Cycle, CycleKind, Job, JobState, Outcome, PathState, Snapshot, SnapshotKind, Step, now
from qreplica.state.plain_models import PlainTarget
from qreplica.units import GIB, MIB

CHAP = {"chap_user": "replica", "chap_secret": "twelve-or-more"}


@pytest.fixture
def source_vd(world: Any, admin: Any) -> Any:
    world.add_disks("d1")
    admin.call("POST", "/raid-groups", {"name": "rg1", "level": "jbod", "disks": ["d1"]}, expect=201)
    return admin.call("POST", "/virtual-disks", {"name": "v", "raid_group": "rg1", "size": "1GiB"}, expect=201)


@pytest.fixture
def target(world: Any, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Give what a request says to name a target's node with a backup VD at LUN 1."""
    from_class = type(world)
    made = from_class(tmp_path / "target", "target")
    with worlds_of(world).served(made.app) as port:
        admin = worlds_of(world).Administrator(port)
        admin.set_up(made)
        made.add_disks("d1")
        admin.call("POST", "/raid-groups", {"name": "rg1", "level": "jbod", "disks": ["d1"]}, expect=201)
        body = {"name": "copy", "raid_group": "rg1", "size": "1GiB", "type": "BACKUP"}
        admin.call("POST", "/virtual-disks", body, expect=201)
        node = admin.call("POST", "/nodes", {"name": "backups", **CHAP}, expect=201)
        admin.call("POST", "/luns", {"node": "backups", "vd": "copy"}, expect=201)
        admin.http.close()
    with worlds_of(world).served(made.peer_app()) as port:
        yield {"address": "127.0.0.1", "peer_port": port, "node": node["iqn"], **CHAP}
    made.close()


def worlds_of(world: Any) -> Any:
    return sys.modules[type(world).__module__]


def test_the_wizard_finds_nodes_and_backup_vds(admin: Any, target: dict[str, Any]) -> None:
    where = {key: target[key] for key in ("address", "peer_port")}
    assert admin.call("POST", "/jobs/discover", where) == {
        "subsystem": "target",
        "controller": 1,
        "nodes": [{"iqn": target["node"], "chap": True, "backup_vds": 1, "qualifies": True, "reason": None}],
    }
    offered = admin.call("POST", "/jobs/backup-vds", target)
    vd = {"lun": 1, "name": "copy", "type": "BACKUP", "size": GIB, "claimed": False, "continues": None}
    assert offered["vds"] == [{**vd, "qualifies": True, "reason": None}]


@pytest.mark.usefixtures("source_vd")
def test_the_wizard_tells_what_qualifies_and_why_the_rest_does_not(
    admin: Any, target: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.call("PUT", "/qreplica/configuration", {"ratio": 0.5})
    admin.call("POST", "/virtual-disks", {"name": "large", "raid_group": "rg1", "size": "2GiB"}, expect=201)
    (large, v) = admin.call("GET", "/qreplica/source-vds")
    assert (v["name"], v["qualifies"], v["reason"], v["space_to_give"]) == ("v", True, None, GIB // 2)
    (vd,) = admin.call("POST", "/jobs/backup-vds", {**target, "source_vd": "large"})["vds"]
    too_small = admin.call("POST", "/jobs", {"name": "j", "source_vd": "large", "lun": 1, **target}, expect=422)
    assert (vd["qualifies"], vd["reason"]) == (False, too_small["detail"])
    assert "has 1 GiB and the source VD needs 2 GiB" in vd["reason"]
    monkeypatch.setattr(creation, "_log_on", lambda *_: None)
    made = admin.call("POST", "/jobs", {"name": "j", "comment": "c", "source_vd": "v", "lun": 1, **target}, expect=201)
    assert (made["comment"], made["queued"]) == ("c", None)
    (large, v) = admin.call("GET", "/qreplica/source-vds")
    assert large["qualifies"]
    refused = admin.call("POST", "/jobs", {"name": "k", "source_vd": "v", "lun": 1, **target}, expect=409)
    assert v["reason"] == refused["detail"]
    assert "is the source of replication job “j” already" in v["reason"]
    # Another job cannot log on to the node a second time, and a further path of this one can.
    where = {key: target[key] for key in ("address", "peer_port")}
    (node,) = admin.call("POST", "/jobs/discover", where)["nodes"]
    (vd,) = admin.call("POST", "/jobs/backup-vds", {**target, "source_vd": "large"})["vds"]
    refused = admin.call("POST", "/jobs", {"name": "k", "source_vd": "large", "lun": 1, **target}, expect=409)
    assert node["reason"] == vd["reason"] == refused["detail"]
    assert "does not log on to the same node twice" in node["reason"]
    (node,) = admin.call("POST", "/jobs/discover", {**where, "job": "j"})["nodes"]
    (vd,) = admin.call("POST", "/jobs/backup-vds", {**target, "job": "j"})["vds"]
    assert (node["reason"], vd["reason"]) == (None, None)
    admin.call("POST", "/jobs/discover", {**where, "job": "nope"}, expect=404)
    admin.call("POST", "/jobs/backup-vds", {**target, "source_vd": "nope"}, expect=404)
    # The steps left no trace here, and no secret anywhere.
    assert [job["name"] for job in admin.call("GET", "/jobs")] == ["j"]
    seen = [admin.http.get(f"/api/v1{path}").text for path in ("/events", "/audit", "/jobs")]
    assert not any(target["chap_secret"] in text for text in seen)


@pytest.mark.usefixtures("source_vd")
def test_a_job_is_edited(admin: Any, target: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creation, "_log_on", lambda *_: None)
    admin.call("POST", "/jobs", {"name": "j", "source_vd": "v", "lun": 1, **target}, expect=201)
    assert admin.call("PATCH", "/jobs/j", {"name": "k", "comment": "c"})["comment"] == "c"
    job = admin.call("GET", "/jobs/k")
    admin.call("GET", "/jobs/j", expect=404)
    there = {"address": "127.0.0.1", "port": 3260, "new_port": 3270}
    (path,) = admin.call("PATCH", "/jobs/k", {"paths": [there]})["paths"]
    assert (path["address"], path["port"], path["peer_port"]) == ("127.0.0.1", 3270, target["peer_port"])
    secret = "wrong-wrong-wrong"
    for body, status, kind in (
        ({"chap_secret": secret}, 401, "wrong-chap"),
        ({"chap_user": "x"}, 401, "wrong-chap"),
        ({"chap_secret": None}, 422, "chap-incomplete"),
        ({"paths": [there]}, 404, "path-missing"),
        ({"paths": [{"address": "127.0.0.1", "port": 3270, "new_peer_port": 1}]}, 502, "peer-unreachable"),
        ({"name": "No Name"}, 422, "not-a-name"),
        ({"comment": "a\nb"}, 422, "request-invalid"),
        ({"comment": "x" * 257}, 422, "request-invalid"),
        ({"lun": 2}, 422, "request-invalid"),
    ):
        assert admin.call("PATCH", "/jobs/k", body, expect=status)["type"] == f"urn:qreplica:error:{kind}", body
    assert admin.call("GET", "/jobs/k") == {**job, "paths": [path]}
    events = admin.call("GET", "/events")
    assert [one["subject"] for one in events if one["kind"] == "job-edited"] == ["job k", "job k"]
    audit = admin.http.get("/api/v1/audit").text
    assert '"edit_job"' in audit
    assert secret not in audit
    admin.call("POST", "/jobs/k/start", expect=202)
    assert admin.call("PATCH", "/jobs/k", {"chap_secret": secret}, expect=409)["type"].endswith("job-running")
    assert admin.call("PATCH", "/jobs/k", {"comment": ""})["comment"] == ""


@pytest.mark.usefixtures("source_vd")
def test_what_is_started_beyond_the_limit_is_queued(world: Any, admin: Any) -> None:
    admin.call("PUT", "/qreplica/configuration", {"running_jobs": 1})
    for name in ("a", "b", "c"):
        world.add_job(name, "v")
        admin.call("POST", f"/jobs/{name}/start", expect=202)
    shown = {job["name"]: job for job in admin.call("GET", "/jobs")}
    assert [job["state"] for job in shown.values()] == ["running", "queued", "queued"]
    assert shown["a"]["queued"] is None
    sentence = "place 1: waiting for 1 running job; limit 1"
    assert shown["b"]["queued"] == {"place": 1, "running": 1, "limit": 1, "sentence": sentence}
    assert shown["b"]["cycle"] is None
    assert 'qreplica_job_state{replication_job="b",state="queued"} 1.0' in admin.http.get("/metrics").text
    assert admin.call("POST", "/jobs/b/stop", expect=202)["state"] == "stopped"
    assert admin.call("POST", "/jobs/c/pause", expect=202)["state"] == "stopped"
    assert admin.call("POST", "/jobs/c/resume", expect=202)["queued"]["place"] == 1
    admin.call("DELETE", "/jobs/c", expect=409)


@pytest.mark.usefixtures("source_vd")
def test_a_job_is_made_started_stopped_and_deleted(
    world: Any, admin: Any, target: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No target daemon serves the node here: the log-on of the wizard's end is shown with real ones elsewhere.
    monkeypatch.setattr(creation, "_log_on", lambda *_: None)
    job = admin.call("POST", "/jobs", {"name": "j", "source_vd": "v", "lun": 1, **target}, expect=201)
    assert (job["state"], job["target_vd"], job["target_subsystem"], job["cycle"]) == ("idle", "copy", "target", None)
    assert (job["lag_seconds"], job["error"]) == (None, None)
    assert admin.call("GET", "/virtual-disks/v")["snapshot_space"] == 2 * GIB
    assert admin.call("GET", "/jobs") == [job]
    assert admin.call("GET", "/jobs/j/cycles") == []
    running = admin.call("POST", "/jobs/j/start", expect=202)
    assert (running["state"], running["cycle"]["generation"], running["cycle"]["step"]) == ("running", 1, "snapshot")
    assert world.workers.woken.acquire(blocking=False)
    assert admin.call("POST", "/jobs/j/start", expect=409)["type"].endswith("job-running")
    assert admin.call("DELETE", "/jobs/j", expect=409)["type"].endswith("job-running")
    assert admin.call("POST", "/jobs/j/stop", expect=202)["state"] == "stopping"
    assert world.workers.woken.acquire(blocking=False)
    with world.database.session() as session:
        session.query(Job).one().state = JobState.STOPPED
    admin.call("DELETE", "/jobs/j", expect=204)
    assert admin.call("GET", "/jobs/j", expect=404)["fields"]["noun"] == "job"
    for method, path in (("POST", "start"), ("POST", "stop"), ("GET", "cycles")):
        admin.call(method, f"/jobs/j/{path}", expect=404)


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        ({"chap_secret": "wrong-wrong-wrong"}, 401, "wrong-chap"),
        ({"chap_user": None, "chap_secret": None}, 401, "chap-required"),
        ({"chap_user": None}, 422, "chap-incomplete"),
        ({"lun": 2}, 422, "backup-vd-missing"),
        ({"lun": 0}, 422, "backup-vd-missing"),
        ({"lun": 256}, 422, "request-invalid"),
        ({"node": "iqn.2026-11.org.qreplica:target.nope"}, 502, "node-not-offered"),
        ({"source_vd": "nope"}, 404, "not-found"),
        ({"name": "No Name"}, 422, "not-a-name"),
        ({"rpo_minutes": 0}, 422, "rpo-wrong"),
        ({"address": "not an address"}, 422, "portal-invalid"),
        ({"peer_port": 1}, 502, "peer-unreachable"),
    ],
)
@pytest.mark.usefixtures("source_vd")
def test_a_job_that_cannot_be_leaves_nothing_behind(
    admin: Any, target: dict[str, Any], change: dict[str, Any], status: int, kind: str
) -> None:
    body = {"name": "j", "source_vd": "v", "lun": 1, **target, **change}
    problem = admin.call("POST", "/jobs", body, expect=status)
    assert problem["type"] == f"urn:qreplica:error:{kind}"
    assert admin.call("GET", "/jobs") == []
    assert admin.call("GET", "/virtual-disks/v")["snapshot_space"] == 0


@pytest.mark.usefixtures("source_vd")
def test_a_running_cycle_is_shown_with_progress_and_a_finished_one_with_its_lag(world: Any, admin: Any) -> None:
    job = world.add_job("j", "v", state=JobState.RUNNING, base_generation=1, generation=2)
    frozen, begun = now() - timedelta(seconds=100), now() - timedelta(seconds=10)
    with world.database.session() as session:
        done = Cycle(job_id=job.id, generation=1, kind=CycleKind.FULL, step=Step.DONE, outcome=Outcome.COMMITTED)
        done.started_at, done.finished_at = frozen, frozen + timedelta(seconds=8)
        done.total_bytes, done.done_bytes, done.sent_bytes = 800 * MIB, 800 * MIB, 600 * MIB
        done.compared_bytes = 500 * MIB
        session.add(done)
        session.flush()
        session.add(
            Snapshot(
                id=done.id, vd_id=job.source_vd_id, name="g1", kind=SnapshotKind.REPLICATION, size=GIB, taken_at=frozen
            )
        )
        present = Cycle(job_id=job.id, generation=2, kind=CycleKind.INCREMENTAL, step=Step.TRANSFER, base_generation=1)
        present.started_at, present.progressed_at = begun, now()
        present.total_bytes, present.done_bytes, present.zero_bytes = 400 * MIB, 100 * MIB, 4 * MIB
        present.rate, present.checkpoint, present.worker_peak_memory = 50.0 * MIB, 700 * MIB, 64 * MIB
        session.add(present)
    shown = admin.call("GET", "/jobs/j")
    cycle = shown["cycle"]
    assert (cycle["percent"], cycle["eta_seconds"], cycle["step"]) == (25.0, 6.0, "transfer")
    assert shown["lag_seconds"] >= 100
    assert shown["last_committed_at"] is not None
    first, second = admin.call("GET", "/jobs/j/cycles")
    assert (first["generation"], second["seconds"], second["rate"]) == (2, 8.0, 100.0 * MIB)
    assert (first["compared_bytes"], second["compared_bytes"], second["sent_bytes"]) == (0, 500 * MIB, 600 * MIB)
    assert admin.call("GET", "/jobs/j/cycles?limit=1") == [first]
    metrics = admin.http.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        'qreplica_job_state{replication_job="j",state="running"} 1.0',
        'qreplica_job_state{replication_job="j",state="idle"} 0.0',
        'qreplica_cycle_percent{replication_job="j"} 25.0',
        'qreplica_cycle_compared_bytes{replication_job="j"} 0.0',
        'qreplica_job_fenced{replication_job="j"} 1.0',
        'qreplica_cycle_rate_bytes_per_second{replication_job="j"} 5.24288e+07',
        'qreplica_vd_size_bytes{type="RAID",vd="v"} 1.073741824e+09',
        'qreplica_raid_group_online{raid_group="rg1"} 1.0',
        'qreplica_target_daemon_up{controller="1"} 1.0',
        'qreplica_events{severity="info"}',
    ):
        assert line in metrics.text, line


@pytest.mark.usefixtures("source_vd")
def test_a_plain_target_says_what_it_lacks_and_is_accepted_by_its_identity(world: Any, admin: Any) -> None:
    job = world.add_job("j", "v", target_vd_name="naa.60", target_serial="naa.60")
    refused = admin.call("POST", "/jobs/j/accept-disk", {"disk": "naa.60"}, expect=422)
    assert refused["type"].endswith("not-a-plain-target")
    with world.database.session() as session:
        session.add(PlainTarget(job_id=job.id, disk="naa.60", fenced=False))
    plain = admin.call("GET", "/jobs/j")["plain"]
    assert (plain["disk"], plain["fenced"]) == ("naa.60", False)
    assert any("no recovery points" in one for one in plain["missing"])
    assert any("not fenced" in one for one in plain["missing"])
    assert 'qreplica_job_fenced{replication_job="j"} 0.0' in admin.http.get("/metrics").text
    refused = admin.call("POST", "/jobs/j/accept-disk", {"disk": "naa.61"}, expect=409)
    assert refused["type"].endswith("wrong-disk-given")
    admin.call("POST", "/jobs/j/accept-disk", {"disk": "naa.60"})
    with world.database.session(read_only=True) as session:
        assert session.get_one(PlainTarget, job.id).accepted
    # A path would lead around the reservation.
    where = {"address": "127.0.0.1", "port": 3270, "peer_port": 3271}
    refused = admin.call("POST", "/jobs/j/paths", where, expect=422)
    assert refused["type"].endswith("plain-target-has-one-path")


@pytest.mark.usefixtures("source_vd")
def test_a_failed_job_tells_its_error_and_can_be_started_again(world: Any, admin: Any) -> None:
    sentence = "The target is full: free some space there."
    job = world.add_job("j", "v", state=JobState.FAILED, error_kind="target-full", error=sentence, generation=1)
    with world.database.session() as session:
        session.add(Cycle(job_id=job.id, generation=1, error=sentence))
    assert admin.call("GET", "/jobs/j")["error"] == {"kind": "target-full", "sentence": sentence}
    started = admin.call("POST", "/jobs/j/start", expect=202)
    assert (started["state"], started["error"], started["cycle"]["generation"]) == ("running", None, 1)


def test_the_metrics_say_when_the_target_daemon_is_down(
    world: Any, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down() -> None:
        raise TargetDaemonDown(control_port=1, reason="a test")

    monkeypatch.setattr(world.target, "nodes", down)
    assert 'qreplica_target_daemon_up{controller="1"} 0.0' in admin.http.get("/metrics").text


@pytest.mark.usefixtures("source_vd")
def test_paths_are_shown_added_and_removed(
    world: Any, admin: Any, target: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creation, "_log_on", lambda *_: None)
    admin.call("POST", "/jobs", {"name": "j", "source_vd": "v", "lun": 1, **target}, expect=201)
    where = {"address": "127.0.0.1", "port": 3270, "peer_port": target["peer_port"]}
    job = admin.call("POST", "/jobs/j/paths", {**where, "node": target["node"], "lun": 1}, expect=201)
    assert [(path["port"], path["state"], path["reason"]) for path in job["paths"]] == [
        (3260, "standby", None),
        (3270, "standby", None),
    ]
    assert admin.call("POST", "/jobs/j/paths", where, expect=409)["type"].endswith("path-exists")
    with world.database.session() as session:
        first = session.query(Job).one().paths[0]
        first.state, first.reason = PathState.FAILED, "Its cable is out: put it in."
    (first, _) = admin.call("GET", "/jobs/j")["paths"]
    assert (first["state"], first["reason"]) == ("failed", "Its cable is out: put it in.")
    metrics = admin.http.get("/metrics").text
    assert 'qreplica_path_state{path="127.0.0.1:3260",replication_job="j",state="failed"} 1.0' in metrics
    assert 'qreplica_path_state{path="127.0.0.1:3270",replication_job="j",state="standby"} 1.0' in metrics
    admin.call("DELETE", "/jobs/j/paths/127.0.0.1/3260", expect=204)
    assert [path["port"] for path in admin.call("GET", "/jobs/j")["paths"]] == [3270]
    assert admin.call("DELETE", "/jobs/j/paths/127.0.0.1/3260", expect=404)["type"].endswith("path-missing")
    assert admin.call("DELETE", "/jobs/j/paths/127.0.0.1/3270", expect=409)["type"].endswith("last-path")


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        ({"address": "not an address"}, 422, "portal-invalid"),
        ({"port": 0}, 422, "request-invalid"),
        ({"peer_port": 1}, 502, "peer-unreachable"),
        ({"node": "iqn.2026-11.org.qreplica:target.nope"}, 409, "path-to-another-node"),
        ({"lun": 2}, 422, "backup-vd-missing"),
    ],
)
@pytest.mark.usefixtures("source_vd")
def test_a_path_that_cannot_be_is_refused(  # noqa: PLR0917 - fixtures and parameters
    admin: Any,
    target: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    status: int,
    kind: str,
) -> None:
    monkeypatch.setattr(creation, "_log_on", lambda *_: None)
    job = admin.call("POST", "/jobs", {"name": "j", "source_vd": "v", "lun": 1, **target}, expect=201)
    body = {"address": "127.0.0.1", "port": 3270, "peer_port": target["peer_port"], **change}
    assert admin.call("POST", "/jobs/j/paths", body, expect=status)["type"] == f"urn:qreplica:error:{kind}"
    assert admin.call("GET", "/jobs/j") == job
