"""Schedules, bandwidth limits, pauses and the QReplica configuration over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qreplica.replication import creation
from qreplica.replication.errors import SnapshotSpaceShort
from qreplica.state.models import Cycle, CycleKind, Job, JobState, Step
from qreplica.storage import raid_groups, virtual_disks
from qreplica.storage.driver import RaidLevel
from qreplica.units import GIB, MIB


@pytest.fixture
def job(world: Any) -> str:
    world.add_disks("d1")
    raid_groups.create(world.database, world.storage, name="rg1", level=RaidLevel.JBOD, disks=["d1"])
    virtual_disks.create(world.database, world.storage, name="payroll", raid_group="rg1", size=GIB)
    world.add_job("nightly", "payroll")
    return "nightly"


def test_a_schedule_is_set_shown_switched_off_and_deleted(admin: Any, job: str) -> None:
    assert admin.call("GET", f"/jobs/{job}/schedule", expect=404)["type"].endswith("no-schedule")
    assert admin.call("GET", f"/jobs/{job}")["next_run_at"] is None
    admin.call("PUT", "/time-zone", {"time_zone": "Europe/Berlin"})
    before = datetime.now(UTC)
    body = {"repeat": "weekly", "times": ["14:30", "02:00"], "weekdays": [4, 0]}
    answer = admin.call("PUT", f"/jobs/{job}/schedule", body)
    assert answer["sentence"] == "every Monday and Friday at 02:00 and 14:30"
    assert (answer["times"], answer["weekdays"], answer["time_zone"]) == (["02:00", "14:30"], [0, 4], "Europe/Berlin")
    runs = [datetime.fromisoformat(one) for one in answer["next_runs"]]
    assert len(runs) == 5
    assert runs == sorted(runs)
    assert runs[0] > before
    shown = admin.call("GET", f"/jobs/{job}")
    assert shown["schedule"] == answer["sentence"]
    # The first one may just have passed.
    assert shown["next_run_at"] in answer["next_runs"][:2]
    off = admin.call("PUT", f"/jobs/{job}/schedule", {**body, "enabled": False})
    assert (off["enabled"], off["next_runs"]) == (False, [])
    assert admin.call("GET", f"/jobs/{job}")["schedule"] is None
    for _ in range(2):
        admin.call("DELETE", f"/jobs/{job}/schedule", expect=204)
    admin.call("GET", f"/jobs/{job}/schedule", expect=404)


def test_a_schedule_is_previewed_and_not_saved(admin: Any, job: str) -> None:
    admin.call("PUT", "/time-zone", {"time_zone": "Europe/Berlin"})
    path = f"/jobs/{job}/schedule/preview"
    shown = admin.call("GET", f"{path}?repeat=weekly&times=14:30&times=02:00&weekdays=4&weekdays=0")
    assert (shown["sentence"], shown["time_zone"]) == ("every Monday and Friday at 02:00 and 14:30", "Europe/Berlin")
    body = {"repeat": "weekly", "times": ["14:30", "02:00"], "weekdays": [4, 0]}
    admin.call("GET", f"/jobs/{job}/schedule", expect=404)
    saved = admin.call("PUT", f"/jobs/{job}/schedule", body)
    # The first one may pass meanwhile.
    assert len(set(shown["next_runs"]) & set(saved["next_runs"])) >= 4
    told = admin.call("GET", f"{path}?repeat=interval&minutes=30")["sentence"]
    assert told == "every 30m, counted from midnight"
    assert "daily needs times" in admin.call("GET", f"{path}?repeat=daily", expect=422)["detail"]
    assert "times" in str(admin.call("GET", f"{path}?repeat=daily&times=25:00", expect=422)["places"])
    admin.call("GET", "/jobs/nobody/schedule/preview?repeat=daily&times=02:00", expect=404)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"repeat": "daily"}, "That is no schedule: daily needs times."),
        ({"repeat": "monthly", "times": ["02:00"], "days": [32]}, "32 is no day of the month"),
        ({"repeat": "interval", "minutes": 10**30}, "cannot be: give from 1 minute to 24 hours"),
        ({"repeat": "daily", "times": ["02:00Z"]}, "is not hours and minutes"),
        ({"repeat": "daily", "times": ["25:00"]}, "times"),
        ({"repeat": "hourly"}, "repeat"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(admin: Any, job: str, body: dict[str, Any], detail: str) -> None:
    problem = admin.call("PUT", f"/jobs/{job}/schedule", body, expect=422)
    assert detail in problem["detail"] + str(problem["places"])
    admin.call("GET", f"/jobs/{job}/schedule", expect=404)


def test_a_bandwidth_limit_is_set_shown_and_lifted(admin: Any, job: str) -> None:
    assert admin.call("GET", f"/jobs/{job}/bandwidth") == {"limit": None, "windows": [], "at_present": None}
    window = {"weekdays": [0, 1, 2, 3, 4, 5, 6], "begin": "00:00", "end": "00:00", "limit": "10MiB"}
    answer = admin.call("PUT", f"/jobs/{job}/bandwidth", {"limit": "50MiB", "windows": [window]})
    assert answer == {"limit": 50 * MIB, "windows": [{**window, "limit": 10 * MIB}], "at_present": 10 * MIB}
    problem = admin.call("PUT", f"/jobs/{job}/bandwidth", {"limit": 5}, expect=422)
    assert problem["detail"] == "That is no bandwidth limit: 5 B/s is less than 64 KiB/s."
    assert admin.call("GET", f"/jobs/{job}/bandwidth") == answer
    admin.call("DELETE", f"/jobs/{job}/bandwidth", expect=204)
    assert admin.call("GET", f"/jobs/{job}/bandwidth")["at_present"] is None


def test_a_paused_job_is_not_started_until_it_is_resumed(world: Any, admin: Any, job: str) -> None:
    paused = admin.call("POST", f"/jobs/{job}/pause", expect=202)
    assert (paused["paused"], paused["state"]) == (True, JobState.IDLE)
    assert admin.call("POST", f"/jobs/{job}/start", expect=409)["type"].endswith("job-paused")
    assert not admin.call("POST", f"/jobs/{job}/resume", expect=202)["paused"]
    admin.call("POST", f"/jobs/{job}/start", expect=202)
    assert admin.call("POST", f"/jobs/{job}/pause", expect=202)["state"] == JobState.STOPPING
    assert world.workers.woken.acquire(timeout=60)


def test_the_configuration_has_the_white_papers_defaults_and_is_set(admin: Any) -> None:
    defaults = {"ratio": 2.0, "threshold": 50, "restart_after_failure": False, "check_minutes": 60}
    defaults |= {"progress_minutes": 15, "running_jobs": 16, "protect_superseded": False}
    assert admin.call("GET", "/qreplica/configuration") == defaults
    other = {"ratio": 1.5, "threshold": 70, "restart_after_failure": True, "check_minutes": 15}
    other |= {"progress_minutes": 30, "running_jobs": 3, "protect_superseded": True}
    assert admin.call("PUT", "/qreplica/configuration", other) == other
    assert admin.call("GET", "/qreplica/configuration") == other
    wrongs = ({"ratio": 0}, {"ratio": 1e300}, {"threshold": 100}, {"threshold": 0}, {"check_minutes": 0})
    wrongs += ({"progress_minutes": 0}, {"progress_minutes": 1441})
    for wrong in (*wrongs, {"running_jobs": 0}, {"running_jobs": 257}):
        problem = admin.call("PUT", "/qreplica/configuration", wrong, expect=422)
        assert problem["type"].endswith("configuration-wrong")
    assert admin.call("GET", "/qreplica/configuration") == other


def test_a_vd_tells_from_which_use_its_job_runs_by_itself(world: Any, admin: Any, job: str) -> None:
    admin.call("PATCH", "/virtual-disks/payroll", {"snapshot_space": "1GiB"})
    assert admin.call("GET", "/virtual-disks/payroll")["snapshot_threshold"] is None
    admin.call("PUT", f"/jobs/{job}/schedule", {"repeat": "daily", "times": ["02:00"]})
    assert admin.call("GET", "/virtual-disks/payroll")["snapshot_threshold"] == GIB // 2
    # Of what the last run's snapshot left free.
    with world.database.session() as session:
        row = session.query(Job).one()
        session.add(Cycle(job_id=row.id, generation=1, kind=CycleKind.FULL, step=Step.DONE, snapshot_used=GIB // 2))
    assert admin.call("GET", "/virtual-disks/payroll")["snapshot_threshold"] == 3 * GIB // 4
    admin.call("PUT", f"/jobs/{job}/schedule", {"repeat": "daily", "times": ["02:00"], "enabled": False})
    assert admin.call("GET", "/virtual-disks/payroll")["snapshot_threshold"] is None


def test_the_ratio_decides_how_much_snapshot_space_a_job_needs(world: Any, admin: Any) -> None:
    """The white paper's error, and its first remedy: 10 GiB hold 1 GiB with twice its size, and not with 20 times."""
    world.add_disks("d1")
    raid_groups.create(world.database, world.storage, name="rg1", level=RaidLevel.JBOD, disks=["d1"])
    virtual_disks.create(world.database, world.storage, name="v", raid_group="rg1", size=GIB)
    admin.call("PUT", "/qreplica/configuration", {"ratio": 20})
    with world.database.session() as session, pytest.raises(SnapshotSpaceShort) as short:
        creation.check_here(session, "j", "v", "iqn.2026-11.org.qreplica:t")
    assert "needs 20 GiB (20 times its size)" in short.value.sentence
    assert "set the snapshot space of “v”" in short.value.sentence
    admin.call("PUT", "/qreplica/configuration", {"ratio": 3})
    with world.database.session() as session:
        assert creation.check_here(session, "j", "v", "iqn.2026-11.org.qreplica:t")[1] == 3 * GIB


