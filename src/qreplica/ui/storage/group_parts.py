"""What is shown of a RAID group: its disks, its space, its scrubs."""

from typing import Any, Final

from nicegui import ui

from qreplica.ui import tables, wording
from qreplica.ui.facts import facts
from qreplica.ui.frame import chip, heading
from qreplica.ui.looking import Looking
from qreplica.ui.storage.raid_groups import LEVELS, Group, goes_on
from qreplica.ui.tables import Cell, Table

_KINDS: Final = ("read", "write", "flush", "corruption", "generation")
_MEMBERS: Final = {
    "name": "Disk",
    "state": "State",
    "size": "Size",
    "replaces": "Takes the place of",
    "errors": "Errors",
}
_SCRUBS: Final = {
    "outcome": "Outcome",
    "started": "Started",
    "ended": "Ended",
    "checked": "Read",
    "mended": "Errors mended",
    "left": "Errors left",
}


def head(group: Group) -> None:
    """Show how the RAID group is, and how far what goes on."""
    with ui.row().classes("items-center"):
        heading(group["name"])
        chip(group["health"])
        for sentence in goes_on(group):
            ui.label(sentence)
    scrub = group["scrub"]
    running = None if scrub is None or not scrub["running"] else scrub["percent"]
    for what, percent in (("Rebuild", group["rebuilt_percent"]), ("Scrub", running)):
        if percent is not None:
            progress = ui.linear_progress(percent / 100, show_value=False, size="16px")
            progress.props(f'aria-label="{what}: {percent:.0f} %"')
    for warning in group["warnings"]:
        ui.label(warning).classes("step-facts")


def space(here: Looking, group: Group) -> None:
    """Show how the space is shared out, and who looks after it."""
    days, keeper = group["scrub_days"], group["maintained_by"]
    facts(
        {
            "Level": LEVELS[group["level"]],
            "Usable": wording.size(group["usable"]),
            "Kept back": wording.size(group["reserve"]),
            "Promised to virtual disks": wording.size(group["vd_space"]),
            "Promised to snapshots": wording.size(group["snapshot_space"]),
            "Free": wording.size(group["free"]),
            "Held by data": f"{wording.size(group['allocated'])} of {wording.size(group['limit'])}",
            "Scrubbed": "only when asked for" if days is None else f"every {days} days",
            "Next scrub": wording.time(group["next_scrub_at"], here.zone),
            "Maintained by": wording.NOTHING if keeper is None else f"controller {keeper}",
            "Made": wording.time(group["created_at"], here.zone),
        }
    )


class Members:
    """The table of a RAID group's disks."""

    def __init__(self) -> None:
        self._table = Table(_MEMBERS, "It has no disks.")

    def show(self, members: list[dict[str, Any]]) -> None:
        """Show these disks."""
        self._table.show({one["name"]: _member(one) for one in members})


def _member(one: dict[str, Any]) -> dict[str, Cell]:
    errors = one["errors"]
    made = errors and ", ".join(f"{kind} {errors[kind]}" for kind in _KINDS if errors[kind])
    return {
        "name": tables.cell(one["name"]),
        "state": tables.state(one["state"]),
        "size": tables.size(one["size"]),
        "replaces": tables.cell(wording.text(one["replaces"])),
        "errors": tables.cell("not known" if errors is None else made or "none"),
    }


class Scrubs:
    """The table of a RAID group's scrubs."""

    def __init__(self, here: Looking) -> None:
        self._here = here
        self._table = Table(_SCRUBS, "It was never scrubbed: start a scrub, or have it done by schedule.")

    def show(self, scrubs: list[dict[str, Any]]) -> None:
        """Show these scrubs."""
        self._table.show({one["started_at"]: self._cells(one) for one in scrubs})

    def _cells(self, one: dict[str, Any]) -> dict[str, Cell]:
        more = [one["error"]] if one["error"] else []
        return {
            "outcome": tables.state("running" if one["running"] else one["outcome"], *more),
            "started": tables.cell(wording.time(one["started_at"], self._here.zone)),
            "ended": tables.cell(wording.time(one["finished_at"], self._here.zone)),
            "checked": tables.size(one["checked"]),
            "mended": tables.cell(str(one["corrected"]), sort=one["corrected"]),
            "left": tables.cell(str(one["uncorrectable"]), sort=one["uncorrectable"]),
        }
