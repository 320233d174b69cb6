"""Two whole subsystems on loopback, one replicating to the other."""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qreplica.units import MIB

from ..daemon.running import HOST, Controller, eventually  # noqa: TID252 - the controllers of the daemon's own tests

SIZE = 512 * MIB
CHAP = {"chap_user": "replica", "chap_secret": "a-secret-of-the-node"}
#: Checkpoints often enough for one to be met before the end.
TRANSFER = "[transfer]\ncheckpoint_bytes = 16777216\ncheckpoint_seconds = 0.5\ncheckpoint_pause = 0\n"


class Replication:
    """Source and target, real in all parts, with the job “nightly” from VD “v1” to backup VD “b1”."""

    size = SIZE

    def __init__(self, folder: Path) -> None:
        self.source = _controller(folder / "source", "source")
        self.target = _controller(folder / "target", "target")

    def set_up(self) -> None:
        self.prepare()
        self.make_job()

    def prepare(self) -> None:
        """Make all that a job needs."""
        self.source.license()
        for one in (self.source, self.target):
            one.begin()
        for one in (self.source, self.target):
            one.wait_until_ready()
            one.set_up()
            image = str(one.directory / "1.img")
            one.call("POST", "/disks", {"name": "d1", "image": image, "size": "6GiB"}, expect=201)
            one.call("POST", "/raid-groups", {"name": "rg1", "level": "jbod", "disks": ["d1"]}, expect=201)
        self.source.call(
            "POST", "/virtual-disks", {"name": "v1", "raid_group": "rg1", "size": str(self.size)}, expect=201
        )
        node = self.source.call("POST", "/nodes", {"name": "hosts", "initiators": [HOST]}, expect=201)
        self.source.call("POST", "/luns", {"node": "hosts", "vd": "v1"}, expect=201)
        self.iqn = str(node["iqn"])
        backup = {"name": "b1", "raid_group": "rg1", "size": str(self.size), "type": "BACKUP"}
        self.target.call("POST", "/virtual-disks", backup, expect=201)
        node = self.target.call("POST", "/nodes", {"name": "backups", **CHAP}, expect=201)
        self.backup_iqn = str(node["iqn"])
        self.target.call("POST", "/luns", {"node": "backups", "vd": "b1", "number": 1}, expect=201)

    def make_job(self) -> None:
        where = {"address": "127.0.0.1", "port": self.target.iscsi_port, "peer_port": self.target.peer_port}
        job = {"name": "nightly", "source_vd": "v1", "lun": 1, "node": self.backup_iqn, **CHAP, **where}
        self.source.call("POST", "/jobs", job, expect=201)

    def host_writes(self, *ranges: tuple[int, int]) -> None:
        """Write random bytes to the source VD by iSCSI: (offset, length) in MiB."""
        with self.source.log_in(self.iqn) as session:
            for offset, length in ranges:
                for at in range(offset, offset + length, 8):
                    session.write(1, at * MIB, os.urandom(min(8, offset + length - at) * MIB))
            session.flush(1)

    def start(self) -> None:
        self.source.call("POST", "/jobs/nightly/start", expect=202)

    def job(self) -> dict[str, Any]:
        job: dict[str, Any] = self.source.call("GET", "/jobs/nightly")
        return job

    def until(self, state: str) -> dict[str, Any]:
        """Wait until the job is in the state."""

        def look() -> dict[str, Any] | None:
            job = self.job()
            assert job["state"] in {state, "running", "waiting", "stopping"}, job
            return job if job["state"] == state else None

        found = eventually(look)
        assert found is not None
        return found

    def under_way(self) -> dict[str, Any]:
        """Wait for a checkpoint that is neither the beginning nor the end."""

        def look() -> dict[str, Any] | None:
            cycle: dict[str, Any] = self.job()["cycle"]
            assert cycle["outcome"] is None, "it was over too soon"
            return cycle if 0 < cycle["checkpoint"] < self.size else None

        found = eventually(look)
        assert found is not None
        return found

    def worker(self) -> int:
        """Return the pid of the job's worker, as soon as there is one."""

        def look() -> list[int]:
            children = self.source.children()
            return [pid for pid in children if b"qreplica.replication.worker" in _command_line(pid)]

        return eventually(look)[0]

    def checkpoint(self) -> int:
        """Return the checkpoint as the state database has it, which needs no daemon."""
        return int(_query(self.source, "SELECT checkpoint FROM cycles ORDER BY generation DESC LIMIT 1"))

    def live(self) -> Path:
        """Return the file that is the live backup VD."""
        return next(self.target.directory.glob("state/rg/*/vds/*/live/disk"))

    def copies(self) -> tuple[Path, Path]:
        """Return the file of the source's base snapshot and that of the target's newest recovery point."""
        base = _query(self.source, "SELECT base_snapshot_id FROM jobs")
        point = _query(self.target, "SELECT snapshot_id FROM recovery_points ORDER BY generation DESC LIMIT 1")
        found = [
            next(side.directory.glob(f"state/rg/*/vds/*/snapshots/{snapshot}/disk"))
            for side, snapshot in ((self.source, base), (self.target, point))
        ]
        return found[0], found[1]

    def check_copy(self) -> None:
        """The recovery point is, byte for byte, the source's snapshot."""
        source, target = self.copies()
        assert _digest(source) == _digest(target)

    def check_live(self) -> None:
        """Nothing has changed the backup VD since its newest recovery point."""
        assert _digest(self.live()) == _digest(self.copies()[1])

    def close(self) -> None:
        for one in (self.source, self.target):
            one.close()


def _controller(folder: Path, name: str) -> Controller:
    folder.mkdir()
    made = Controller(folder)
    made.config.write_text(made.text(subsystem=name) + TRANSFER)
    return made


def _query(side: Controller, query: str) -> str:
    database = sqlite3.connect(f"file:{side.directory}/state/qreplica.db?mode=ro", uri=True)
    try:
        return str(database.execute(query).fetchone()[0])
    finally:
        database.close()


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return hashlib.file_digest(content, "sha256").hexdigest()


@pytest.fixture
def replication(tmp_path: Path) -> Iterator[Replication]:
    made = Replication(tmp_path)
    try:
        made.set_up()
        yield made
    finally:
        made.close()


@pytest.fixture
def crashes(pytestconfig: pytest.Config) -> int:
    """How often a crash test crashes: a few times, or as often as --soak says."""
    return int(pytestconfig.getoption("--soak") or 2)


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """What everything random in a crash test comes from; shown when it fails."""
    seed = int(pytestconfig.getoption("--seed"))
    print(f"--seed {seed} --soak N: the same again")
    return seed
