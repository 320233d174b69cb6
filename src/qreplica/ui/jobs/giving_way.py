"""Giving way to a copy that was promoted: what happens to what was written here, and the word for it."""

from typing import Any

from nicegui import ui

from qreplica.ui.dialogs import buttons, dialog, name_again
from qreplica.ui.frame import link
from qreplica.ui.looking import Looking, tell


async def dialog_for(here: Looking, job: dict[str, Any]) -> None:
    """Open the dialog. Raises Refused when the other side cannot be asked, or holds nothing in common."""
    name = job["name"]
    found = await here.rest.get("jobs", name, "give-way")
    vd = found["vd"]
    with dialog(f"Give way of {vd}") as made:
        ui.label(
            f"“{job['target_vd']}” on {job['target_subsystem']} was promoted, and hosts use it. “{vd}” becomes its "
            f"backup virtual disk: it goes back to generation {found['generation']}, the newest that both sides hold, "
            "so that only what changes there after it has to be sent here."
        )
        ui.label(f"A snapshot keeps {found['sentence']}. The job “{name}” is deleted.").classes("text-negative")
        typed = name_again(vd)

        async def give_way() -> None:
            done = await here.rest.post("jobs", name, "give-way", body={"confirm": vd})
            tell(
                f"“{vd}” is a backup virtual disk now; snapshot “{done['kept']}” has what was written here. Attach it "
                "to an iSCSI node, and make a job on the other side."
            )
            for problem in done["problems"]:
                tell(f"It is not served everywhere yet: {problem}", wrong=True)
            ui.navigate.to(link("storage", "virtual-disks", vd))

        button = buttons(here, made, "Give way", give_way, None).props("color=negative")
        button.bind_enabled_from(typed, "value", lambda value: value == vd)
