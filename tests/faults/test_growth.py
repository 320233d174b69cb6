"""A source VD that grows under a host and its job: real disks, target daemons and workers on both sides."""

import os
from typing import TYPE_CHECKING

import pytest

from qreplica.iscsi.errors import OutOfRange
from qreplica.units import MIB

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
