"""A source controller fails in the middle of a cycle onto another maker's disk, which has nothing but reservations."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from qreplica.lab.ledger import between_writes
from qreplica.units import MIB

from ..daemon.running import HOST, eventually, gone  # noqa: TID252 - the controllers of the daemon's own tests
from ..iscsi.initiator.conftest import Tgtd  # noqa: TID252 - a tgtd that is nobody's
from .conftest import Replication, _controller, _digest, _query
from .test_takeover import Pair

pytestmark = pytest.mark.root

FOREIGN = "iqn.2024-05.com.example:foreign"


class PlainReplication(Replication):
    """A source whose job “nightly” replicates VD “v1” to the file of a tgtd that is nobody's, as a plain target."""

    size = 96 * MIB

    def __init__(self, folder: Path) -> None:
        self.source = _controller(folder / "source", "source")
        self.disk = folder / "foreign-disk"
        self.foreign = Tgtd(folder)

    def set_up(self) -> None:
        with self.disk.open("wb") as disk:
            disk.truncate(self.size)
        self.foreign.start()
        self.foreign.add_node(1, FOREIGN)
        self.foreign.admin(
            *("--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1", "-b", str(self.disk)),
        )
        source = self.source
        source.license()
        source.start()
        source.set_up()
        image = str(source.directory / "1.img")
        source.call("POST", "/disks", {"name": "d1", "image": image, "size": "4GiB"}, expect=201)
        source.call("POST", "/raid-groups", {"name": "rg1", "level": "jbod", "disks": ["d1"]}, expect=201)
        source.call("POST", "/virtual-disks", {"name": "v1", "raid_group": "rg1", "size": str(self.size)}, expect=201)
        node = source.call("POST", "/nodes", {"name": "hosts", "initiators": [HOST]}, expect=201)
        source.call("POST", "/luns", {"node": "hosts", "vd": "v1"}, expect=201)
        self.iqn = str(node["iqn"])
        where = {"address": "127.0.0.1", "port": self.foreign.port, "node": FOREIGN, "lun": 1, "plain": True}
        job = source.call("POST", "/jobs", {"name": "nightly", "source_vd": "v1", **where}, expect=201)
        assert job["plain"]["fenced"]
        # Slow enough to be met in the middle.
        source.call("PUT", "/jobs/nightly/bandwidth", {"limit": "32MiB"})

    def check_copy(self) -> None:
        """The disk is, byte for byte, the source's snapshot."""
        base = _query(self.source, "SELECT base_snapshot_id FROM jobs")
        snapshot = next(self.source.directory.glob(f"state/rg/*/vds/*/snapshots/{base}/disk"))
        assert _digest(snapshot) == _digest(self.disk)

    def close(self) -> None:
        self.source.close()
        self.foreign.stop()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    replication = PlainReplication(tmp_path)
    made = None
    try:
        replication.set_up()
        made = Pair(replication)
        eventually(lambda: made.doers() == [1, 2])
        yield made
    finally:
        if made is not None:
            made.close()
        replication.close()


def test_a_killed_controllers_job_goes_on_and_a_woken_one_changes_no_byte(pair: Pair) -> None:
    """First the one controller is stopped in the middle of a full copy, then, when it runs again, it is killed."""
    replication = pair.replication
    replication.host_writes((0, replication.size // MIB))
    replication.start()
    checkpoint = replication.under_way()["checkpoint"]
    stopped = [pair.first.pid, replication.worker()]
    with between_writes(pair.first.directory / "state" / "qreplica.db"):
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: pair.doers() == [2, 2])
        pair.finish_on_the_second(checkpoint)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert gone(stopped[1])
    eventually(lambda: pair.doers() == [1, 2])
    replication.check_copy()
    replication.host_writes((0, replication.size // MIB // 2))
    replication.start()
    changed = replication.under_way()
    assert changed["kind"] == "incremental"
    pair.first.kill()
    eventually(lambda: pair.doers() == [2, 2])
    second, first = pair.second, replication.source
    replication.source = second
    try:
        job = replication.until("idle")
    finally:
        replication.source = first
    assert job["cycle"]["outcome"] == "committed"
    assert job["cycle"]["resumes"] >= 1
    replication.check_copy()
