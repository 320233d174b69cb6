"""A worker that is killed in the middle: the next one goes on from the checkpoint and sends nothing durable again."""

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Self

import pytest

from qreplica.iscsi.target.errors import LunMissing, NodeMissing
from qreplica.iscsi.target.mgmt import Management
from qreplica.iscsi.target.tgt import TgtDriver
from qreplica.storage.driver import BLOCK
from qreplica.units import MIB

if TYPE_CHECKING:
    from .conftest import Replication

pytestmark = pytest.mark.root


class Sampling:
    """Reads the target's counters of the backup VD again and again; ``most`` is the most that one session wrote."""

    def __init__(self, replication: "Replication") -> None:
        self._target = TgtDriver(Management(replication.target.control_port))
        self._iqn = replication.backup_iqn
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.most = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(NodeMissing, LunMissing):  # It is being claimed.
                self.most = max(self.most, self._target.counters(self._iqn, 1).write_bytes)
            self._stop.wait(0.005)


def test_a_killed_worker_is_gone_on_with_and_the_copy_is_exact(replication: "Replication") -> None:
    replication.host_writes((0, 400))
    replication.start()
    replication.under_way()
    os.kill(replication.source.pid, signal.SIGSTOP)
    try:
        os.kill(replication.worker(), signal.SIGKILL)
        checkpoint = replication.checkpoint()
        assert 0 < checkpoint < 400 * MIB
    finally:
        os.kill(replication.source.pid, signal.SIGCONT)
    with Sampling(replication) as sampling:
        job = replication.until("idle")
    cycle = job["cycle"]
    assert (cycle["outcome"], cycle["kind"], cycle["resumes"]) == ("committed", "full", 1)
    assert 0 < sampling.most <= 400 * MIB - checkpoint + MIB
    replication.check_copy()
    events = [one["kind"] for one in replication.source.call("GET", "/events")]
    assert "worker-died" in events
    assert cycle["worker_peak_memory"] < 150 * MIB


def test_nothing_below_the_checkpoint_is_sent_again(replication: "Replication") -> None:
    """What is put in the target's file below the checkpoint, behind everyone's back, is still there at the end."""
    replication.host_writes((0, 400))
    replication.start()
    replication.under_way()
    os.kill(replication.source.pid, signal.SIGSTOP)
    try:
        os.kill(replication.worker(), signal.SIGKILL)
        checkpoint = replication.checkpoint()
        marked = sorted({0, checkpoint // 2 // BLOCK * BLOCK, checkpoint - BLOCK})
        with replication.live().open("r+b") as live:
            for offset in marked:
                live.seek(offset)
                live.write(b"marked! " * (BLOCK // 8))
            live.flush()
            os.fsync(live.fileno())
    finally:
        os.kill(replication.source.pid, signal.SIGCONT)
    replication.until("idle")
    ours, theirs = replication.copies()
    with ours.open("rb") as source, theirs.open("rb") as target:
        different = []
        for offset in range(0, 512 * MIB, MIB):
            sent, there = source.read(MIB), target.read(MIB)
            if sent != there:
                blocks = range(0, MIB, BLOCK)
                different += [offset + at for at in blocks if sent[at : at + BLOCK] != there[at : at + BLOCK]]
    assert different == marked


def test_changes_go_on_too_after_a_stop_and_after_the_daemon_died(replication: "Replication") -> None:
    replication.host_writes((0, 64))
    replication.start()
    replication.until("idle")
    replication.host_writes((100, 300))
    replication.start()
    replication.under_way()
    replication.source.call("POST", "/jobs/nightly/stop", expect=202)
    stopped = replication.until("stopped")["cycle"]
    assert stopped["checkpoint"] > 100 * MIB
    replication.start()
    replication.worker()
    replication.source.kill()
    replication.source.start()
    cycle = replication.until("idle")["cycle"]
    assert (cycle["kind"], cycle["base_generation"], cycle["outcome"]) == ("incremental", 1, "committed")
    assert cycle["checkpoint"] == 512 * MIB
    assert 300 * MIB <= cycle["total_bytes"] < 302 * MIB
    # What was durable at the stop was not sent again; the daemon's death may cost what was in flight.
    assert cycle["resumes"] >= 1
    replication.check_copy()
