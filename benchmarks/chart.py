"""Draws the figures: who copies how fast, and how long an incremental cycle takes."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.full_copy import NO_CHECKPOINTS, OURS, PLAIN, QEMU, TCP
from qreplica.units import format_size

_OURS, _LIMIT, _OTHERS = "#1b6ca8", "#b8b8b8", "#d98c3f"
_LIMITS = {PLAIN, QEMU, TCP}
_LEAVE_OUT = {NO_CHECKPOINTS}


def draw(figures: dict[str, Any], file: Path) -> None:
    """Write a PNG of what was measured; parts that were not are left out."""
    panels = []
    for group, medium in (("full_ram", "tmpfs"), ("full", "btrfs, RAID 1")):
        if group in figures:
            title = f"Full copy of {format_size(figures[group]['bytes'])} onto {medium}\nMB/s: longer is better"
            panels.append((title, figures[group]["mb_per_second"], "{:,.0f}"))
    if "incremental" in figures:
        count = figures["incremental"]["changed_blocks"]
        title = f"{count:,} changed blocks of 4 KiB replicated\nseconds: shorter is better"
        panels.append((title, figures["incremental"]["seconds"], "{:,.2f}"))
    if not panels:
        return
    sheet = Figure(figsize=(9, 1 + 2.2 * len(panels)), layout="constrained")
    axes = sheet.subplots(len(panels), 1, squeeze=False)[:, 0]
    for place, (title, values, form) in zip(axes, panels, strict=True):
        _bars(place, title, {name: value for name, value in values.items() if name not in _LEAVE_OUT}, form)
    machine = figures["machine"]
    sheet.suptitle(f"QReplica on {machine['cores']} cores ({machine['processor']}), {machine['memory']}", fontsize=10)
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet.savefig(file, dpi=110)


def _bars(place: Axes, title: str, values: dict[str, float], form: str) -> None:
    names = list(reversed(values))
    bars = place.barh(names, [values[name] for name in names], color=[_color(name) for name in names])
    place.bar_label(bars, [form.format(values[name]) for name in names], padding=3, fontsize=8)
    place.set_title(title, fontsize=9, loc="left")
    place.tick_params(labelsize=8)
    place.spines[["top", "right"]].set_visible(False)
    place.margins(x=0.12)


def _color(name: str) -> str:
    return _OURS if name == OURS else _LIMIT if name in _LIMITS else _OTHERS
