"""A file under a LUN of a tgtd on loopback, set up by the product's own driver: the same for every contender."""

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qreplica.iscsi.initiator import Portal, Session
from qreplica.iscsi.target.driver import LARGEST_TID, Identity, LunSpec, NodeSpec, PortalSpec, scsi_id_for
from qreplica.iscsi.target.mgmt import SOCKET_DIRECTORY, Management
from qreplica.iscsi.target.process import TargetProcess
from qreplica.iscsi.target.tgt import TgtDriver

NUMBER = 1
_IQN = "iqn.2026-11.org.qreplica:bench"
_INITIATOR = "iqn.2026-11.org.qreplica:bench.initiator"
_ADDRESS = "127.0.0.1"
_VENDOR, _SERIAL = "QREPLICA", "bench"
_CONTROL_PORTS = range(1024, 32768)


@dataclass(frozen=True, slots=True)
class Lun:
    """Where a file is served; ``file`` is what the LUN's bytes are in the end."""

    portal: Portal
    file: Path

    @property
    def url(self) -> str:
        """The LUN as qemu names it."""
        return f"iscsi://{self.portal.address}:{self.portal.port}/{_IQN}/{NUMBER}"

    def connect(self) -> Session:
        """Log in as a worker does."""
        return Session.connect(self.portal, _IQN, _INITIATOR)


@contextmanager
def served(file: Path, place: Path) -> Iterator[Lun]:
    """Serve ``file``, with the session parameters of a controller, for the length of a block."""
    management = Management(_free_control_port())
    process = TargetProcess(management, place / "bench-tgtd.pid", lambda _: None)
    process.start()
    try:
        driver = TgtDriver(management)
        identity = Identity(_VENDOR, "BENCH", _SERIAL, scsi_id_for(_VENDOR, _SERIAL))
        tid = random.randint(1, LARGEST_TID)  # noqa: S311 - no secret
        driver.apply_node(NodeSpec(tid, _IQN, (LunSpec(NUMBER, file, identity),), initiators=None))
        portal = Portal(_ADDRESS, _free_port())
        driver.set_portals(frozenset({PortalSpec(portal.address, portal.port)}))
        yield Lun(portal, file)
    finally:
        process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_ADDRESS, 0))
        return int(probe.getsockname()[1])


def _free_control_port() -> int:
    while (SOCKET_DIRECTORY / f"socket.{(port := random.choice(_CONTROL_PORTS))}").exists():  # noqa: S311 - no secret
        pass
    return port
