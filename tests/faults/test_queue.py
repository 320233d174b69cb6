"""One job may run at once: the second is queued, stays so over a crash of its daemon, and runs when its turn comes."""

import os
from pathlib import Path
from typing import Any

import pytest

from qreplica.units import MIB

from ..daemon.running import Controller, eventually  # noqa: TID252 - the controllers of the daemon's own tests
from .conftest import Replication

pytestmark = pytest.mark.root

_SMALL = 16 * MIB
_CHAP = {"chap_user": "second", "chap_secret": "another-secret-of-it"}


def add_second_job(both: Replication) -> None:
    """Make the job “second”, from VD “v2”, which is LUN 2 for the host, to backup VD “b2”."""
    source, target = both.source, both.target
    vd = {"raid_group": "rg1", "size": str(_SMALL)}
    source.call("POST", "/virtual-disks", {"name": "v2", **vd}, expect=201)
    source.call("POST", "/luns", {"node": "hosts", "vd": "v2", "number": 2}, expect=201)
    target.call("POST", "/virtual-disks", {"name": "b2", **vd, "type": "BACKUP"}, expect=201)
    node = target.call("POST", "/nodes", {"name": "second", **_CHAP}, expect=201)
    target.call("POST", "/luns", {"node": "second", "vd": "b2", "number": 1}, expect=201)
    where = {"address": "127.0.0.1", "port": target.iscsi_port, "peer_port": target.peer_port}
    (v1, v2) = source.call("GET", "/qreplica/source-vds")
    assert (v1["qualifies"], v2["qualifies"]) == (False, True)
    asked = {"address": "127.0.0.1", "peer_port": target.peer_port, "node": node["iqn"], **_CHAP, "source_vd": "v2"}
    (offered,) = source.call("POST", "/jobs/backup-vds", asked)["vds"]
    assert (offered["name"], offered["qualifies"], offered["reason"]) == ("b2", True, None)
    job = {"name": "second", "source_vd": "v2", "lun": offered["lun"], "node": node["iqn"], **_CHAP, **where}
    source.call("POST", "/jobs", job, expect=201)


def live(side: Controller, vd: str) -> Path:
    found: Any = side.call("GET", f"/virtual-disks/{vd}")
    return next(side.directory.glob(f"state/rg/*/vds/{found['id']}/live/disk"))


def test_a_queued_job_outlives_its_daemon_and_runs_in_its_turn(replication: Replication) -> None:
    source = replication.source
    add_second_job(replication)
    content = os.urandom(_SMALL)
    with source.log_in(replication.iqn) as session:
        session.write(1, 0, os.urandom(8 * MIB))
        session.write(2, 0, content)
        session.flush(1)
        session.flush(2)
    source.call("PUT", "/qreplica/configuration", {"running_jobs": 1})
    # So slow that it is at work until it is let go.
    source.call("PUT", "/jobs/nightly/bandwidth", {"limit": 65536})
    replication.start()
    queued = source.call("POST", "/jobs/second/start", expect=202)
    assert queued["queued"]["sentence"] == "place 1: waiting for 1 running job; limit 1"
    first = replication.worker()
    source.kill()
    source.start()
    assert eventually(lambda: replication.worker() != first)
    assert [job["state"] for job in source.call("GET", "/jobs")] == ["running", "queued"]
    assert source.call("GET", "/jobs/second")["cycle"] is None
    source.call("DELETE", "/jobs/nightly/bandwidth", expect=204)
    replication.until("idle")
    replication.check_copy()

    def second() -> Any:
        job = source.call("GET", "/jobs/second")
        assert job["error"] is None, job
        return job if job["state"] == "idle" else None

    assert eventually(second)["cycle"]["outcome"] == "committed"
    assert live(replication.target, "b2").read_bytes() == content
