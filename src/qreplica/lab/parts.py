"""The parts of a lab that can fail: its processes, found by where they run, and what its target daemons counted."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from qreplica.iscsi.target.errors import LunMissing, NodeMissing, TargetDaemonDown
from qreplica.iscsi.target.mgmt import Management
from qreplica.iscsi.target.pause import running_tgtd
from qreplica.iscsi.target.tgt import TgtDriver
from qreplica.lab import lab as labs
from qreplica.lab.ledger import Ledger
from qreplica.lab.processes import Found, find, marked_by
from qreplica.lab.topology import CONTROLLERS, Controller, Lab, Side


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a lab that is up."""

    lab: Lab

    @property
    def ledger(self) -> Ledger:
        """What its state databases say."""
        return Ledger(self.lab)

    def processes(self, side: Side, number: int, *words: str) -> list[Found]:
        """Return the processes of a controller in whose command lines all the words are."""
        inside = _namespace(self.lab.controller(side, number))
        return [
            one
            for one in find(marked_by(self.lab.directory, []))
            if all(any(word in part for part in one.command) for word in words) and _namespace_of(one.pid) == inside
        ]

    def daemon(self, side: Side, number: int) -> list[int]:
        """Return the pid of a controller's daemon, if it runs."""
        pid = labs.daemon_pids(self.lab).get(str(self.lab.controller(side, number).config_file))
        return [] if pid is None else [pid]

    def workers(self, number: int) -> list[int]:
        """Return the pids of the workers of a source controller, also of the one that stands by."""
        return [one.pid for one in self.processes(Side.SOURCE, number, "qreplica.replication.worker")]

    def tgtd(self, side: Side, number: int) -> int | None:
        """Return the pid of a controller's target daemon, if it runs."""
        return running_tgtd(self.lab.controller(side, number).state_dir / "tgtd" / f"{number}.pid")

    def written(self, node: str, lun: int, number: int) -> int:
        """Return how many bytes the present sessions with a node have written through a target controller."""
        text = self.lab.controller(Side.TARGET, number).config_file.read_text().split("tgt_control_port = ")[1]
        try:
            return TgtDriver(Management(int(text.split()[0]))).counters(node, lun).write_bytes
        except (NodeMissing, LunMissing, TargetDaemonDown):
            return 0

    def start_ended(self) -> None:
        """Start the daemons that have ended; return when they are ready. Raises DaemonNotReady."""
        for controller in self.lab.controllers:
            if not self.daemon(controller.subsystem, controller.number):
                labs.start_again(self.lab, controller)

    def at_home(self, side: Side) -> bool:
        """Whether both controllers of a side run their own jobs."""
        return self.ledger.duties(side) == list(CONTROLLERS)


def kill(*pids: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to processes of the lab; those that have ended need none."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _namespace(controller: Controller) -> int:
    return Path("/run/netns", controller.namespace).stat().st_ino


def _namespace_of(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return None
