"""A replication whose target has two controllers."""

import contextlib
import fcntl
import os
import signal
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qreplica.iscsi.target.pause import stopped
from qreplica.lab.ledger import between_writes

from ..daemon.running import Controller, eventually  # noqa: TID252 - the controllers of the daemon's own tests
from .conftest import SIZE, Replication

#: A struct flock of fcntl(2): to write, the whole file.
_ALL = struct.pack("@hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


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

    def hang_first_at(self, lock: Path, begin: Callable[[], None]) -> None:
        """Stop the first controller's daemon where what ``begin`` begins has it wait for a lock of that file."""
        with lock.open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            fcntl.fcntl(held, fcntl.F_OFD_SETLKW, _ALL)
            begin()
            eventually(lambda: lock in _opened(self.first.pid))
            with between_writes(self.first.directory / "state" / "qreplica.db"):
                os.kill(self.first.pid, signal.SIGSTOP)
                eventually(lambda: stopped(self.first.pid))

    def wake_first(self, lock: Path) -> None:
        """Wake it, and wait until it is through with what it wanted the lock for."""
        os.kill(self.first.pid, signal.SIGCONT)
        eventually(lambda: lock not in _opened(self.first.pid))

    def left_over(self) -> set[str]:
        """Return the snapshots of backup VDs that the disks hold and no recovery point is."""
        state = self.first.directory / "state"
        with contextlib.closing(sqlite3.connect(f"file:{state}/qreplica.db?mode=ro", uri=True)) as database:
            kept = {row[0] for row in database.execute("SELECT snapshot_id FROM recovery_points")}
        return {one.name for one in state.glob("rg/*/vds/*/snapshots/*")} - kept

    def close(self) -> None:
        # Both use the mounts that closing either takes away.
        for one in (self.first, self.second):
            if one.process is not None and one.process.poll() is None:
                one.kill()
        self.second.close()


def _opened(pid: int) -> set[Path]:
    """Return the files that the process has open; it may close some meanwhile."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(descriptor.readlink())
        except FileNotFoundError:
            continue
    return found
