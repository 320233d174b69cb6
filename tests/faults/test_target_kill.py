"""A target that dies in the middle: the job waits and goes on by itself, and the copy is exact."""

import os
import signal
from typing import TYPE_CHECKING

import pytest

from ..daemon.running import eventually  # noqa: TID252 - the controllers of the daemon's own tests

if TYPE_CHECKING:
    from .conftest import Replication

pytestmark = pytest.mark.root


def test_a_target_daemon_that_is_killed_costs_only_what_was_not_durable(replication: "Replication") -> None:
    """tgtd dies; its supervisor starts it again, and it admits nobody until the source has claimed anew."""
    replication.host_writes((0, 400))
    replication.start()
    reached = replication.under_way()["checkpoint"]
    os.kill(replication.target.tgtd(), signal.SIGKILL)
    cycle = replication.until("idle")["cycle"]
    assert (cycle["outcome"], cycle["kind"]) == ("committed", "full")
    assert cycle["resumes"] >= 1
    assert cycle["sent_bytes"] <= 2 * (400 << 20) - reached
    replication.check_copy()


def test_a_target_subsystem_that_is_down_is_waited_for(replication: "Replication") -> None:
    replication.host_writes((0, 400))
    replication.start()
    replication.under_way()
    replication.target.kill()
    waiting = eventually(lambda: (job := replication.job())["state"] == "waiting" and job)
    assert waiting["error"]["kind"] in {"session-lost", "portal-unreachable", "peer-unreachable"}
    assert waiting["cycle"]["checkpoint"] > 0
    replication.target.start()
    cycle = replication.until("idle")["cycle"]
    assert (cycle["outcome"], cycle["kind"]) == ("committed", "full")
    replication.check_copy()
    kinds = [one["kind"] for one in replication.source.call("GET", "/events")]
    assert "job-waiting" in kinds
    assert "worker-died" not in kinds
