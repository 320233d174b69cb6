"""All measurements of one run, one after the other in one world."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import (
    cycles,
    failback,
    files,
    full_copy,
    incremental,
    many_jobs,
    snapshot_pause,
    space,
    throttle,
    verifying,
    visits,
)
from benchmarks.contenders import program
from benchmarks.host import Host, host
from benchmarks.report import machine
from benchmarks.scale import Scale
from benchmarks.world import Tell, World, make_backup, make_job, make_source, world
from qreplica.lab.topology import Lab, Side
from qreplica.units import GIB, MIB

PARTS = ("full_ram", "full", "incremental", "snapshot", "throttle", "jobs", "ui", "failback", "verify", "space")
VD, LARGE, LIMITED, ONE, SEEN, AWAY, VERIFIED = "disk", "large", "limited", "one", "seen", "away", "verified"


@dataclass(frozen=True, slots=True)
class _Run:
    world: World
    host: Host
    scale: Scale
    tell: Tell


def run(scale: Scale, parts: Collection[str], tell: Tell, lab: Lab | None = None) -> dict[str, Any]:
    """Measure the ``parts`` and return their figures with the machine's facts."""
    figures: dict[str, Any] = {"machine": machine()}
    with world(tell, promised=12 * scale.vd + 3 * scale.growth + 4 * scale.jobs + 2 * GIB, lab=lab) as made:
        if "full_ram" in parts:
            tell("Full copies on tmpfs")
            figures |= _full_ram(made.place, scale, tell)
        if set(parts) - {"full_ram"}:
            address = made.lab.controller(Side.SOURCE).ports[0].address
            live = make_source(made, VD, scale.vd, 4 * scale.vd + GIB, number=1)
            copy = make_backup(made, f"{VD}-copy", scale.vd)
            with host(made.lab.host, address, made.host_node) as writer:
                one = _Run(made, writer, scale, tell)
                tell("The host fills its disk")
                writer.fill(1, scale.vd)
                if "full" in parts:
                    tell("Full copies on btrfs")
                    figures["full"] = _full(one, live, copy)
                if "incremental" in parts:
                    figures |= _incremental(one, live)
                for name, (title, measure) in _OTHERS.items():
                    if name in parts:
                        tell(title)
                        figures[name] = measure(one)
                figures["memory"] = figures.get("memory", {}) | _daemons_memory(made)
    return figures


def _full_ram(place: Path, scale: Scale, tell: Tell) -> dict[str, Any]:
    with _tmpfs(place / "tmpfs", 2 * scale.ram + 64 * MIB) as folder:
        source, target = folder / "source", folder / "target"
        files.fill(source, scale.ram)
        files.empty(target, scale.ram)
        figures = full_copy.measure(
            source, target, scale.ram, place=place, rounds=scale.rounds, tell=tell, scattered=scale.changes
        )
    return {"full_ram": figures, "checkpoint": {"cost_percent": figures.pop("checkpoint_cost_percent")}}


def _full(one: _Run, live: Path, copy: Path) -> dict[str, Any]:
    one.world.source.post("/snapshots", {"vd": VD, "name": "full-copy"})
    (snapshot,) = live.parent.parent.glob("snapshots/*/disk")
    try:
        return full_copy.measure(
            snapshot, copy, one.scale.vd, place=one.world.place, rounds=one.scale.rounds, tell=one.tell
        )
    finally:
        one.world.source.delete(f"/snapshots/{VD}/full-copy")


