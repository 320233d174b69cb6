"""A target controller fails in the middle of a cycle: the data goes over the path to the other one."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from ..daemon.running import Controller, eventually  # noqa: TID252 - the controllers of the daemon's own tests
from .conftest import SIZE, Replication

pytestmark = pytest.mark.root


class Pair:
    """A replication whose target has a second controller, to which the job has a second path."""

    def __init__(self, replication: Replication) -> None:
        self.replication = replication
        self.first = replication.target
        self.second = Controller(self.first.directory, 2)
        self.second.config.write_text(self.second.text(subsystem="target"))
        self.second.http.headers["Authorization"] = self.first.http.headers["Authorization"]
        self.second.start()

    @property
    def where(self) -> dict[str, Any]:
        """The portal of the second controller."""
        return {"address": "127.0.0.1", "port": self.second.iscsi_port, "peer_port": self.second.peer_port}

    def add_path(self) -> None:
        # A claim at the first controller has the second one's target daemon started again.
        request = self.replication.source.http.request
        eventually(lambda: request("POST", "/jobs/nightly/paths", json=self.where).status_code == 201)

    def paths(self) -> list[str]:
        return [path["state"] for path in self.replication.job()["paths"]]

    def events(self) -> list[str]:
        return [event["kind"] for event in self.replication.source.call("GET", "/events")]

    def until_on_the_second(self) -> None:
        """Wait until the data goes over the second path, or went."""
        eventually(lambda: self.paths()[1] == "active" or self.replication.job()["state"] == "idle")

    def close(self) -> None:
        # Both use the mounts that closing either takes away.
        for one in (self.first, self.second):
            if one.process is not None and one.process.poll() is None:
                one.kill()
        self.second.close()


@pytest.fixture
def pair(replication: Replication) -> Iterator[Pair]:
    made = Pair(replication)
    try:
        yield made
    finally:
        made.close()


def test_killed_target_controllers_are_left_and_waited_for(pair: Pair) -> None:
    replication = pair.replication
    pair.add_path()
    assert pair.paths() == ["standby", "standby"]
    replication.host_writes((0, SIZE >> 20))
    replication.start()
    replication.under_way()
    assert pair.paths() == ["active", "standby"]
    killed = time.monotonic()
    pair.first.kill()
    pair.until_on_the_second()
    print(f"it went on {time.monotonic() - killed:.1f} s after the kill")
    job = replication.until("idle")
    assert (job["cycle"]["outcome"], job["cycle"]["kind"]) == ("committed", "full")
    assert job["cycle"]["resumes"] >= 1
    first, second = job["paths"]
    assert (first["state"], second["state"]) == ("failed", "standby")
    assert first["reason"]
    assert "job-waiting" not in pair.events()
    assert "path-failed" in pair.events()
    replication.check_copy()

    # It is back: its path stands by. Then nobody is there, in the middle of the next cycle.
    pair.first.start()
    eventually(lambda: pair.paths() == ["standby", "standby"])
    assert "path-standby" in pair.events()
    replication.host_writes((0, SIZE >> 20))
    replication.start()
    replication.under_way()
    for one in (pair.first, pair.second):
        one.kill()
    job = replication.until("waiting")
    assert job["error"]["sentence"]
    assert pair.paths() == ["failed", "failed"]
    pair.second.start()
    job = replication.until("idle")
    assert (job["cycle"]["outcome"], job["cycle"]["kind"]) == ("committed", "incremental")
    assert job["cycle"]["resumes"] >= 1
    assert pair.paths() == ["failed", "standby"]
    replication.check_copy()


def test_paths_come_and_go_while_a_cycle_runs(pair: Pair) -> None:
    """One more does not disturb it; without the one that carries the data it goes over the other."""
    replication = pair.replication
    replication.host_writes((0, SIZE >> 20))
    replication.start()
    replication.under_way()
    pair.add_path()
    assert replication.job()["cycle"]["resumes"] == 0
    path = f"/jobs/nightly/paths/127.0.0.1/{pair.first.iscsi_port}"
    replication.source.call("DELETE", path, expect=204)
    job = replication.until("idle")
    assert job["cycle"]["outcome"] == "committed"
    assert [path["port"] for path in job["paths"]] == [pair.second.iscsi_port]
    replication.check_copy()
    path = f"/jobs/nightly/paths/127.0.0.1/{pair.second.iscsi_port}"
    assert replication.source.call("DELETE", path, expect=409)["type"].endswith("last-path")
