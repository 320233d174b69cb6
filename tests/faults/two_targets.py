"""A replication whose target has two controllers."""

from typing import Any

from ..daemon.running import Controller, eventually  # noqa: TID252 - the controllers of the daemon's own tests
from .conftest import SIZE, Replication


class TwoTargets:
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

    def under_way(self) -> list[str]:
        """Wait for a checkpoint that is neither the beginning nor the end; return the states of the paths then."""

        def look() -> list[str]:
            job = self.replication.job()
            assert job["cycle"]["outcome"] is None, "it was over too soon"
            there = 0 < job["cycle"]["checkpoint"] < SIZE
            return [path["state"] for path in job["paths"]] if there else []

        return eventually(look)

    def events(self) -> list[str]:
        return [event["kind"] for event in self.replication.source.call("GET", "/events")]

    def until_on_the_second(self) -> None:
        """Wait until the data goes over the second path, or went."""
        eventually(lambda: self.paths()[1] == "active" or self.replication.job()["state"] == "idle")

    def until_paths(self, *states: str) -> None:
        """Wait until the paths are in these states."""
        eventually(lambda: self.paths() == list(states))

    def close(self) -> None:
        # Both use the mounts that closing either takes away.
        for one in (self.first, self.second):
            if one.process is not None and one.process.poll() is None:
                one.kill()
        self.second.close()
