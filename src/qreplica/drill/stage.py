"""What every drill plays on: a lab that replicates a disk over two paths, and the parts of it that can fail."""

import os
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from qreplica.drill.errors import DrillStuck
from qreplica.drill.ledger import CycleNow, Ledger
from qreplica.iscsi.target.errors import LunMissing, NodeMissing, TargetDaemonDown
from qreplica.iscsi.target.mgmt import Management
from qreplica.iscsi.target.pause import running_tgtd
from qreplica.iscsi.target.tgt import TgtDriver
from qreplica.lab import lab as labs
from qreplica.lab.administration import CommandLine
from qreplica.lab.processes import Found, find, marked_by
from qreplica.lab.topology import CONTROLLERS, Controller, Lab, Side
from qreplica.units import MIB

RG, VD, BACKUP, JOB, NODE = "rg1", "drilled", "drilled-copy", "drill", "backups"
#: The host fills the first part before each cycle (bytes), and writes its pattern to blocks behind it all the while.
FILL, PATTERN_BLOCKS = 768 * MIB, 4096
_SIZE = "1GiB"
_PATIENCE, _POLL = 120.0, 0.01
_LUN = 1

T = TypeVar("T")


@dataclass
class Stage:
    """A lab that is up. ``tell`` is told what goes on; ``drill`` is the name of the one that plays."""

    lab: Lab
    tell: Callable[[str], None]
    fill: int = FILL
    drill: str = ""
    ledger: Ledger = field(init=False)
    host_node: str = field(default="", init=False)
    backup_node: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.lab)
        self.source = CommandLine(self.lab, Side.SOURCE)
        self.target = CommandLine(self.lab, Side.TARGET)

    def set_up(self) -> None:
        """Make mirrored RGs, a disk for the host, its backup VD, and the job with a path to each controller."""
        self.tell("Setting up a virtual disk, its backup, and a job with two paths")
        disks = [word for number in range(1, 5) for word in ("--disk", f"disk{number}")]
        self.source("rg", "create", RG, "--level", "raid10", *disks)
        self.target("rg", "create", RG, "--level", "raid1", "--disk", "disk1", "--disk", "disk2")
        self.source("vd", "create", VD, "--rg", RG, "--size", _SIZE)
        self.host_node = self.source("node", "create", "hosts")["iqn"]
        self.source("lun", "create", "hosts", VD, "--lun", str(_LUN))
        self.target("vd", "create", BACKUP, "--rg", RG, "--size", _SIZE, "--type", "BACKUP")
        secret = self.lab.directory / "drill-secret"
        descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(8) + "\n")
        chap = ("--chap-user", "drill", "--chap-secret-file", str(secret))
        self.backup_node = self.target("node", "create", NODE, *chap)["iqn"]
        self.target("lun", "create", NODE, BACKUP, "--lun", str(_LUN))
        first, second = (self.lab.controller(Side.TARGET, number).ports[0].address for number in CONTROLLERS)
        where = ("--address", first, "--node", self.backup_node, "--lun", str(_LUN))
        self.source("job", "create", JOB, "--source-vd", VD, *where, *chap)
        self.source("job", "path", "add", JOB, second)

    def until(self, what: str, look: Callable[[], T | None], *, seconds: float = _PATIENCE) -> T:
        """Return what ``look`` finds as soon as that is true. Raises DrillStuck."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                raise DrillStuck(
                    drill=self.drill,
                    seconds=seconds,
                    what=what,
                    now=self.ledger.cycle(JOB),
                    directory=self.lab.directory,
                )
            time.sleep(_POLL)
        return found

    def cycle(self) -> CycleNow:
        """Return the job's latest cycle."""
        found = self.ledger.cycle(JOB)
        if found is None:
            raise LookupError("the job was started")
        return found

    def processes(self, side: Side, number: int, *words: str) -> list[Found]:
        """Return the processes of a controller in whose command lines all the words are."""
        controller = self.lab.controller(side, number)
        found = find(marked_by(self.lab.directory, []))
        inside = _namespace(controller)
        return [
            one
            for one in found
            if all(any(word in part for part in one.command) for word in words) and _namespace_of(one.pid) == inside
        ]

    def daemon(self, side: Side, number: int) -> list[int]:
        """Return the pid of a controller's daemon, if it runs."""
        pid = labs.daemon_pids(self.lab).get(str(self.lab.controller(side, number).config_file))
        return [] if pid is None else [pid]

    def workers(self, number: int) -> list[int]:
        """Return the pids of the workers of a source controller, also of the one that stands by."""
        return [one.pid for one in self.processes(Side.SOURCE, number, "qreplica.replication.worker")]

    def tgtd(self, side: Side, number: int) -> int:
        """Return the pid of a controller's target daemon."""
        file = self.lab.controller(side, number).state_dir / "tgtd" / f"{number}.pid"
        return self.until(f"the target daemon of {side} {number}", lambda: running_tgtd(file) or 0)

    def active(self) -> int:
        """Return the target controller over which the job's session goes."""
        return self.until("a session of the job", self._active)

    def _active(self) -> int | None:
        return next((number for number in CONTROLLERS if self.written(number)), None)

    def written(self, number: int) -> int:
        """Return how many bytes the job's present sessions have written through a target controller."""
        text = self.lab.controller(Side.TARGET, number).config_file.read_text().split("tgt_control_port = ")[1]
        try:
            return TgtDriver(Management(int(text.split()[0]))).counters(self.backup_node, _LUN).write_bytes
        except (NodeMissing, LunMissing, TargetDaemonDown):
            return 0

    def restore(self) -> None:
        """Start what has ended, and wait until every controller runs its own jobs again."""
        for controller in self.lab.controllers:
            if not self.daemon(controller.subsystem, controller.number):
                labs.start_again(self.lab, controller)
        for side in Side:
            self.until(f"both controllers of “{side}” to run their own jobs", partial(self._is_at_home, side))

    def _is_at_home(self, side: Side) -> bool:
        return self.ledger.duties(side) == [1, 2]


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
