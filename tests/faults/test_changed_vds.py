"""A source VD that grows, or is rolled back, under a job: real disks, target daemons and workers on both sides."""

import hashlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from qreplica.iscsi.errors import OutOfRange
from qreplica.units import MIB

from ..daemon.running import eventually  # noqa: TID252 - the controllers of the daemon's own tests

if TYPE_CHECKING:
    from .conftest import Replication

pytestmark = pytest.mark.root


def test_host_and_backup_vd_follow_a_vd_that_grows(replication: "Replication") -> None:
    source, target = replication.source, replication.target
    size = source.call("GET", "/virtual-disks/v1")["size"]
    data = os.urandom(4 * MIB)
    with source.log_in(replication.iqn) as host:
        host.write(1, 0, data)
        host.flush(1)
        replication.start()
        replication.until("idle")
        assert source.call("POST", "/virtual-disks/v1/extend", {"size": size + 64 * MIB})["size"] == size + 64 * MIB
        with pytest.raises(OutOfRange):
            host.write(1, size, data)
        assert host.capacity(1).size == size + 64 * MIB
        assert host.read(1, 0, len(data)) == data
        host.write(1, size + 60 * MIB, data)
        host.flush(1)
    # First the target's RAID group has no room to follow.
    free = target.call("GET", "/raid-groups/rg1")["free"]
    filler = {"name": "filler", "raid_group": "rg1", "size": (free - 100 * MIB) // 4096 * 4096}
    target.call("POST", "/virtual-disks", filler, expect=201)
    replication.start()
    failed = replication.until("failed")
    assert failed["error"]["kind"] == "backup-vd-cannot-follow"
    assert "make room there, then start the job" in str(failed["error"])
    assert failed["target_size"] == size
    target.call("DELETE", "/virtual-disks/filler", expect=204)
    replication.start()
    done = replication.until("idle")
    assert done["cycle"]["kind"] == "incremental"
    assert done["cycle"]["sent_bytes"] == len(data)
    assert done["target_size"] == size + 64 * MIB == target.call("GET", "/virtual-disks/b1")["size"]
    replication.check_copy()


def test_a_job_goes_on_after_its_vd_was_rolled_back(replication: "Replication") -> None:
    """The delta is between the base and a snapshot of a disk that descends from another snapshot."""
    source = replication.source
    source.call("PATCH", "/virtual-disks/v1", {"snapshot_space": "1GiB"})
    replication.host_writes((0, 40))
    source.call("POST", "/snapshots", {"vd": "v1", "name": "wanted"}, expect=201)
    live = next(source.directory.glob("state/rg/*/vds/*/live/disk"))
    with live.open("rb") as disk:
        before = hashlib.file_digest(disk, "sha256").hexdigest()
    replication.host_writes((8, 8), (100, 8))
    replication.start()
    replication.until("idle")
    replication.host_writes((16, 4), (200, 4))
    with source.log_in(replication.iqn):
        refused = source.call("POST", "/snapshots/v1/wanted/roll-back", {"confirm": "v1"}, expect=409)
        assert refused["type"].endswith("vd-has-hosts")
    loss = source.call("GET", "/snapshots/v1/wanted/roll-back")
    assert loss["changed"] == 24 * MIB
    # What the host has logged out of may take the target daemon a moment to forget.
    done = eventually(lambda: _rolled_back(replication))
    with live.open("rb") as disk:
        assert hashlib.file_digest(disk, "sha256").hexdigest() == before
    assert done["kept"].startswith("before-rollback-")
    replication.host_writes((20, 1))
    replication.start()
    cycle = replication.until("idle")["cycle"]
    assert cycle["kind"] == "incremental"
    # 8 MiB went back to what it was, and a host wrote 1 MiB since; 8 MiB went back to zeros, which are not sent.
    assert cycle["sent_bytes"] == 9 * MIB
    replication.check_copy()


def _rolled_back(replication: "Replication") -> dict[str, Any] | None:
    answer = replication.source.http.post("/snapshots/v1/wanted/roll-back", json={"confirm": "v1"})
    return answer.json() if answer.status_code == 200 else None
