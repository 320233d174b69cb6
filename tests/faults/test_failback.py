"""There and back again: hosts go on with the copy, the old side gives way, and only what has changed is sent home."""

import hashlib
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from qreplica.iscsi.errors import (
    CommandFailed,
    LoginRefused,
    LunMissing,
    PortalUnreachable,
    SessionLost,
    WriteProtected,
)
from qreplica.units import MIB

from ..daemon.running import HOST, Controller, eventually  # noqa: TID252 - the controllers of the daemon's own tests
from .conftest import CHAP, Replication

pytestmark = pytest.mark.root


class Side:
    """One of the two subsystems, with the VD that is replicated to or from it."""

    def __init__(self, controller: Controller, vd: str) -> None:
        self.controller = controller
        self.vd = vd

    def call(self, *request: Any, **more: Any) -> Any:
        return self.controller.call(*request, **more)

    def file(self) -> Path:
        """The live VD; after a roll-back it is another file of the same name."""
        vd = self.call("GET", f"/virtual-disks/{self.vd}")["id"]
        return next(self.controller.directory.glob(f"state/rg/*/vds/{vd}/live/disk"))

    def digest(self) -> str:
        with self.file().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def node(self) -> str:
        """The IQN of the node for hosts, made when there is none."""
        found = [one for one in self.call("GET", "/nodes") if one["name"] == "hosts"]
        node = found[0] if found else self.call("POST", "/nodes", {"name": "hosts", "initiators": [HOST]}, expect=201)
        return str(node["iqn"])

    def host_writes(self, letter: bytes, *ranges: tuple[int, int]) -> None:
        """Write a letter to the VD by iSCSI, which is attached for that: (offset, length) in MiB."""
        iqn = self.node()
        self.call("POST", "/luns", {"node": "hosts", "vd": self.vd, "number": 1}, expect=201)
        with self.controller.log_in(iqn) as session:
            for offset, length in ranges:
                for at in range(offset, offset + length):
                    session.write(1, at * MIB, letter * MIB)
            session.flush(1)
        eventually(lambda: not self.hosts())
        self.call("DELETE", "/luns/hosts/1", expect=204)

    def hosts(self) -> list[str]:
        return [host for port in self.call("GET", "/ports") for host in port["hosts"]]

    def backup_node(self) -> str:
        """Attach the VD to a node for replication; return its IQN."""
        found = [one for one in self.call("GET", "/nodes") if one["name"] == "backups"]
        node = found[0] if found else self.call("POST", "/nodes", {"name": "backups", **CHAP}, expect=201)
        self.call("POST", "/luns", {"node": "backups", "vd": self.vd, "number": 1}, expect=201)
        return str(node["iqn"])

    def make_job_to(self, other: "Side", name: str) -> int | None:
        """Make a job to the other side's VD; return the generation that it was said to go on from."""
        where = {"address": "127.0.0.1", "peer_port": other.controller.peer_port, "node": other.backup_node(), **CHAP}
        offered = self.call("POST", "/jobs/backup-vds", {**where, "source_vd": self.vd})
        job = {"name": name, "source_vd": self.vd, "lun": 1, "port": other.controller.iscsi_port, **where}
        self.call("POST", "/jobs", job, expect=201)
        since: int | None = offered["vds"][0]["continues"]
        return since

    def run(self, job: str) -> dict[str, Any]:
        """Run a job to the end of its cycle, and return that."""
        self.call("POST", f"/jobs/{job}/start", expect=202)
        found = eventually(lambda: (one := self.call("GET", f"/jobs/{job}"))["state"] == "idle" and one)
        cycle: dict[str, Any] = found["cycle"]
        assert cycle["outcome"] == "committed"
        return cycle

    def superseded(self, job: str) -> None:
        """Start a job, which is told that its copy was promoted."""
        self.call("POST", f"/jobs/{job}/start", expect=202)
        eventually(lambda: self.call("GET", f"/jobs/{job}")["state"] == "superseded")

    def give_way(self, job: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.call("POST", f"/jobs/{job}/give-way", {"confirm": self.vd})
        return answer

    def content(self, snapshot: str) -> str:
        """The digest of a snapshot."""
        found = self.call("GET", f"/snapshots/{self.vd}/{snapshot}")["id"]
        with next(self.controller.directory.glob(f"state/rg/*/vds/*/snapshots/{found}/disk")).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class BothLicensed(Replication):
    """Each of the two can replicate to the other."""

    def prepare(self) -> None:
        self.target.license()
        super().prepare()


@pytest.fixture
def both_licensed(tmp_path: Path) -> Iterator[Replication]:
    made = BothLicensed(tmp_path)
    try:
        made.prepare()
        yield made
    finally:
        made.close()


@pytest.fixture
def sides(both_licensed: Replication) -> tuple[Side, Side]:
    """Source with VD “v1”, target with its copy “b1” of generation 2."""
    source, target = Side(both_licensed.source, "v1"), Side(both_licensed.target, "b1")
    both_licensed.make_job()
    source.call("DELETE", "/luns/hosts/1", expect=204)
    source.host_writes(b"a", (0, 64))
    source.run("nightly")
    source.host_writes(b"b", (0, 8))
    assert source.run("nightly")["generation"] == 2
    return source, target


def test_only_what_has_changed_goes_home_and_what_diverged_is_kept(sides: tuple[Side, Side]) -> None:
    source, target = sides
    whole = source.digest()
    target.call("POST", "/virtual-disks/b1/promote", {"confirm": "b1"})
    assert target.digest() == whole
    target.host_writes(b"c", (8, 4))
    # A host still used the old side, which nobody could know of.
    source.host_writes(b"d", (30, 3))
    diverged = source.digest()
    refused = source.call("POST", "/jobs/nightly/give-way", {"confirm": "v1"}, expect=409)
    assert refused["type"].endswith("job-not-superseded")
    source.call("PUT", "/qreplica/configuration", {"protect_superseded": True})
    source.superseded("nightly")

    prospect = source.call("GET", "/jobs/nightly/give-way")
    assert (prospect["vd"], prospect["generation"], prospect["changed"]) == ("v1", 2, 3 * MIB)
    source.call("POST", "/luns", {"node": "hosts", "vd": "v1", "number": 1}, expect=201)
    refused = source.call("POST", "/jobs/nightly/give-way", {"confirm": "v1"}, expect=409)
    assert refused["type"].endswith("still-attached")
    with source.controller.log_in(source.node()) as session, pytest.raises(WriteProtected):
        session.write(1, 0, b"e" * 4096)
    source.call("DELETE", "/luns/hosts/1", expect=204)
    refused = source.call("POST", "/jobs/nightly/give-way", {}, expect=409)
    assert refused["type"].endswith("give-way-not-confirmed")
    assert ", 3 MiB: " in refused["detail"]
    assert source.digest() == diverged
    given = source.give_way("nightly")
    assert given["problems"] == []
    assert source.digest() == whole
    assert source.content(given["kept"]) == diverged
    assert source.call("GET", "/virtual-disks/v1")["type"] == "BACKUP"
    assert source.call("GET", "/jobs") == []

    assert target.make_job_to(source, "home") == 2
    cycle = target.run("home")
    assert (cycle["kind"], cycle["base_generation"]) == ("incremental", 2)
    assert cycle["total_bytes"] == 4 * MIB
    assert source.digest() == target.digest()
    target.host_writes(b"e", (50, 2))
    cycle = target.run("home")
    assert (cycle["kind"], cycle["total_bytes"]) == ("incremental", 2 * MIB)
    assert source.digest() == target.digest()


def test_there_and_back_and_there_again(sides: tuple[Side, Side]) -> None:
    here, there = sides
    job = "nightly"
    for number, letter in enumerate((b"c", b"d", b"e")):
        # The side that has been written so far dies for its hosts, and they go on with the copy.
        there.call("POST", f"/virtual-disks/{there.vd}/promote", {"confirm": there.vd})
        there.host_writes(letter, (10 + number, 1))
        here.superseded(job)
        here.give_way(job)
        job = f"way-{number}"
        assert there.make_job_to(here, job) is not None
        cycle = there.run(job)
        assert (cycle["kind"], cycle["total_bytes"]) == ("incremental", MIB)
        assert here.digest() == there.digest()
        here, there = there, here


def test_from_an_older_point_the_way_home_is_right_too(sides: tuple[Side, Side]) -> None:
    source, target = sides
    target.call("POST", "/virtual-disks/b1/promote", {"confirm": "b1", "generation": 1})
    target.host_writes(b"c", (4, 2))
    source.superseded("nightly")
    # Generation 2 is what both hold last, though the copy went on from 1.
    assert source.call("GET", "/jobs/nightly/give-way")["generation"] == 2
    source.give_way("nightly")
    assert target.make_job_to(source, "home") == 2
    cycle = target.run("home")
    assert (cycle["kind"], cycle["generation"]) == ("incremental", 3)
    # More is sent than differs: the engine compares extents, and one that begins elsewhere counts whole.
    assert cycle["total_bytes"] >= 8 * MIB
    assert source.digest() == target.digest()


class Host:
    """Writes to a VD by iSCSI until it is no longer allowed to, and remembers what was acknowledged."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._iqn = side.node()
        side.call("POST", "/luns", {"node": "hosts", "vd": side.vd, "number": 1}, expect=201)
        self.content = bytearray(side.file().read_bytes())
        self.refused: list[str] = []
        self._unsure = slice(0, 0)
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def holds(self, content: bytes) -> bool:
        """Tell whether that is what was acknowledged. A write that was not may have been done, or not."""
        expected = bytearray(self.content)
        expected[self._unsure] = content[self._unsure]
        return bytes(expected) == content

    def _write(self) -> None:
        for turn in itertools.count(1):
            place = slice(turn * 37 % 1024 * 4096, turn * 37 % 1024 * 4096 + 4096)
            block = turn.to_bytes(8, "big") * 512
            self._unsure = place
            while not self._is_written(place.start, block):
                if self.refused:
                    return
            self.content[place] = block

    def _is_written(self, at: int, block: bytes) -> bool:
        """Write once; return whether that was acknowledged. A session that was cut off is begun anew by the next."""
        try:
            with self._side.controller.log_in(self._iqn) as session:
                session.write(1, at, block)
        except (WriteProtected, LunMissing) as error:
            self.refused.append(error.kind)
            return False
        except (LoginRefused, PortalUnreachable, SessionLost, CommandFailed):
            return False
        return True


@pytest.mark.parametrize("killed", ["source", "target"])
def test_a_planned_failover_takes_all_that_hosts_were_told_is_written(sides: tuple[Side, Side], killed: str) -> None:
    source, target = sides
    with Host(source) as host:
        refused = source.call("POST", "/jobs/nightly/failover", {}, expect=409)
        assert refused["type"].endswith("failover-not-confirmed")
        source.call("POST", "/jobs/nightly/failover", {"confirm": "v1"}, expect=202)
        victim = (source if killed == "source" else target).controller
        victim.kill()
        victim.start()
        eventually(lambda: not source.call("GET", "/jobs"))
    assert host.refused
    assert host.holds(source.file().read_bytes())
    assert source.digest() == target.digest()
    assert source.call("GET", "/virtual-disks/v1")["type"] == "BACKUP"
    assert source.call("GET", "/virtual-disks/v1")["luns"] == []
    assert target.call("GET", "/virtual-disks/b1")["type"] == "RAID"
    told = [one["message"] for one in source.call("GET", "/events") if one["kind"] == "vd-gave-way"]
    assert any("0 bytes are lost" in one for one in told)

    # And home again, by the same step.
    target.host_writes(b"c", (8, 4))
    assert target.make_job_to(source, "home") is not None
    target.run("home")
    with Host(target) as host:
        target.call("POST", "/jobs/home/failover", {"confirm": "b1"}, expect=202)
        eventually(lambda: not target.call("GET", "/jobs"))
    assert host.refused
    assert host.holds(source.file().read_bytes())
    assert source.digest() == target.digest()
    assert source.call("GET", "/virtual-disks/v1")["type"] == "RAID"
