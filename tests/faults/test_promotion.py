"""The day it is for: the source dies in the middle of a cycle, hosts use the copy, and the source comes back."""

import hashlib
from typing import TYPE_CHECKING

import pytest

from qreplica.units import MIB

from ..daemon.running import HOST, eventually  # noqa: TID252 - the controllers of the daemon's own tests

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Replication

pytestmark = pytest.mark.root


def digest(file: "Path") -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def test_hosts_use_the_last_point_and_the_source_that_returns_writes_nothing(replication: "Replication") -> None:
    source, target = replication.source, replication.target
    replication.host_writes((0, 64))
    replication.start()
    replication.until("idle")
    _, point = replication.copies()
    whole = digest(point)
    # The next one is cut off where a part of it is in the copy, durably.
    replication.host_writes((0, 400))
    replication.start()
    replication.under_way()
    source.kill()
    assert digest(replication.live()) != whole

    refused = target.call("POST", "/virtual-disks/b1/promote", {}, expect=409)
    assert refused["type"].endswith("promotion-not-confirmed")
    assert "generation 2 is dropped" in refused["detail"]
    done = target.call("POST", "/virtual-disks/b1/promote", {"confirm": "b1"})
    assert done["generation"] == 1
    assert digest(replication.live()) == whole
    target.call("PUT", "/nodes/backups/initiators", {"initiators": []})
    node = target.call("POST", "/nodes", {"name": "hosts", "initiators": [HOST]}, expect=201)
    target.call("POST", "/luns", {"node": "hosts", "vd": "b1"}, expect=201)
    with target.log_in(node["iqn"]) as session:
        session.write(1, 0, b"after it" * (MIB // 8))
        session.flush(1)
    written = digest(replication.live())
    assert written != whole

    source.start()
    job = eventually(lambda: (found := replication.job())["state"] == "superseded" and found)
    assert job["error"]["kind"] == "superseded"
    assert "keep hosts off the source VD" in job["error"]["sentence"]
    # Its administrator may ask again, and gets the same answer.
    replication.start()
    job = eventually(lambda: (found := replication.job())["state"] == "superseded" and found)
    assert digest(replication.live()) == written
    # What it would take to go back is kept: the generation that both sides hold.
    assert job["base_generation"] == 1
    source.call("DELETE", "/jobs/nightly", expect=204)
    assert digest(replication.live()) == written


def test_a_copy_that_is_promoted_under_a_running_cycle_is_a_whole_one(replication: "Replication") -> None:
    replication.host_writes((0, 64))
    replication.start()
    replication.until("idle")
    whole = digest(replication.copies()[1])
    replication.host_writes((0, 400))
    replication.start()
    replication.under_way()
    done = replication.target.call("POST", "/virtual-disks/b1/promote", {"confirm": "b1"})
    assert done["generation"] == 1
    assert digest(replication.live()) == whole
    # The source is told at its next attempt, without anybody doing anything there.
    eventually(lambda: replication.job()["state"] == "superseded")
    assert digest(replication.live()) == whole
    kinds = [one["kind"] for one in replication.source.call("GET", "/events")]
    assert "worker-died" not in kinds
