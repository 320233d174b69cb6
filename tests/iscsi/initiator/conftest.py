"""A tgtd of each test's own: its control port, its TCP port on 127.0.0.1, its files."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from qreplica.iscsi.initiator import Portal, Session
from qreplica.units import MIB

from ...ports import control_port, free_port  # noqa: TID252

IQN = "iqn.2024-05.com.example:backup"
INITIATOR = "iqn.2024-05.com.example:initiator"
TUNING = {
    "MaxRecvDataSegmentLength": MIB,
    "MaxXmitDataSegmentLength": MIB,
    "MaxBurstLength": 16776192,
    "FirstBurstLength": MIB,
    "InitialR2T": "No",
    "ImmediateData": "Yes",
    "MaxOutstandingR2T": 16,
    "HeaderDigest": "CRC32C,None",
}


@dataclass
class Tgtd:
    folder: Path
    control: int = field(default_factory=control_port)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        listen = f"portal=127.0.0.1:{self.port}"
        with (self.folder / "tgtd.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["tgtd", "-f", "-C", str(self.control), "-t", "4", "--iscsi", listen], stdout=log, stderr=log
            )
        for _ in range(200):
            if self._tgtadm("--mode", "sys", "--op", "show").returncode == 0:
                return
            assert self.process.poll() is None, (self.folder / "tgtd.log").read_text()
            time.sleep(0.02)
        raise AssertionError("tgtd did not start")

    def _tgtadm(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = ["tgtadm", "-C", str(self.control), "--lld", "iscsi", *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    def admin(self, *words: str) -> str:
        done = self._tgtadm(*words)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def add_node(self, tid: int, iqn: str, *, admit: str | None = None) -> None:
        self.admin("--mode", "target", "--op", "new", "--tid", str(tid), "-T", iqn)
        for name, value in TUNING.items():
            self.admin("--mode", "target", "--op", "update", "--tid", str(tid), "-n", name, "-v", str(value))
        rule = ["-I", "ALL"] if admit is None else ["-Q", admit]
        self.admin("--mode", "target", "--op", "bind", "--tid", str(tid), *rule)

    def add_lun(self, tid: int, lun: int, file: Path, *options: str, params: str = "") -> None:
        where = ["--tid", str(tid), "--lun", str(lun)]
        self.admin("--mode", "logicalunit", "--op", "new", *where, "-b", str(file), *options)
        known = "vendor_id=QREPLICA,product_id=VIRTUAL-DISK,scsi_sn=SN0001,thin_provisioning=1"
        self.admin("--mode", "logicalunit", "--op", "update", *where, "--params", known + params)

    def remove_lun(self, tid: int, lun: int) -> None:
        self.admin("--mode", "logicalunit", "--op", "delete", "--tid", str(tid), "--lun", str(lun))

    def add_account(self, tid: int, user: str, secret: str, *direction: str) -> None:
        self.admin("--mode", "account", "--op", "new", "--user", user, "--password", secret)
        self.admin("--mode", "account", "--op", "bind", "--tid", str(tid), "--user", user, *direction)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        for name in (f"socket.{self.control}", f"socket.{self.control}.lock"):
            Path("/var/run/tgtd", name).unlink(missing_ok=True)

    @property
    def portal(self) -> Portal:
        return Portal("127.0.0.1", self.port)


@pytest.fixture
def start_tgtd(tmp_path: Path) -> Iterator[Callable[[], Tgtd]]:
    started: list[Tgtd] = []

    def start() -> Tgtd:
        tgtd = Tgtd(tmp_path)
        started.append(tgtd)
        tgtd.start()
        return tgtd

    yield start
    for tgtd in started:
        tgtd.stop()


@pytest.fixture
def tgtd(start_tgtd: Callable[[], Tgtd]) -> Tgtd:
    return start_tgtd()


@dataclass
class Target:
    """A tgtd with one node, whose LUN 1 is ``file``."""

    tgtd: Tgtd
    file: Path

    @property
    def portal(self) -> Portal:
        return self.tgtd.portal


@pytest.fixture
def target(tgtd: Tgtd, tmp_path: Path) -> Target:
    file = tmp_path / "disk"
    with file.open("wb") as disk:
        disk.truncate(64 * MIB)
    tgtd.add_node(1, IQN)
    tgtd.add_lun(1, 1, file)
    return Target(tgtd, file)


@pytest.fixture
def session(target: Target) -> Iterator[Session]:
    with Session.connect(target.portal, IQN, INITIATOR) as session:
        yield session


@pytest.fixture
def dead_end() -> Iterator[str]:
    """A network interface that leads nowhere."""
    name = f"qr{os.getpid() % 100000}d"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True)
    try:
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "link", "del", name], check=True)
