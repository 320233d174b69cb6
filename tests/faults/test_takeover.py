"""A source controller fails in the middle of a cycle: the other one goes on from the checkpoint."""

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from qreplica.lab.ledger import between_writes

from ..daemon.running import Controller, eventually  # noqa: TID252 - the controllers of the daemon's own tests
from .conftest import SIZE, TRANSFER, Replication

pytestmark = pytest.mark.root


class Pair:
    """A replication whose source has a second controller."""

    def __init__(self, replication: Replication) -> None:
        self.replication = replication
        self.first = replication.source
        self.second = Controller(self.first.directory, 2)
        self.second.config.write_text(self.second.text(subsystem="source") + TRANSFER)
        self.second.http.headers["Authorization"] = self.first.http.headers["Authorization"]
        self.second.start()

    def doers(self) -> list[int]:
        """Return which controller runs the jobs of controller 1, and of controller 2."""
        database = sqlite3.connect(f"file:{self.first.directory}/state/qreplica.db?mode=ro", uri=True)
        with contextlib.closing(database):
            return [row[0] for row in database.execute("SELECT controller FROM duties ORDER BY owner")]

    def finish_on_the_second(self, checkpoint: int) -> None:
        """The cycle that had come so far is brought to its end by the second controller."""
        first, self.replication.source = self.replication.source, self.second
        try:
            job = self.replication.until("idle")
        finally:
            self.replication.source = first
        assert job["cycle"]["outcome"] == "committed"
        assert job["cycle"]["resumes"] >= 1
        # Nothing that was durable is sent again.
        assert job["cycle"]["done_bytes"] == self.replication.size
        assert checkpoint > 0
        self.replication.check_copy()

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
        eventually(lambda: made.doers() == [1, 2])
        yield made
    finally:
        made.close()


def test_a_killed_controllers_job_is_brought_to_its_end_by_the_other(pair: Pair) -> None:
    replication = pair.replication
    replication.host_writes((0, SIZE >> 20))
    replication.start()
    checkpoint = replication.under_way()["checkpoint"]
    pair.first.kill()
    eventually(lambda: pair.doers() == [2, 2])
    pair.finish_on_the_second(checkpoint)
    one, other = pair.second.call("GET", "/controllers")
    assert (one["standing"], one["runs_jobs_of"]) == ("taken-over", [])
    assert (other["standing"], other["runs_jobs_of"]) == ("online", [1, 2])
    pair.first.start()
    eventually(lambda: pair.doers() == [1, 2])
    replication.host_writes((8, 16))
    replication.start()
    assert replication.until("idle")["cycle"]["kind"] == "incremental"
    replication.check_copy()


def test_a_controller_that_hangs_and_wakes_writes_nothing_any_more(pair: Pair) -> None:
    replication = pair.replication
    replication.host_writes((0, SIZE >> 20))
    replication.start()
    checkpoint = replication.under_way()["checkpoint"]
    stopped = [pair.first.pid, replication.worker()]
    # One that is stopped while it writes the state keeps everybody else from it until it wakes.
    with between_writes(pair.first.directory / "state" / "qreplica.db"):
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: pair.doers() == [2, 2])
        pair.finish_on_the_second(checkpoint)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    eventually(lambda: not Path(f"/proc/{stopped[1]}/cmdline").exists() or not _line(stopped[1]))
    eventually(lambda: pair.doers() == [1, 2])
    replication.check_copy()


def test_a_controller_that_is_stopped_hands_its_job_over_first(pair: Pair) -> None:
    replication = pair.replication
    replication.host_writes((0, SIZE >> 20))
    replication.start()
    checkpoint = replication.under_way()["checkpoint"]
    assert pair.first.terminate() == 0
    pair.finish_on_the_second(checkpoint)
    one, _ = pair.second.call("GET", "/controllers")
    assert one["standing"] == "taken-over"
    assert [event for event in pair.second.call("GET", "/events") if event["kind"] == "taken-over"] == []


def _line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
