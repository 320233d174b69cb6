"""A tgtd of one's own, and an initiator of bare PDUs that can stop anywhere in the protocol."""

import contextlib
import fcntl
import os
import secrets
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from qreplica.iscsi.target.driver import Identity, LunSpec, NodeSpec, PortalSpec, scsi_id_for
from qreplica.iscsi.target.mgmt import Management
from qreplica.iscsi.target.process import TargetProcess
from qreplica.iscsi.target.tgt import TgtDriver

from ...ports import control_port, free_port  # noqa: TID252

MIB = 1024**2
_BHS = 48
_LOGIN_KEYS = (
    "HeaderDigest=None",
    "DataDigest=None",
    "InitialR2T=No",
    "ImmediateData=Yes",
    "MaxOutstandingR2T=16",
    "MaxBurstLength=1048576",
    "FirstBurstLength=1048576",
    "MaxRecvDataSegmentLength=1048576",
)


class LoginRefused(Exception):
    """A login answer with a status other than success (class and detail of RFC 7143, 11.13.5)."""

    def __init__(self, status: int) -> None:
        super().__init__(f"login refused with status {status:#06x}")
        self.status = status


class RawInitiator:
    """One iSCSI connection, PDU by PDU, without CHAP and digests."""

    def __init__(self, address: tuple[str, int], target: str, initiator: str) -> None:
        self._target = target
        self._initiator = initiator
        self._isid = bytes([0x80]) + secrets.token_bytes(5)
        self._socket = socket.create_connection(address, timeout=10)
        self._cmdsn = 1
        self._statsn = 0
        self._itt = 0

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def unread(self) -> int:
        """Bytes that have arrived and were not read yet."""
        return int.from_bytes(fcntl.ioctl(self._socket, termios.FIONREAD, bytes(4)), sys.byteorder)

    def begin_login(self) -> None:
        """The first login request and its answer: the initiator is known and admitted, no session exists yet."""
        names = (f"InitiatorName={self._initiator}", f"TargetName={self._target}", "SessionType=Normal")
        self._login(0x81, (*names, "AuthMethod=None"))  # security stage, on to operational

    def finish_login(self) -> None:
        flags = self._login(0x87, _LOGIN_KEYS)  # operational stage, on to full feature phase
        while not flags & 0x80:
            flags = self._login(0x87, ())

    def log_in(self) -> "RawInitiator":
        self.begin_login()
        self.finish_login()
        return self

    def send_write(self, lun: int, offset: int, data: bytes) -> None:
        cdb = struct.pack(">BBQIBB", 0x8A, 0, offset // 512, len(data) // 512, 0, 0)
        self._send_command(0xA1, lun, cdb, len(data), data)

    def begin_write(self, lun: int, offset: int, data: bytes) -> Callable[[], None]:
        """Send the command with half of its data; calling the result sends the rest."""
        half = len(data) // 2
        cdb = struct.pack(">BBQIBB", 0x8A, 0, offset // 512, len(data) // 512, 0, 0)
        header = self._command(0xA1, lun, cdb, len(data), len(data))
        self._socket.sendall(header + data[:half])
        return lambda: self._socket.sendall(data[half:])

    def write(self, lun: int, offset: int, data: bytes) -> int:
        """Write and return the SCSI status."""
        self.send_write(lun, offset, data)
        return self.receive_status()

    def read(self, lun: int, cdb: bytes, length: int) -> bytes:
        """Run a command that reads and return its data; a unit attention is waited out."""
        while True:
            self._send_command(0xC1, lun, cdb, length)
            data, status = self._receive_data()
            if status == 0:
                return data
            assert status == 2, f"SCSI status {status}"

    def test_unit_ready(self, lun: int) -> int:
        self._send_command(0x81, lun, bytes(6), 0)
        return self.receive_status()

    def receive_status(self) -> int:
        return self._receive_data()[1]

    def _receive_data(self) -> tuple[bytes, int]:
        data = bytearray()
        while True:
            header, body = self._receive()
            opcode = header[0] & 0x3F
            if opcode == 0x25:
                data += body
                if header[1] & 0x01:
                    return bytes(data), header[3]
            elif opcode == 0x21:
                return bytes(data), header[3]
            else:
                assert opcode == 0x20, f"unexpected PDU {opcode:#x}"

    def _send_command(self, flags: int, lun: int, cdb: bytes, length: int, data: bytes = b"") -> None:
        self._socket.sendall(self._command(flags, lun, cdb, length, len(data)) + data)

    def _command(self, flags: int, lun: int, cdb: bytes, length: int, immediate: int) -> bytes:
        """A SCSI Command PDU (RFC 7143, 11.3)."""
        self._itt += 1
        header = struct.pack(
            ">BBHB3sBB6xIIII16s",
            0x01, flags, 0, 0, immediate.to_bytes(3, "big"), 0, lun,
            self._itt, length, self._cmdsn, self._statsn + 1, cdb,
        )  # fmt: skip
        self._cmdsn += 1
        return header

    def _login(self, flags: int, keys: tuple[str, ...]) -> int:
        body = b"".join(key.encode() + b"\0" for key in keys)
        header = struct.pack(
            ">BBBBB3s6sHIHHII16x",
            0x43, flags, 0, 0, 0, len(body).to_bytes(3, "big"), self._isid, 0,
            7, 1, 0, self._cmdsn, self._statsn + 1,
        )  # fmt: skip
        self._socket.sendall(header + body + bytes(-len(body) % 4))
        answer, _ = self._receive()
        status = int.from_bytes(answer[36:38], "big")
        if status:
            raise LoginRefused(status)
        return answer[1]

    def _receive(self) -> tuple[bytes, bytes]:
        header = self._receive_exactly(_BHS)
        self._statsn = int.from_bytes(header[24:28], "big")
        length = int.from_bytes(header[5:8], "big")
        return header, self._receive_exactly(length + -length % 4)[:length]

    def _receive_exactly(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            chunk = self._socket.recv(size - len(received))
            if not chunk:
                raise ConnectionResetError("the target ended the connection")
            received += chunk
        return bytes(received)


class Hammer:
    """Keeps 16 writes of ever new data in flight until its connection ends."""

    def __init__(self, initiator: RawInitiator, lun: int, size: int, block: int = 64 * 1024) -> None:
        self.acknowledged = 0
        self.busy = threading.Event()
        self.ended = threading.Event()
        self._initiator = initiator
        self._lun = lun
        self._blocks = size // block
        self._block = block
        threading.Thread(target=self._run, daemon=True).start()

    def settle(self) -> None:
        """Wait until every answer that tgtd has sent is counted, which needs a tgtd that sends none.

        The kernel may keep a corked answer for 200 ms (tcp(7), TCP_CORK), which tgtd uses.
        """
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < 0.5:
            if self._initiator.unread() or self.acknowledged != seen:
                seen, since = self.acknowledged, time.monotonic()
            time.sleep(0.005)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            for _ in range(16):
                self._send()
            while True:
                self._initiator.receive_status()
                self.acknowledged += 1
                if self.acknowledged == 32:
                    self.busy.set()
                self._send()
        self.ended.set()

    def _send(self) -> None:
        data = secrets.token_bytes(1024) * (self._block // 1024)
        self._initiator.send_write(self._lun, secrets.randbelow(self._blocks) * self._block, data)


def free_address() -> tuple[str, int]:
    return "127.0.0.1", free_port()


class Tgtd:
    """A running tgtd with its driver, one portal, and files to serve."""

    def __init__(self, process: TargetProcess, directory: Path, lines: list[str]) -> None:
        self.process = process
        self.management = process.management
        self.driver = TgtDriver(process.management)
        self.directory = directory
        self.lines = lines
        self.address = free_address()

    @property
    def portal(self) -> PortalSpec:
        return PortalSpec(*self.address)

    def open(self) -> None:
        self.driver.set_portals(frozenset({self.portal}))

    def initiator(self, iqn: str, name: str) -> RawInitiator:
        return RawInitiator(self.address, iqn, name)

    def url(self, iqn: str, lun: int = 1, credentials: str = "") -> str:
        return f"iscsi://{credentials}{self.address[0]}:{self.address[1]}/{iqn}/{lun}"

    def inquire(
        self, url: str, name: str, page: int | None = None, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        command = ["iscsi-inq", "-i", name, url]
        if page is not None:
            command[1:1] = ["-e", "1", "-c", str(page)]
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            env={**os.environ, **environment},
        )

    def discover(self, name: str) -> str:
        command = ["iscsi-ls", "-i", name, f"iscsi://{self.address[0]}:{self.address[1]}"]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=20).stdout


@pytest.fixture
def management() -> Management:
    """A control port that nothing else uses."""
    return Management(control_port())


@pytest.fixture
def tgtd(management: Management, tmp_path: Path) -> Iterator[Tgtd]:
    lines: list[str] = []
    process = TargetProcess(management, tmp_path / "tgtd.pid", lines.append)
    process.start()
    try:
        yield Tgtd(process, tmp_path, lines)
    finally:
        process.kill()


@pytest.fixture
def lun(tmp_path: Path) -> Callable[..., LunSpec]:
    """Make a LUN over a sparse file."""

    def make(number: int = 1, *, size: int = 64 * MIB, path: Path | None = None, read_only: bool = False) -> LunSpec:
        if path is None:
            path = tmp_path / f"lun{number}"
            with path.open("ab") as file:
                file.truncate(size)
        serial = f"QR{number:08d}"
        return LunSpec(
            number,
            path,
            Identity("QREPLICA", "VIRTUAL DISK", serial, scsi_id_for("QREPLICA", serial)),
            read_only,
        )

    return make


@pytest.fixture
def node(lun: Callable[..., LunSpec]) -> Callable[..., NodeSpec]:
    """Make a node's desired state: one LUN and one initiator unless told otherwise."""

    def make(tid: int = 0x0ABC_DE01, **changes: object) -> NodeSpec:
        values: dict[str, object] = {
            "iqn": "iqn.2026-11.org.qreplica:test.node",
            "luns": (lun(),),
            "initiators": frozenset({"iqn.2026-11.org.qreplica:host"}),
        }
        return NodeSpec(tid, **{**values, **changes})  # type: ignore[arg-type]  # names and types are NodeSpec's own

    return make


@pytest.fixture
def freezable(tmp_path: Path) -> Iterator["Freezable"]:
    """A small filesystem whose writes can be made to hang."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(128 * MIB)
    mount = tmp_path / "frozen"
    mount.mkdir()
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
    filesystem = Freezable(mount)
    try:
        yield filesystem
    finally:
        filesystem.thaw()
        subprocess.run(["umount", "-l", str(mount)], check=True)


class Freezable:
    """A mounted filesystem; while it is frozen, every write to it waits in the kernel."""

    def __init__(self, mount: Path) -> None:
        self.mount = mount
        self._frozen = False

    def freeze(self) -> None:
        subprocess.run(["fsfreeze", "-f", str(self.mount)], check=True)
        self._frozen = True

    def thaw(self) -> None:
        if self._frozen:
            subprocess.run(["fsfreeze", "-u", str(self.mount)], check=True)
            self._frozen = False


@pytest.fixture
def hammer() -> type[Hammer]:
    return Hammer


@pytest.fixture
def login_refused() -> type[LoginRefused]:
    return LoginRefused


@pytest.fixture
def hanging_write(node: Callable[..., NodeSpec], lun: Callable[..., LunSpec], freezable: Freezable) -> Any:
    """Let an initiator's write hang in the kernel until told to end; yields what ends it."""

    @contextlib.contextmanager
    def hang(driver: TgtDriver, pid: int) -> Iterator[Callable[[], None]]:
        path = freezable.mount / "vd"
        path.write_bytes(bytes(MIB))
        spec = node(luns=(lun(path=path),))
        driver.apply_node(spec)
        address = free_address()
        driver.set_portals(frozenset({PortalSpec(*address)}))
        with RawInitiator(address, spec.iqn, min(spec.initiators or ())) as initiator:
            initiator.log_in().test_unit_ready(1)
            freezable.freeze()
            initiator.send_write(1, 0, b"w" * 4096)
            until_writing(pid)
            yield freezable.thaw

    return hang


def until_writing(pid: int) -> None:
    """Wait until a thread of the process is in an uninterruptible write."""
    deadline = time.monotonic() + 10
    while not any("\nState:\tD" in (task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
