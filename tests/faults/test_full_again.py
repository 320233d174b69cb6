"""A full copy again, since the base is lost: the backup VD is compared, and what differs is sent, whoever dies."""

import os
from typing import TYPE_CHECKING

import pytest

from qreplica.storage.btrfs import BtrfsDriver
from qreplica.units import KIB, MIB

from ..daemon.running import eventually  # noqa: TID252 - the controllers of the daemon's own tests

if TYPE_CHECKING:
    from .conftest import Replication

pytestmark = pytest.mark.root

#: What hosts change after the base is lost, in MiB: offset and length.
CHANGES = ((3, 1), (70, 1), (150, 2), (250, 1))
CHANGED = sum(length for _, length in CHANGES) * MIB


def lose_base(replication: "Replication") -> None:
    base = replication.copies()[0].parent
    vd, group = base.parents[1], base.parents[3]
    driver = BtrfsDriver(group.parent)
    driver.delete_snapshot(group.name, vd.name, base.name)
    assert not base.exists()


def test_only_what_differs_is_sent_though_the_source_dies_in_the_middle(replication: "Replication") -> None:
    """A host wrote, and made data zeros; the limit on what is sent makes the middle last."""
    source = replication.source
    replication.host_writes((0, 160), (240, 20))
    replication.start()
    first = replication.until("idle")["cycle"]
    assert (first["kind"], first["sent_bytes"], first["compared_bytes"]) == ("full", 180 * MIB, 0)
    lose_base(replication)
    replication.host_writes(*CHANGES)
    with source.log_in(replication.iqn) as host:
        host.write_zeros(1, 100 * MIB, 8 * MIB)
        host.flush(1)
    source.call("PUT", "/jobs/nightly/bandwidth", {"limit": "2MiB"})
    replication.start()
    # Compared up to there, and made durable.
    eventually(lambda: 0 < replication.checkpoint() < 512 * MIB)
    source.kill()
    interrupted = replication.checkpoint()
    assert 0 < interrupted < 512 * MIB
    source.start()
    source.call("DELETE", "/jobs/nightly/bandwidth", expect=204)
    cycle = replication.until("idle")["cycle"]
    assert (cycle["kind"], cycle["outcome"], cycle["generation"]) == ("full", "committed", 2)
    assert cycle["resumes"] >= 1
    # What was sent within the last second before it died may not have been counted, and was sent again.
    assert CHANGED - 3 * MIB <= cycle["sent_bytes"] <= 2 * CHANGED
    assert 172 * MIB - interrupted <= cycle["compared_bytes"] <= 2 * 180 * MIB
    replication.check_copy()
    replication.check_live()
    events = [one["kind"] for one in source.call("GET", "/events")]
    assert "cycle-compares" in events
    what_somebody_wrote_behind_everyones_back_is_found(replication)


def what_somebody_wrote_behind_everyones_back_is_found(replication: "Replication") -> None:
    """In the backup VD's file, where the copy has data and where it has a hole."""
    lose_base(replication)
    with replication.live().open("r+b") as live:
        for at in (5 * MIB, 300 * MIB):
            live.seek(at)
            live.write(os.urandom(4096))
        os.fsync(live.fileno())
    replication.start()
    cycle = replication.until("idle")["cycle"]
    assert (cycle["kind"], cycle["generation"], cycle["sent_bytes"]) == ("full", 3, 64 * KIB)
    replication.check_copy()
