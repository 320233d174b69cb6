"""A VD that hosts use and a job replicates is extended, and a controller is killed at each step that was persisted.

Whatever is left is gone on with: promise, engine, both target daemons, backup VD and copy agree in the end. What the
step waits for is held here, so that the kill comes exactly then: the RG's lock, the target daemon's serving lock, or
the target daemon itself.
"""

import fcntl
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from qreplica.units import MIB

from ..daemon.running import Controller, eventually  # noqa: TID252 - the controllers of the daemon's own tests
from .conftest import SIZE, Replication

pytestmark = pytest.mark.root
MORE = 32 * MIB


class Growing:
    """One extension: ``size`` is what the VD is to have, 32 MiB more than before."""

    def __init__(self, replication: Replication, size: int) -> None:
        self.boxes = replication
        self.size = size

    def extend(self) -> None:
        """Ask for it; the daemon may be killed meanwhile."""
        with suppress(httpx.TransportError):
            self.boxes.source.http.post("/virtual-disks/v1/extend", json={"size": self.size})

    @contextmanager
    def extending(self) -> Iterator[None]:
        """Have it asked for meanwhile."""
        thread = threading.Thread(target=self.extend)
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def write(self) -> None:
        """Write the last MiB, which the VD had not before, and one in the middle."""
        self.boxes.host_writes((self.size // MIB - 1, 1), (7, 1))

    def killed_when_promised(self) -> None:
        source = self.boxes.source
        with locked(group_lock(source)), self.extending():
            eventually(lambda: promised(source, "v1") == self.size)
            assert file_size(source) == self.size - MORE
            source.kill()
        source.start()
        self.write()

    def killed_when_the_engine_had_followed(self) -> None:
        source = self.boxes.source
        with locked(source.directory / "state" / "tgtd" / "1.serving"), self.extending():
            eventually(lambda: file_size(source) == self.size)
            source.kill()
        source.start()
        self.write()

    def killed_when_hosts_saw_it(self) -> None:
        source = self.boxes.source
        with source.log_in(self.boxes.iqn) as session:
            source.call("POST", "/virtual-disks/v1/extend", {"size": self.size})
            assert session.capacity(1).size == self.size
            source.kill()
        source.start()
        self.write()

    @contextmanager
    def target_promising(self) -> Iterator[None]:
        """Have the target promise that it follows, while its engine cannot yet."""
        target = self.boxes.target
        self.extend()
        self.write()
        with locked(group_lock(target)):
            self.boxes.start()
            eventually(lambda: promised(target, "b1") == self.size)
            yield

    def target_killed_when_it_had_promised(self) -> None:
        target = self.boxes.target
        with self.target_promising():
            assert file_size(target) == self.size - MORE
            target.kill()
        target.start()

    def target_killed_when_its_engine_had_followed(self) -> None:
        target = self.boxes.target
        with self.target_promising():
            os.kill(target.tgtd(), signal.SIGSTOP)
        eventually(lambda: file_size(target) == self.size)
        target.kill()
        target.start()

    def source_killed_while_the_target_followed(self) -> None:
        source = self.boxes.source
        with self.target_promising():
            source.kill()
        source.start()

    def check(self) -> None:
        """Let the job come to its end, and compare all sizes, and all bytes."""
        if self.boxes.job()["state"] == "idle":
            self.boxes.start()
        job = self.boxes.until("idle")
        assert job["cycle"]["outcome"] == "committed"
        assert job["cycle"]["kind"] == "incremental"
        with self.boxes.source.log_in(self.boxes.iqn) as session:
            assert session.capacity(1).size == self.size
        for box, vd in ((self.boxes.source, "v1"), (self.boxes.target, "b1")):
            assert file_size(box) == promised(box, vd) == self.size
        assert job["target_size"] == self.size
        assert [file.stat().st_size for file in self.boxes.copies()] == [self.size] * 2
        self.boxes.check_copy()


@contextmanager
def locked(file: Path) -> Iterator[None]:
    with file.open("a") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def group_lock(box: Controller) -> Path:
    (place,) = [path for path in (box.directory / "state" / "rg").iterdir() if path.is_dir()]
    return place.with_name(f".{place.name}.lock")


def file_size(box: Controller) -> int:
    return next(box.directory.glob("state/rg/*/vds/*/live/disk")).stat().st_size


def promised(box: Controller, vd: str) -> int:
    """Return the size of the VD in the state, which needs no daemon."""
    database = sqlite3.connect(f"file:{box.directory}/state/qreplica.db?mode=ro", uri=True)
    try:
        return int(database.execute("SELECT size FROM virtual_disks WHERE name = ?", [vd]).fetchone()[0])
    finally:
        database.close()


KILLS: list[Callable[[Growing], None]] = [
    Growing.killed_when_promised,
    Growing.killed_when_the_engine_had_followed,
    Growing.killed_when_hosts_saw_it,
    Growing.target_killed_when_it_had_promised,
    Growing.target_killed_when_its_engine_had_followed,
    Growing.source_killed_while_the_target_followed,
]


def test_sizes_and_bytes_agree_wherever_an_extension_was_cut_off(replication: Replication) -> None:
    replication.host_writes((0, 16))
    replication.start()
    replication.until("idle")
    for number, kill in enumerate(KILLS, 1):
        print(kill.__name__)
        growing = Growing(replication, SIZE + number * MORE)
        kill(growing)
        growing.check()
