"""RPO goals over HTTP, and how far a copy lags behind in a job's answer and in the metrics."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from qreplica.cluster.leases import Leases
from qreplica.replication.backlog import BacklogWatch
from qreplica.replication.lag_watch import LagWatch
from qreplica.state.lag_models import JobLag
from qreplica.state.models import Base, Cycle, CycleKind, JobState, Outcome, Step, now
from qreplica.storage import raid_groups, virtual_disks
from qreplica.storage.driver import RaidLevel
from qreplica.units import GIB, MIB


@pytest.fixture
def job(world: Any) -> Any:
    """A job whose newest recovery point was taken 90 minutes ago and committed an hour later; 3 MiB are there."""
    world.add_disks("d1")
    raid_groups.create(world.database, world.storage, name="rg1", level=RaidLevel.JBOD, disks=["d1"])
    vd = virtual_disks.create(world.database, world.storage, name="payroll", raid_group="rg1", size=GIB)
    with world.storage.vd_path(vd.raid_group_id, vd.id).open("r+b") as live:
        live.write(b"x" * (3 * MIB))
    made = world.add_job("nightly", "payroll", generation=1)
    with world.database.session() as session:
        cycle = Cycle(job_id=made.id, generation=1, kind=CycleKind.FULL, step=Step.DONE, outcome=Outcome.COMMITTED)
        cycle.taken_at, cycle.finished_at = now() - timedelta(minutes=90), now() - timedelta(minutes=30)
        session.add(cycle)
    return made


@pytest.fixture
def look(world: Any) -> Callable[[], None]:
    """Have the controller look at how far copies lag behind."""
    leases = Leases(world.database, Base.metadata.tables["duties"], 1, takeover=5)
    leases.keep(["1"])
    looks = LagWatch(world.database, leases, 1), BacklogWatch(world.database, world.storage, leases, 1)
    return lambda: [one.round() for one in looks][-1]


@pytest.mark.usefixtures("job")
def test_a_goal_is_set_shown_and_removed(admin: Any) -> None:
    assert admin.call("GET", "/jobs/nightly/rpo") == {"rpo_minutes": None}
    shown = admin.call("GET", "/jobs/nightly")
    assert (shown["rpo_minutes"], shown["rpo_met"]) == (None, None)
    assert admin.call("PUT", "/jobs/nightly/rpo", {"rpo_minutes": 60}) == {"rpo_minutes": 60}
    shown = admin.call("GET", "/jobs/nightly")
    assert (shown["rpo_minutes"], shown["rpo_met"]) == (60, False)
    admin.call("PUT", "/jobs/nightly/rpo", {"rpo_minutes": 120})
    assert admin.call("GET", "/jobs/nightly")["rpo_met"] is True
    for wrong in (0, -5, 366 * 1440 + 1, 10**30):
        problem = admin.call("PUT", "/jobs/nightly/rpo", {"rpo_minutes": wrong}, expect=422)
        assert problem["type"].endswith("rpo-wrong")
    admin.call("PUT", "/jobs/nightly/rpo", {}, expect=422)
    assert admin.call("GET", "/jobs/nightly/rpo") == {"rpo_minutes": 120}
    for _ in range(2):
        admin.call("DELETE", "/jobs/nightly/rpo", expect=204)
    assert admin.call("GET", "/jobs/nightly")["rpo_met"] is None
    told = [one["message"] for one in admin.call("GET", "/events") if one["kind"] == "rpo-set"]
    assert told == ["It has no RPO goal any more.", "Its RPO goal is 2h.", "Its RPO goal is 1h."]


def test_the_lag_is_told_from_the_snapshot_on(world: Any, admin: Any, job: Any, look: Callable[[], None]) -> None:
    before = admin.call("GET", "/jobs/nightly")
    assert (before["backlog_bytes"], before["backlog_at"], before["last_progress_at"]) == (None, None, None)
    admin.call("PUT", "/jobs/nightly/rpo", {"rpo_minutes": 60})
    look()
    shown = admin.call("GET", "/jobs/nightly")
    assert shown["lag_seconds"] >= 90 * 60
    recovery_point, committed, progress = (
        datetime.fromisoformat(shown[name]) for name in ("recovery_point_at", "last_committed_at", "last_progress_at")
    )
    assert committed - recovery_point == timedelta(hours=1)
    assert (progress, shown["stalled_since"]) == (committed, None)
    assert shown["backlog_bytes"] == 3 * MIB
    assert shown["backlog_at"] is not None
    metrics = admin.http.get("/metrics").text
    for line in (
        'qreplica_job_rpo_seconds{replication_job="nightly"} 3600.0',
        'qreplica_job_rpo_missed{replication_job="nightly"} 1.0',
        'qreplica_job_backlog_bytes{replication_job="nightly"} 3.145728e+06',
        'qreplica_job_stalled{replication_job="nightly"} 0.0',
        'qreplica_job_paused{replication_job="nightly"} 0.0',
        'qreplica_license_in_force{controller="1"} 1.0',
        'qreplica_controller_up{controller="1"} 1.0',
    ):
        assert line in metrics, line
    (told,) = [one for one in admin.call("GET", "/events") if one["kind"].startswith("rpo-m")]
    assert (told["kind"], told["severity"], told["subject"]) == ("rpo-missed", "error", "job nightly")
    with world.database.session() as session:
        session.get_one(JobLag, job.id).stalled_since = now()
    assert admin.call("GET", "/jobs")[0]["stalled_since"] is not None
    assert 'qreplica_job_stalled{replication_job="nightly"} 1.0' in admin.http.get("/metrics").text


def test_a_request_counts_nothing(world: Any, admin: Any, job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the metrics nor the answers may walk through what a VD holds."""
    world.add_job("other", "payroll", state=JobState.RUNNING, base_snapshot_id=None)

    def counted(*_: object) -> int:
        raise AssertionError

    monkeypatch.setattr(world.storage, "changed_since", counted)
    monkeypatch.setattr(world.storage, "allocated", counted)
    assert admin.call("GET", "/jobs/nightly")["id"] == job.id
    assert "qreplica_job_lag_seconds" in admin.http.get("/metrics").text
    assert admin.call("GET", "/jobs")
