"""How much of a space is used, as a bar; where something begins is marked."""

from typing import Any

from nicegui import ui

from qreplica.ui import wording
from qreplica.ui.tables import Cell, cell


def promised(group: dict[str, Any]) -> Cell:
    """Return a cell with how much of an RG is promised to VDs and their snapshots."""
    given, room = group["vd_space"] + group["snapshot_space"], group["usable"] - group["reserve"]
    return _bar(f"{wording.size(given)} of {wording.size(room)}", given, room, None)


def snapshots(vd: dict[str, Any]) -> Cell:
    """Return a cell with how much of its snapshot space a VD uses, and from where on its job runs by itself."""
    used, space, mark = vd["snapshot_used"], vd["snapshot_space"], vd["snapshot_threshold"]
    if not space:
        return cell("none", sort=-1)
    return _bar(f"{wording.size(used)} of {wording.size(space)}", used or 0, space, mark)


def _bar(text: str, used: int, space: int, mark: int | None) -> Cell:
    said = f"{text} used" if mark is None else f"{text} used, the threshold is at {wording.size(mark)}"
    share = used / space if space else 0.0
    return cell(text, sort=share) | {
        "share": min(1.0, share),
        "mark": None if mark is None or not space else min(1.0, mark / space),
        "said": said,
    }


def snapshot_bar(vd: dict[str, Any]) -> None:
    """Show how much of its snapshot space a VD uses, and what the mark means."""
    bar = snapshots(vd)
    ui.label(f"Snapshot space: {bar['text']}")
    if "share" not in bar:
        return
    with ui.element("div").classes("bar").props(f'role=img aria-label="{bar["said"]}"'):
        ui.element("div").classes("bar-used").style(f"width: {bar['share']:.2%}")
        if bar["mark"] is not None:
            ui.element("div").classes("bar-mark").style(f"left: {bar['mark']:.2%}")
    if bar["mark"] is not None:
        ui.label(f"At the mark, {wording.size(vd['snapshot_threshold'])}, its replication job runs by itself.").classes(
            "step-facts"
        )
