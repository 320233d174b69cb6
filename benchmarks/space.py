"""What an RG that is sold out to the last byte holds while its VDs are overwritten and snapshots come and go.

A host overwrites every VD three times in order and three times at random, in pieces of 4 to 64 KiB. Each write must
succeed: the first one that does not ends the bench. What the RG's data took at most is held against what was promised
(VDs and snapshot spaces), with the working reserve and without.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.host import Host
from benchmarks.world import SOURCE_NODE, Tell, World
from qreplica.cli.errors import Refused
from qreplica.lab.topology import Side
from qreplica.storage.btrfs_filesystem import data_use
from qreplica.storage.capacity import MINIMUM_DISK, capacity, working_reserve
from qreplica.storage.driver import BLOCK, RaidLevel
from qreplica.units import MIB, format_size

RG = "sold-out"
PASSES = ("in order",) * 3 + ("at random",) * 3
_VDS, _FIRST_LUN = 2, 11
#: Of an RG's promises, what goes to snapshot space.
_SNAPSHOT_SHARE = 5
_LOOK_EVERY, _SNAPSHOT_EVERY, _KEPT = 0.02, 1.0, 2
_LEVEL = RaidLevel.RAID1


def measure(world: World, host: Host, size: int, tell: Tell) -> dict[str, Any]:
    """Sell an RG of about ``size`` bytes out, overwrite it, and return the figures."""
    mount, sizes = _sell_out(world, size)
    group = world.source.get(f"/raid-groups/{RG}")
    promised = group["vd_space"] + group["snapshot_space"]
    limit = promised + working_reserve(promised)
    tell(f"  {format_size(promised)} promised and {format_size(group['free'])} free")
    began, passes = time.monotonic(), []
    with _peak_of(mount) as peak, _snapshots(world, list(sizes)) as snapshots:
        for kind in PASSES:
            for lun, (vd, vd_size) in enumerate(sizes.items(), _FIRST_LUN):
                host.overwrite(lun, vd_size, in_order=kind == "in order")
                tell(f"  {vd} overwritten {kind}: the RG held {peak.highest / limit:.3f} of its promise at most")
            passes.append(round(peak.highest / limit, 4))
    return {
        "peak_over_promised": round(peak.highest / limit, 4),
        "peak_over_promises_alone": round(peak.highest / promised, 4),
        "after_each_pass": passes,
        "promised_bytes": promised,
        "free_bytes": group["free"],
        "peak_bytes": peak.highest,
        "snapshots_taken": snapshots.taken,
        "snapshots_refused": snapshots.refused,
        "seconds": round(time.monotonic() - began, 1),
        "snapshots_let_go": _let_go(world, list(sizes)),
    }


def _let_go(world: World, vds: list[str]) -> int:
    """Return how many snapshots went by themselves, because they took what others were promised."""
    events = [world.source.get("/events", {"subject": f"vd {vd}", "limit": "1000"}) for vd in vds]
    return sum(event["kind"] == "snapshot-let-go" for told in events for event in told)


class _Peak:
    highest = 0


@contextmanager
def _peak_of(mount: Path) -> Iterator[_Peak]:
    """Watch what the data of an RG takes."""
    peak, ending = _Peak(), threading.Event()

    def watch() -> None:
        while not ending.wait(_LOOK_EVERY):
            peak.highest = max(peak.highest, data_use(mount).held)

    with _in_background(watch, ending):
        yield peak


class _Snapshots:
    """Snapshots that come and go; what was refused for want of snapshot space is counted."""

    taken = refused = 0

    def __init__(self, world: World, vds: list[str]) -> None:
        self._api = world.source
        self._vds = vds
        self._kept: list[tuple[str, str]] = []

    def turn(self, number: int) -> None:
        vd, name = self._vds[number % len(self._vds)], f"turn-{number}"
        try:
            self._api.post("/snapshots", {"vd": vd, "name": name})
        except Refused:
            self.refused += 1
            self._let_go(all_of_them=True)
            return
        self.taken += 1
        self._kept.append((vd, name))
        self._let_go(all_of_them=False)

    def _let_go(self, *, all_of_them: bool) -> None:
        while len(self._kept) > (0 if all_of_them else _KEPT * len(self._vds)):
            vd, name = self._kept.pop(0)
            try:
                self._api.delete(f"/snapshots/{vd}/{name}")
            except Refused:  # it went by itself, since it overflowed
                continue


@contextmanager
def _snapshots(world: World, vds: list[str]) -> Iterator[_Snapshots]:
    snapshots, ending = _Snapshots(world, vds), threading.Event()

    def come_and_go() -> None:
        number = 0
        while not ending.wait(_SNAPSHOT_EVERY):
            snapshots.turn(number)
            number += 1

    with _in_background(come_and_go, ending):
        yield snapshots


@contextmanager
def _in_background(work: Callable[[], None], ending: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def _disk_size(promised: int, disks: int) -> int:
    """Return how large disks must be for an RG of them to promise so much."""
    size = MINIMUM_DISK
    while capacity(_LEVEL, [size] * disks).promisable < promised:
        size += 64 * MIB
    return size


def _sell_out(world: World, size: int) -> tuple[Path, dict[str, int]]:
    """Make the RG and its VDs; return where it is mounted, and the VDs' sizes."""
    images = world.lab.controller(Side.SOURCE).directory / "disks"
    disks = [f"space{number}" for number in (1, 2)]
    for disk in disks:
        image = str(images / f"{disk}.img")
        world.source.post("/disks", {"name": disk, "image": image, "size": _disk_size(size, len(disks))})
    before = set(world.mounts(Side.SOURCE))
    world.source.post("/raid-groups", {"name": RG, "level": _LEVEL, "disks": disks})
    (mount,) = set(world.mounts(Side.SOURCE)) - before
    free = world.source.get(f"/raid-groups/{RG}")["free"]
    each = free // _VDS * (_SNAPSHOT_SHARE - 1) // _SNAPSHOT_SHARE // BLOCK * BLOCK
    sizes = {f"sold{number}": each for number in range(_VDS)}
    for number, (vd, vd_size) in enumerate(sizes.items()):
        world.source.post("/virtual-disks", {"name": vd, "raid_group": RG, "size": vd_size})
        world.source.post("/luns", {"node": SOURCE_NODE, "vd": vd, "number": _FIRST_LUN + number})
    for number, vd in enumerate(sizes):
        left = world.source.get(f"/raid-groups/{RG}")["free"] // (_VDS - number)
        world.source.call("PATCH", f"/virtual-disks/{vd}", body={"snapshot_space": left})
    return mount, sizes