def test_what_is_no_time_zone_is_refused(admin: Any) -> None:
    for name in ("Mars/Olympus", "../../etc/passwd", "", "x" * 64):
        assert admin.call("PUT", "/time-zone", {"time_zone": name}, expect=422)["type"].endswith("time-zone-unknown")
    assert admin.call("GET", "/time-zone") == {"time_zone": "UTC"}


def test_what_is_due_before_now_in_another_zone_is_not_made_up(admin: Any, job: str) -> None:
    admin.call("PUT", f"/jobs/{job}/schedule", {"repeat": "interval", "minutes": 60})
    admin.call("PUT", "/time-zone", {"time_zone": "Asia/Kathmandu"})
    before = datetime.now(UTC)
    next_run = datetime.fromisoformat(admin.call("GET", f"/jobs/{job}")["next_run_at"])
    assert next_run.minute == 15
    assert before < next_run <= datetime.now(UTC) + timedelta(hours=1)


def test_each_is_told_of_for_a_job_that_is_not_there(admin: Any) -> None:
    for method, path, body in (
        ("GET", "schedule", None),
        ("PUT", "schedule", {"repeat": "interval", "minutes": 5}),
        ("DELETE", "schedule", None),
        ("GET", "bandwidth", None),
        ("PUT", "bandwidth", {"limit": None}),
        ("DELETE", "bandwidth", None),
        ("GET", "rpo", None),
        ("PUT", "rpo", {"rpo_minutes": 60}),
        ("DELETE", "rpo", None),
        ("POST", "pause", None),
        ("POST", "resume", None),
    ):
        assert admin.call(method, f"/jobs/none/{path}", body, expect=404)["type"].endswith("not-found")
