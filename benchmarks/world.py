"""Two real subsystems in the lab's namespaces, on which cycles are measured as their users see them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qreplica.cli.client import Client
from qreplica.lab import lab as labs
from qreplica.lab.administration import login_environment
from qreplica.lab.processes import MARK
from qreplica.lab.topology import LABS, Lab, Side
from qreplica.units import GIB, KIB

ID = "bench"
RG = "rg1"
#: What each side's RG is made as in the demo: mirrored.
LEVELS = {Side.SOURCE: "raid10", Side.TARGET: "raid1"}
_DISKS = {Side.SOURCE: 4, Side.TARGET: 2}
SOURCE_NODE = "host"
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class World:
    """The lab, both REST APIs, and a directory for whatever is to go with it."""

    lab: Lab
    source: Client
    target: Client
    place: Path

    @property
    def host_node(self) -> str:
        """The IQN under which the source shows its VDs to the host."""
        return str(self.source.get(f"/nodes/{SOURCE_NODE}")["iqn"])

    def mounts(self, side: Side) -> list[Path]:
        """Return where the RGs of a side are mounted."""
        return [entry for entry in (self.lab.controller(side).state_dir / "rg").iterdir() if entry.is_dir()]

    def mount(self, side: Side) -> Path:
        """Return where the RG of a side is mounted, which must be its only one."""
        (mount,) = self.mounts(side)
        return mount

    def api(self, side: Side) -> Client:
        """Return what speaks with a side."""
        return self.source if side is Side.SOURCE else self.target

    def live(self, side: Side, vd: str) -> Path:
        """Return the file that is a VD."""
        return self.mount(side) / "vds" / str(self.api(side).get(f"/virtual-disks/{vd}")["id"]) / "live" / "disk"

    def peak_memory(self, side: Side) -> int:
        """Return the most that the side's first daemon ever had resident, in bytes."""
        return self._status(side, "VmHWM")

    def memory(self, side: Side) -> int:
        """Return what the side's first daemon has resident, in bytes."""
        return self._status(side, "VmRSS")

    def _status(self, side: Side, name: str) -> int:
        """Return a size of proc(5)'s status of the side's first daemon."""
        (pid,) = (one.pid for one in labs.state(self.lab) if (one.subsystem, one.number) == (side, 1))
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * KIB for line in status if line.startswith(name))


@contextmanager
def world(tell: Tell, *, promised: int, lab: Lab | None = None) -> Iterator[World]:
    """Bring it up with an RG on each side that can promise ``promised`` bytes, and remove all of it at the end.

    All of it is a lab: what a killed bench leaves behind goes with the next one, with ``./run lab down`` and with any
    sweep.
    """
    lab = lab or Lab(ID, LABS)
    os.environ[MARK] = str(lab.directory)
    with labs.passing(lab, tell) as urls:
        os.environ["XDG_CONFIG_HOME"] = login_environment(lab)["XDG_CONFIG_HOME"]
        place = lab.directory / "bench"
        place.mkdir(mode=0o700)
        with Client.to(urls[Side.SOURCE]) as source, Client.to(urls[Side.TARGET]) as target:
            made = World(lab, source, target, place)
            for side, api in ((Side.SOURCE, source), (Side.TARGET, target)):
                _make_group(api, side, lab.controller(side).directory / "disks", promised)
            source.post("/nodes", {"name": SOURCE_NODE})
            yield made


def make_source(world: World, name: str, size: int, snapshot_space: int, number: int) -> Path:
    """Make a VD that the host sees under the LUN number, and return its file."""
    world.source.post("/virtual-disks", {"name": name, "raid_group": RG, "size": size})
    world.source.call("PATCH", f"/virtual-disks/{name}", body={"snapshot_space": snapshot_space})
    world.source.post("/luns", {"node": SOURCE_NODE, "vd": name, "number": number})
    return world.live(Side.SOURCE, name)


def make_backup(world: World, name: str, size: int) -> Path:
    """Make a backup VD, as yet on no node, and return its file."""
    world.target.post("/virtual-disks", {"name": name, "raid_group": RG, "size": size, "type": "BACKUP"})
    return world.live(Side.TARGET, name)


def make_job(world: World, name: str, source: str, backup: str, side: Side = Side.SOURCE) -> None:
    """Make a node for the backup VD on the other side, and a job of ``side`` that replicates to it."""
    other = Side.TARGET if side is Side.SOURCE else Side.SOURCE
    chap: dict[str, Any] = {"chap_user": name, "chap_secret": os.urandom(8).hex()}
    node = world.api(other).post("/nodes", {"name": name, **chap})
    world.api(other).post("/luns", {"node": name, "vd": backup, "number": 1})
    address = world.lab.controller(other).ports[0].address
    job = {"name": name, "source_vd": source, "address": address, "node": node["iqn"], "lun": 1, **chap}
    world.api(side).post("/jobs", job)


def _make_group(api: Client, side: Side, images: Path, promised: int) -> None:
    """Make the RG of disks large enough; they are sparse."""
    size = max(2 * GIB, -(-promised * 5 // 4) + GIB)
    names = [f"bench{number}" for number in range(1, _DISKS[side] + 1)]
    for name in names:
        api.post("/disks", {"name": name, "image": str(images / f"{name}.img"), "size": size})
    api.post("/raid-groups", {"name": RG, "level": LEVELS[side], "disks": names})
