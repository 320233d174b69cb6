"""Test mounts: a recovery point as a writable disk for a while."""

from functools import partial
from typing import Any, Final

from nicegui import ui

from qreplica.ui import wording
from qreplica.ui.dialogs import buttons, confirm_loss, dialog
from qreplica.ui.frame import link
from qreplica.ui.looking import Looking, tell

Mount = dict[str, Any]
_NOWHERE: Final = "none yet"


def shown(here: Looking, mounts: list[Mount]) -> None:
    """Show test mounts, with a way to each."""
    for one in mounts:
        with ui.row().classes("items-center"):
            ui.link(one["name"], link("storage", "virtual-disks", one["name"]))
            where = f", {' and '.join(one['luns'])}" if one["luns"] else ""
            ui.label(
                f"Test mount of generation {one['generation']}{where}, made by {one['made_by']}, "
                f"{wording.time(one['made_at'], here.zone)}"
            )


async def make(here: Looking, vd: str, point: str) -> None:
    """Ask where a recovery point is to be tried, and make the test mount."""
    nodes = await here.rest.get("nodes")
    with dialog(f"Test mount of {point}") as made:
        ui.label(
            "Hosts get a writable disk with the content of this recovery point. Replication goes on, and what is "
            "written to that disk is seen nowhere else. Its whole size is promised to it until it is ended."
        )
        names = [_NOWHERE, *(one["name"] for one in nodes)]
        node = ui.select(names, label="iSCSI node", value=_NOWHERE).classes("full-width")

        async def mount() -> None:
            chosen = None if node.value == _NOWHERE else node.value
            done = await here.rest.post("test-mounts", body={"vd": vd, "point": point, "node": chosen})
            tell(f"“{done['name']}” can be tried.")
            ui.navigate.to(link("storage", "virtual-disks", done["name"]))

        buttons(here, made, "Make a test mount", mount, None, inputs={"node": node})


def end(here: Looking, mount: Mount) -> None:
    """Ask whether to end a test mount."""
    confirm_loss(
        here,
        f"End {mount['name']}",
        "It is taken from its hosts, and all that was written to it is deleted. The recovery point stays as it is.",
        mount["name"],
        partial(_end, here, mount),
        done=f"“{mount['name']}” is gone.",
    )


async def _end(here: Looking, mount: Mount) -> None:
    await here.rest.delete("test-mounts", mount["name"])
    ui.navigate.to(link("storage", "virtual-disks", mount["vd"]))
