"""A target controller fails in the middle of a cycle: the data goes over the path to the other one."""

import time
from collections.abc import Iterator

import pytest

from ..daemon.running import eventually  # noqa: TID252 - of the daemon's own tests
from .conftest import SIZE, Replication
from .two_targets import TwoTargets

pytestmark = pytest.mark.root


@pytest.fixture
def targets(replication: Replication) -> Iterator[TwoTargets]:
    made = TwoTargets(replication)
    try:
        yield made
    finally:
        made.close()


def test_killed_target_controllers_are_left_and_waited_for(targets: TwoTargets) -> None:
    replication = targets.replication
    targets.add_path()
    assert targets.paths() == ["standby", "standby"]
    replication.host_writes((0, SIZE >> 20))
    replication.start()
    assert targets.under_way() == ["active", "standby"]
    killed = time.monotonic()
    targets.first.kill()
    targets.until_on_the_second()
    print(f"it went on {time.monotonic() - killed:.1f} s after the kill")
    job = replication.until("idle")
    assert (job["cycle"]["outcome"], job["cycle"]["kind"]) == ("committed", "full")
    assert job["cycle"]["resumes"] >= 1
    first, second = job["paths"]
    assert (first["state"], second["state"]) == ("failed", "standby")
    assert first["reason"]
    assert "path-failed" in targets.events()
    replication.check_copy()

    # It is back: its path stands by. Then nobody is there, in the middle of the next cycle.
    targets.first.start()
    targets.until_paths("standby", "standby")
    assert "path-standby" in targets.events()
    replication.host_writes((0, SIZE >> 20))
    replication.start()
    replication.under_way()
    for one in (targets.first, targets.second):
        one.kill()
    job = replication.until("waiting")
    assert job["error"]["sentence"]
    assert targets.paths() == ["failed", "failed"]
    targets.second.start()
    job = replication.until("idle")
    assert (job["cycle"]["outcome"], job["cycle"]["kind"]) == ("committed", "incremental")
    assert job["cycle"]["resumes"] >= 1
    assert targets.paths() == ["failed", "standby"]
    replication.check_copy()


def test_a_target_daemon_that_hangs_in_the_middle_of_a_call_is_left(targets: TwoTargets) -> None:
    """While it fences for a claim, and while it makes a recovery point; its target daemon runs on."""
    replication = targets.replication
    state = targets.first.directory / "state"
    targets.add_path()
    replication.host_writes((0, 16))
    for kind, lock in (
        ("full", state / "tgtd" / "2.serving"),
        ("incremental", next(state.glob("rg/.*.lock")).with_suffix(".snapshots.lock")),
    ):
        targets.until_paths("standby", "standby")
        targets.hang_first_at(lock, replication.start)
        try:
            job = replication.until("idle")
            assert (job["cycle"]["outcome"], job["cycle"]["kind"]) == ("committed", kind)
            assert "no sign of life" in job["paths"][0]["reason"]
            replication.check_copy()
        finally:
            targets.wake_first(lock)
        # It goes on with what it had begun, which is too late.
        replication.host_writes((4, 8))
    replication.start()
    assert replication.until("idle")["cycle"]["outcome"] == "committed"
    replication.check_copy()
    eventually(lambda: not targets.left_over())


def test_paths_come_and_go_while_a_cycle_runs(targets: TwoTargets) -> None:
    """One more does not disturb it; without the one that carries the data it goes over the other."""
    replication = targets.replication
    replication.host_writes((0, SIZE >> 20))
    replication.start()
    replication.under_way()
    targets.add_path()
    assert replication.job()["cycle"]["resumes"] == 0
    path = f"/jobs/nightly/paths/127.0.0.1/{targets.first.iscsi_port}"
    replication.source.call("DELETE", path, expect=204)
    job = replication.until("idle")
    assert job["cycle"]["outcome"] == "committed"
    assert [path["port"] for path in job["paths"]] == [targets.second.iscsi_port]
    replication.check_copy()
    path = f"/jobs/nightly/paths/127.0.0.1/{targets.second.iscsi_port}"
    assert replication.source.call("DELETE", path, expect=409)["type"].endswith("last-path")