def _incremental(one: _Run, live: Path) -> dict[str, Any]:
    world, scale, tell = one.world, one.scale, one.tell
    large = make_source(world, LARGE, scale.growth, scale.growth, number=2)
    make_backup(world, f"{LARGE}-copy", scale.growth)
    tell("The host writes to its larger disk")
    one.host.scatter(2, range(0, scale.growth // 4096, scale.growth_step // 4096))
    for name in (VD, LARGE):
        make_job(world, name, name, f"{name}-copy")
        tell(f"First cycle of {name}: {cycles.run(world, name).idle:.2f} s")
    with incremental.others_target(world.place, 4 * scale.vd + GIB) as target:
        group = incremental.quota_group(live)
        others = incremental.Others(live.parent, world.mount(Side.SOURCE) / "contenders", target, group)
        tell("The others copy everything once")
        others.begin()
        tell("Incremental cycles")
        vd = incremental.Vd(VD, 1, scale.vd, live)
        larger = incremental.Vd(LARGE, 2, scale.growth, large)
        changed, growth = incremental.measure(
            world, one.host, vd, larger, others, changes=scale.changes, rounds=scale.rounds, tell=tell
        )
        others.end()
    workers = {name: _worker_mib(world, name) for name in (VD, LARGE)}
    return {"incremental": changed, "growth": growth, "memory": {"worker_mib": max(workers.values())}}


def _snapshot(one: _Run) -> dict[str, Any]:
    return snapshot_pause.measure(one.world, one.host, VD, 1, size=one.scale.vd, count=one.scale.snapshots)


def _throttle(one: _Run) -> dict[str, Any]:
    size = one.scale.vd // 16
    make_source(one.world, LIMITED, size, 2 * size, number=3)
    make_backup(one.world, f"{LIMITED}-copy", size)
    one.host.fill(3, size)
    make_job(one.world, LIMITED, LIMITED, f"{LIMITED}-copy")
    return throttle.measure(one.world, LIMITED, size)


def _jobs(one: _Run) -> dict[str, Any]:
    size = one.scale.jobs // many_jobs.COUNT
    names = [f"many-{number}" for number in range(1, many_jobs.COUNT + 1)]
    for number, (name, length) in enumerate([(ONE, one.scale.jobs), *((name, size) for name in names)], 100):
        make_source(one.world, name, length, length, number=number)
        make_backup(one.world, f"{name}-copy", length)
        one.host.fill(number, length)
        make_job(one.world, name, name, f"{name}-copy")
    return many_jobs.measure(one.world, ONE, names, size)


def _ui(one: _Run) -> dict[str, Any]:
    make_source(one.world, SEEN, 16 * MIB, 16 * MIB, number=4)
    make_backup(one.world, f"{SEEN}-copy", 16 * MIB)
    make_job(one.world, SEEN, SEEN, f"{SEEN}-copy")
    return visits.measure(one.world, SEEN, visits=one.scale.visits, rounds=one.scale.rounds)


def _failback(one: _Run) -> dict[str, Any]:
    size = one.scale.vd
    make_source(one.world, AWAY, size, 2 * size, number=5)
    make_backup(one.world, f"{AWAY}-copy", size)
    one.host.fill(5, size)
    make_job(one.world, AWAY, AWAY, f"{AWAY}-copy")
    return failback.measure(one.world, AWAY, 5, size=size, changes=one.scale.changes)


def _verify(one: _Run) -> dict[str, Any]:
    size = one.scale.vd
    make_source(one.world, VERIFIED, size, 2 * size, number=6)
    make_backup(one.world, f"{VERIFIED}-copy", size)
    one.host.fill(6, size)
    make_job(one.world, VERIFIED, VERIFIED, f"{VERIFIED}-copy")
    return verifying.measure(one.world, VERIFIED, size=size, rounds=one.scale.rounds)


def _space(one: _Run) -> dict[str, Any]:
    return space.measure(one.world, one.host, one.scale.space, one.tell)


#: What is measured after the copies, in this order: what is told of it, and how.
_OTHERS: dict[str, tuple[str, Callable[[_Run], dict[str, Any]]]] = {
    "snapshot": ("Snapshots while the host writes", _snapshot),
    "throttle": ("A job with a bandwidth limit", _throttle),
    "jobs": ("Sixteen jobs at once", _jobs),
    "ui": ("The web pages", _ui),
    "failback": ("The way home", _failback),
    "verify": ("A copy is verified", _verify),
    "space": ("An RG that is sold out", _space),
}


def _worker_mib(world: World, job: str) -> float:
    """Return the most that a worker of the job ever had resident, in any cycle."""
    most = max(int(one["worker_peak_memory"]) for one in world.source.get(f"/jobs/{job}/cycles"))
    return round(most / MIB, 1)


def _daemons_memory(world: World) -> dict[str, float]:
    return {f"daemon_{side}_mib": round(world.peak_memory(side) / MIB, 1) for side in Side}


@contextmanager
def _tmpfs(folder: Path, size: int) -> Iterator[Path]:
    """Mount a tmpfs of its own, which a sweep finds after a crash."""
    folder.mkdir()
    program("mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "qreplica-bench", str(folder))
    try:
        yield folder
    finally:
        program("umount", str(folder))
