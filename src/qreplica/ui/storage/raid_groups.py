"""The RAID groups, and how one is made."""

from functools import partial
from typing import Any, Final

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import tables, wording
from qreplica.ui.dialogs import buttons, dialog
from qreplica.ui.frame import link
from qreplica.ui.looking import Looking, tell
from qreplica.ui.storage import space
from qreplica.ui.tables import Cell, Table

Group = dict[str, Any]

LEVELS: Final = {
    "raid1": "RAID 1: two copies of everything, does without one disk",
    "raid10": "RAID 10: two copies, striped, does without one disk",
    "mirror3": "3-way mirror: does without two disks",
    "mirror4": "4-way mirror: does without three disks",
    "raid5": "RAID 5: parity, does without one disk; has a write hole",
    "raid6": "RAID 6: double parity, does without two disks; has a write hole",
    "raid0": "RAID 0: striped, lost with any of its disks",
    "jbod": "JBOD: one disk after the other, lost with any of its disks",
}
_COLUMNS: Final = {
    "name": "RAID group",
    "health": "Health",
    "level": "Level",
    "disks": "Disks",
    "promised": "Promised",
    "free": "Free",
}


class RaidGroups:
    """The table of RAID groups."""

    def __init__(self, here: Looking) -> None:
        none = "There is no RAID group yet: " + (
            "click “Make a RAID group” once there are disks." if here.may(Role.ADMIN) else "ask an administrator."
        )
        self._table = Table(_COLUMNS, none)

    def show(self, groups: list[Group]) -> None:
        """Show these RAID groups."""
        self._table.show({one["name"]: _cells(one) for one in groups})


def _cells(group: Group) -> dict[str, Cell]:
    return {
        "name": tables.cell(group["name"], href=link("storage", "raid-groups", group["name"])),
        "health": tables.state(group["health"], *goes_on(group)),
        "level": tables.cell(group["level"]),
        "disks": tables.cell(str(len(group["disks"])), sort=len(group["disks"])),
        "promised": space.promised(group),
        "free": tables.size(group["free"]),
    }


def goes_on(group: Group) -> list[str]:
    """Return in words what goes on in the RAID group, and what it lacks."""
    told = []
    if group["missing_disks"]:
        told.append(f"{group['missing_disks']} missing")
    if group["rebuilt_percent"] is not None:
        told.append(f"{group['rebuilt_percent']:.1f} % rebuilt")
    if group["scrub"] is not None and group["scrub"]["running"]:
        told.append(f"{group['scrub']['percent'] or 0:.0f} % scrubbed")
    return told


async def create(here: Looking) -> None:
    """Open the dialog that makes a RAID group of free disks."""
    fit = await free_disks(here)
    with dialog("Make a RAID group") as made:
        name = ui.input("Name of the RAID group").props("autofocus").classes("full-width")
        level = ui.select(LEVELS, label="Level", value="raid1").classes("full-width")
        disks = ui.select(fit, label="Disks", multiple=True, value=[]).props("use-chips").classes("full-width")
        if not fit:
            ui.label("There is no free disk: add disks first.").classes("step-facts")
        ui.label("A disk that holds anything else is refused: what was on it has to be wiped before.").classes(
            "step-facts"
        )
        buttons(
            here,
            made,
            "Make",
            partial(_make, here, name, level, disks),
            None,
            inputs={"name": name, "level": level, "disks": disks},
        )


async def free_disks(here: Looking) -> dict[str, str]:
    """Return the disks that belong to no RAID group and have not failed, to choose from."""
    return {
        one["name"]: f"{one['name']} ({wording.size(one['size'])}{', spare' if one['spare'] else ''})"
        for one in await here.rest.get("disks")
        if one["raid_group"] is None and not one["failed"]
    }


async def _make(here: Looking, name: ui.input, level: ui.select, disks: ui.select) -> None:
    body = {"name": name.value, "level": level.value, "disks": disks.value}
    group = await here.rest.post("raid-groups", body=body)
    tell(f"“{group['name']}” was made: {wording.size(group['free'])} are free in it.")
    for warning in group["warnings"]:
        tell(warning, wrong=True)
