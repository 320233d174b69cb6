"""What must be reached, and the figures as JSON and as a table."""

import os
import platform
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from qreplica.iscsi.target.tgt import SESSION_PARAMETERS
from qreplica.units import format_size

#: Each figure with what it must be: at least, or at most.
AT_LEAST = {
    "full_ram.ratio_to_ceiling": 0.85,
    "full_ram.speedup_vs_qemu_img": 2.0,
    "full.ratio_to_ceiling": 0.9,
    "full.speedup_vs_qemu_img": 1.2,
    "incremental.speedup_vs_rsync": 30.0,
    "incremental.speedup_vs_btrfs_send": 1.5,
    "jobs.aggregate_ratio_16": 0.9,
    "jobs.slowest_over_mean": 0.5,
    "failback.speedup_vs_full": 30.0,
    "verify.ratio_to_read": 0.8,
}
AT_MOST = {
    "growth.seconds_16x": 1.3,
    "checkpoint.cost_percent": 5.0,
    "snapshot.host_pause_ms": 500.0,
    "space.peak_over_promised": 1.0,
    "memory.worker_mib": 150.0,
    "throttle.error_percent": 5.0,
    "ui.job_page_seconds": 1.5,
    "ui.rss_growth_mib": 50.0,
}


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": format_size(memory),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "session_parameters": dict(SESSION_PARAMETERS),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def value_of(figures: dict[str, Any], name: str) -> float | None:
    """Return the figure of a dotted name, None when it was not measured."""
    group, _, key = name.partition(".")
    found = figures.get(group, {}).get(key)
    return None if found is None else float(found)


def reached(figures: dict[str, Any]) -> dict[str, bool]:
    """Return for each figure that was measured whether it is what it must be."""
    measured = {name: value_of(figures, name) for name in (*AT_LEAST, *AT_MOST)}
    return {
        name: value >= AT_LEAST[name] if name in AT_LEAST else value <= AT_MOST[name]
        for name, value in measured.items()
        if value is not None
    }


def judged(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures with what was reached, and whether all was."""
    each = reached(figures)
    return {**figures, "reached": each, "ok": bool(each) and all(each.values())}


def table(figures: dict[str, Any]) -> Table:
    """Return a table of the figures that must be reached."""
    made = Table("Figure", "Measured", "Must be", "", box=box.SIMPLE_HEAD, pad_edge=False)
    for limits, sign in ((AT_LEAST, "≥"), (AT_MOST, "≤")):
        for name, limit in limits.items():
            value = value_of(figures, name)
            if value is not None:
                mark = "reached" if figures["reached"][name] else "[bold red]missed[/bold red]"
                made.add_row(name, f"{value:g}", f"{sign} {limit:g}", mark)
    return made


def rates(figures: dict[str, Any]) -> Table:
    """Return a table of everyone's speed."""
    made = Table("Contender", "Measured", box=box.SIMPLE_HEAD, pad_edge=False)
    for group, title in (("full_ram", "Full copy, tmpfs"), ("full", "Full copy, btrfs")):
        for name, rate in figures.get(group, {}).get("mb_per_second", {}).items():
            made.add_row(f"{title}: {name}", f"{rate:g} MB/s")
    for name, seconds in figures.get("incremental", {}).get("seconds", {}).items():
        made.add_row(f"Incremental: {name}", f"{seconds:g} s")
    return made
