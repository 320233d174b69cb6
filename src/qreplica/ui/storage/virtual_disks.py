"""The virtual disks, and how one is made."""

from typing import Any, Final

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import tables, wording
from qreplica.ui.dialogs import buttons, dialog
from qreplica.ui.frame import link
from qreplica.ui.looking import Looking
from qreplica.ui.storage import space
from qreplica.ui.tables import Cell, Table

Vd = dict[str, Any]

_COLUMNS: Final = {
    "name": "Virtual disk",
    "type": "Type",
    "size": "Size",
    "group": "RAID group",
    "snapshots": "Snapshots",
    "space": "Snapshot space",
    "luns": "Attached to",
}
_TYPES: Final = {"RAID": "RAID: hosts use it", "BACKUP": "BACKUP: a replication job writes its copy to it"}


class VirtualDisks:
    """The table of virtual disks."""

    def __init__(self, here: Looking) -> None:
        none = "There is no virtual disk yet: " + (
            "click “Make a virtual disk” once there is a RAID group."
            if here.may(Role.ADMIN)
            else "ask an administrator."
        )
        self._table = Table(_COLUMNS, none)

    def show(self, vds: list[Vd]) -> None:
        """Show these virtual disks."""
        self._table.show({one["name"]: _cells(one) for one in vds})


def _cells(vd: Vd) -> dict[str, Cell]:
    attached = [f"{one['node']}, LUN {one['number']}{_frozen(one)}" for one in vd["luns"]]
    return {
        "name": tables.cell(vd["name"], href=link("storage", "virtual-disks", vd["name"])),
        "type": tables.cell(vd["type"]),
        "size": tables.size(vd["size"]),
        "group": tables.cell(vd["raid_group"], href=link("storage", "raid-groups", vd["raid_group"])),
        "snapshots": tables.cell(str(vd["snapshots"]), sort=vd["snapshots"]),
        "space": space.snapshots(vd),
        "luns": tables.cell(attached[0] if attached else "no node", lines=attached[1:]),
    }


def _frozen(lun: dict[str, Any]) -> str:
    return f" (snapshot {lun['snapshot']})" if lun["snapshot"] else ""


async def create(here: Looking) -> None:
    """Open the dialog that makes a virtual disk."""
    groups = {
        one["name"]: f"{one['name']} ({wording.size(one['free'])} free)" for one in await here.rest.get("raid-groups")
    }
    with dialog("Make a virtual disk") as made:
        name = ui.input("Name of the virtual disk").props("autofocus").classes("full-width")
        group = ui.select(groups, label="RAID group", value=next(iter(groups), None)).classes("full-width")
        if not groups:
            ui.label("There is no RAID group: make one first.").classes("step-facts")
        size = ui.input("Size, such as 10GiB").classes("full-width")
        type_ = ui.radio(_TYPES, value="RAID").props('aria-label="Type"')
        ui.label(
            "All of its size is promised to it, and can be used by nothing else; to one of type BACKUP as much again, "
            "for its recovery points."
        ).classes("step-facts")
        buttons(
            here,
            made,
            "Make",
            lambda: here.rest.post(
                "virtual-disks",
                body={"name": name.value, "raid_group": group.value, "size": size.value, "type": type_.value},
            ),
            "The virtual disk was made.",
            inputs={"name": name, "raid_group": group, "size": size},
        )
