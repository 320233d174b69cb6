"""Promoting a backup virtual disk: what is left behind, and the word for it."""

from typing import Any

from nicegui import ui

from qreplica.ui import wording
from qreplica.ui.dialogs import buttons, dialog, name_again
from qreplica.ui.looking import Looking, tell


async def dialog_for(here: Looking, vd: dict[str, Any]) -> None:
    """Open the dialog."""
    name = vd["name"]
    newest = await here.rest.get("virtual-disks", name, "promote")
    points = {
        one["generation"]: f"Generation {one['generation']}, committed {wording.time(one['committed_at'], here.zone)}"
        for one in reversed(newest["points"])
    }
    with dialog(f"Promote {name}") as made:
        ui.label(
            "Hosts get to use this copy, and its replication job is superseded: it may never write here again. It is "
            "for when the source is gone, or is to be given up."
        )
        point = ui.select(points, label="Recovery point", value=newest["generation"]).classes("full-width")
        lost = ui.label(_lost(newest)).props("aria-live=polite")
        ui.label(
            "No host may use the source any more: what is written there from now on is there alone, and nobody here "
            "can know of it."
        ).classes("text-negative")

        async def look() -> None:
            found = await here.rest.get("virtual-disks", name, "promote", generation=point.value)
            lost.text = _lost(found)

        point.on_value_change(lambda: here.attempt(look()))
        typed = name_again(name)

        async def promote() -> None:
            body = {"confirm": name, "generation": point.value}
            await here.rest.post("virtual-disks", name, "promote", body=body)
            tell(f"“{name}” was promoted: attach it to the iSCSI node of its hosts.")

        button = buttons(here, made, "Promote", promote, None).props("color=negative")
        button.bind_enabled_from(typed, "value", lambda value: value == name)


def _lost(found: dict[str, Any]) -> str:
    return f"Left behind is {found['sentence']}."
