"""What every drill plays on: a disk of a lab that is replicated over two paths, with RGs and disks of its own."""

import itertools
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from qreplica.drill.errors import DrillStuck
from qreplica.lab.administration import DISK_SIZE, CommandLine, write_secret
from qreplica.lab.errors import CommandFailed
from qreplica.lab.ledger import CycleNow
from qreplica.lab.parts import Parts
from qreplica.lab.topology import CONTROLLERS, Lab, Side
from qreplica.storage.errors import GroupBusy
from qreplica.units import MIB

#: Everything that a drill makes has this name; disks have a number behind it.
NAME = "qreplica-drill"
#: The node of the host that goes on with a promoted copy.
TAKER = f"{NAME}-taker"
LUN = 1
#: The host fills the first part before each cycle (bytes), and writes its pattern to blocks behind it all the while.
FILL, PATTERN_BLOCKS = 768 * MIB, 4096
_DISKS = {Side.SOURCE: 4, Side.TARGET: 2}
_LEVEL = {Side.SOURCE: "raid10", Side.TARGET: "raid1"}
_SIZE = "1GiB"
_PATIENCE, _POLL = 120.0, 0.01
#: A cycle takes at least so long, on however fast a machine: a fault has to come while it is under way.
_LEAST_SECONDS = 3

T = TypeVar("T")


@dataclass
class Stage:
    """A lab that is up. ``tell`` is told what goes on; ``drill`` is the name of the one that plays.

    ``findings`` are what else that one has found wrong so far.
    """

    lab: Lab
    tell: Callable[[str], None]
    fill: int = FILL
    drill: str = ""
    findings: list[str] = field(default_factory=list)
    parts: Parts = field(init=False)
    host_node: str = field(default="", init=False)
    backup_node: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.parts = Parts(self.lab)
        self.side = {side: CommandLine(self.lab, side) for side in Side}

    def set_up(self) -> None:
        """Make mirrored RGs, a disk for the host, its backup VD, and the job with a path to each controller.

        What an earlier drill left, which was killed, is removed first.
        """
        self.clear_up()
        self.tell("Setting up a virtual disk, its backup, and a job with two paths")
        source, target = self.side[Side.SOURCE], self.side[Side.TARGET]
        for side in Side:
            self._make_group(side)
        source("vd", "create", NAME, "--rg", NAME, "--size", _SIZE)
        target("vd", "create", NAME, "--rg", NAME, "--size", _SIZE, "--type", "BACKUP")
        secret = self.lab.directory / f"{NAME}-secret"
        secret.unlink(missing_ok=True)
        write_secret(secret, secrets.token_hex(8))
        chap = ("--chap-user", "drill", "--chap-secret-file", str(secret))
        self.host_node = source("node", "create", NAME)["iqn"]
        self.backup_node = target("node", "create", NAME, *chap)["iqn"]
        for qreplica in (source, target):
            qreplica("lun", "create", NAME, NAME, "--lun", str(LUN))
        first, second = (self.lab.controller(Side.TARGET, number).ports[0].address for number in CONTROLLERS)
        where = ("--address", first, "--node", self.backup_node, "--lun", str(LUN))
        source("job", "create", NAME, "--source-vd", NAME, *where, *chap)
        source("job", "path", "add", NAME, second)
        source("job", "bandwidth", "set", NAME, "--limit", str(self.fill // _LEAST_SECONDS))

    def _make_group(self, side: Side) -> None:
        disks = [word for number in range(_DISKS[side]) for word in ("--disk", self.make_disk(side, number + 1))]
        self.side[side]("rg", "create", NAME, "--level", _LEVEL[side], *disks)

    def make_disk(self, side: Side, number: int) -> str:
        """Give a side a disk of the drill's own; return its name."""
        name = f"{NAME}-{number}"
        self.side[side]("disk", "create", name, "--image", str(self.image(side, name)), "--size", DISK_SIZE)
        return name

    def disks(self, side: Side) -> list[str]:
        """Return the names of the drill's disks of a side."""
        return [one["name"] for one in self.side[side]("disk", "list") if one["name"].startswith(f"{NAME}-")]

    def clear_up(self) -> None:
        """Remove all that drills made, as far as it is there. Raises CommandFailed."""
        # What is on one side may be held by a job of the other.
        for noun, side in itertools.product(("job", "lun", "node", "vd", "rg"), Side):
            for one in self.side[side](noun, "list"):
                name = one["node" if noun == "lun" else "name"]
                if name in {NAME, TAKER}:
                    which = [name, str(one["number"])] if noun == "lun" else [name]
                    self.until(f"{noun} {name} to be deleted", partial(self._deleted, side, noun, which))
        for side in Side:
            qreplica = self.side[side]
            for name in self.disks(side):
                qreplica("disk", "delete", name, "--yes")
                self.image(side, name).unlink(missing_ok=True)

    def _deleted(self, side: Side, noun: str, which: list[str]) -> bool:
        """Delete something; False while it is busy: the controller that was just started lets go of it in a moment."""
        try:
            self.side[side](noun, "delete", *which, "--yes")
        except CommandFailed as error:
            if GroupBusy.kind not in error.sentence:
                raise
            return False
        return True

    def image(self, side: Side, name: str) -> Path:
        """Return the file of a disk."""
        return self.lab.controller(side).directory / "disks" / f"{name}.img"

    def until(self, what: str, look: Callable[[], T | None], *, seconds: float = _PATIENCE) -> T:
        """Return what ``look`` finds as soon as that is true. Raises DrillStuck."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                raise DrillStuck(
                    drill=self.drill,
                    seconds=seconds,
                    what=what,
                    now=self.parts.ledger.cycle(NAME),
                    directory=self.lab.directory,
                )
            time.sleep(_POLL)
        return found

    def cycle(self) -> CycleNow:
        """Return the job's latest cycle."""
        found = self.parts.ledger.cycle(NAME)
        if found is None:
            raise LookupError("the job was started")
        return found

    def written(self, number: int) -> int:
        """Return how many bytes the job's present sessions have written through a target controller."""
        return self.parts.written(self.backup_node, LUN, number)

    def active(self) -> int:
        """Return the target controller over which the job's session goes."""
        return self.until("a session of the job", lambda: next(filter(self.written, CONTROLLERS), None))

    def restore(self) -> None:
        """Start what has ended, and wait until every controller runs its own jobs again."""
        self.parts.start_ended()
        for side in Side:
            self.until(f"both controllers of “{side}” to run their own jobs", partial(self.parts.at_home, side))
