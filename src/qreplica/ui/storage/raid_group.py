"""What can be done with a RAID group: disks replaced and added, scrubs, its end."""

from functools import partial
from typing import Any

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import wording
from qreplica.ui.dialogs import Offer, buttons, confirm, confirm_loss, dialog
from qreplica.ui.looking import Looking
from qreplica.ui.storage.raid_groups import free_disks
from qreplica.ui.storage.sections import RAID_GROUPS


def offered(here: Looking, name: str, *, scrubs: bool) -> list[Offer]:
    """Return what may be done with the RAID group; ``scrubs``: a scrub runs."""
    if not here.may(Role.ADMIN):
        return []
    return [
        ("Replace a disk", partial(_replace, here, name)),
        ("Add a disk to it", partial(_grow, here, name)),
        ("Stop the scrub", partial(_stop_scrub, here, name))
        if scrubs
        else ("Start a scrub", partial(_start_scrub, here, name)),
        ("Scrub schedule", partial(_schedule, here, name)),
        ("Delete", partial(_delete, here, name)),
    ]


async def _replace(here: Looking, name: str) -> None:
    group = await here.rest.get("raid-groups", name)
    members = {
        one["name"]: f"{one['name']} ({wording.size(one['size'])}, {one['state']})"
        for one in group["members"]
        if one["replaces"] is None
    }
    # The one that most likely is to go.
    ill = next((one["name"] for one in group["members"] if one["state"] in {"missing", "failed"}), None)
    fit = await free_disks(here)
    with dialog(f"Replace a disk of {name}") as made:
        old = ui.select(members, label="Disk to replace", value=ill).classes("full-width")
        new = ui.select(fit, label="Free disk that takes its place").classes("full-width")
        if not fit:
            ui.label("There is no free disk: add one of at least the same size first.").classes("step-facts")
        ui.label("It is rebuilt in the background while hosts go on; a scrub that runs is ended.")
        buttons(
            here,
            made,
            "Replace",
            lambda: here.rest.post("raid-groups", name, "replace", body={"old": old.value, "new": new.value}),
            f"The replacement in “{name}” has begun.",
            inputs={"old": old, "new": new},
        )


async def _grow(here: Looking, name: str) -> None:
    fit = await free_disks(here)
    with dialog(f"Add a disk to {name}") as made:
        disk = ui.select(fit, label="Free disk").classes("full-width")
        if not fit:
            ui.label("There is no free disk: add one first.").classes("step-facts")
        ui.label("Its space can be promised once everything is spread over all disks. It cannot be taken out again.")
        buttons(
            here,
            made,
            "Add",
            lambda: here.rest.post("raid-groups", name, "grow", body={"disk": disk.value}),
            f"A disk is being added to “{name}”.",
            inputs={"disk": disk},
        )


def _start_scrub(here: Looking, name: str) -> None:
    confirm(
        here,
        f"Scrub {name}",
        "All copies of everything are read, and what is wrong is mended. Hosts may be slower meanwhile.",
        "Start the scrub",
        lambda: here.rest.post("raid-groups", name, "scrub", "start"),
        done=f"The scrub of “{name}” has begun.",
    )


def _stop_scrub(here: Looking, name: str) -> None:
    confirm(
        here,
        f"Stop the scrub of {name}",
        "What it has not read stays unchecked. By the schedule it is tried again in a day.",
        "Stop the scrub",
        lambda: here.rest.post("raid-groups", name, "scrub", "stop"),
        done=f"The scrub of “{name}” was stopped.",
    )


async def _schedule(here: Looking, name: str) -> None:
    group = await here.rest.get("raid-groups", name)
    with dialog(f"Scrub schedule of {name}") as made:
        days = ui.number("Days between scrubs", value=group["scrub_days"], min=1, max=365, precision=0)
        days.props('autofocus clearable hint="Empty: only when asked for"').classes("full-width")

        async def save() -> Any:  # noqa: ANN401 - JSON
            every = None if days.value is None else int(days.value)
            return await here.rest.patch("raid-groups", name, body={"scrub_days": every})

        buttons(here, made, "Save", save, f"The scrub schedule of “{name}” was saved.", inputs={"scrub_days": days})


async def _delete(here: Looking, name: str) -> None:
    group = await here.rest.get("raid-groups", name)

    async def delete() -> None:
        await here.rest.delete("raid-groups", name)
        ui.navigate.to(RAID_GROUPS)

    confirm_loss(
        here,
        f"Delete {name}",
        f"RAID group “{name}” is deleted and its disks ({', '.join(group['disks'])}) are wiped; they are free then. It "
        "is refused while the group holds virtual disks.",
        name,
        delete,
        done=f"“{name}” was deleted.",
    )
