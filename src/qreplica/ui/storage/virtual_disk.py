"""What can be done with a virtual disk, and what is shown of it."""

from functools import partial

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import wording
from qreplica.ui.dialogs import Offer, buttons, confirm, confirm_loss, dialog
from qreplica.ui.facts import facts
from qreplica.ui.frame import link
from qreplica.ui.looking import Looking
from qreplica.ui.storage import promotion, test_mounts
from qreplica.ui.storage.sections import VIRTUAL_DISKS
from qreplica.ui.storage.virtual_disks import Vd


def facts_of(here: Looking, vd: Vd) -> None:
    """Show what is known of the virtual disk."""
    every = vd["snapshot_minutes"]
    facts(
        {
            "Type": vd["type"],
            "Size": wording.size(vd["size"]),
            "RAID group": vd["raid_group"],
            "Serial number": vd["serial"],
            "Automatic snapshots": "none"
            if every is None
            else f"every {every} minutes, the newest {vd['snapshots_kept']} are kept",
            "Made": wording.time(vd["created_at"], here.zone),
            **({"Write protection": "hosts can only read it"} if vd["write_protected"] else {}),
        }
    )


def offered(here: Looking, vd: Vd) -> list[Offer]:
    """Return what may be done with the virtual disk."""
    may: list[Offer] = []
    if here.may(Role.OPERATOR):
        may.append(("Snapshot space", partial(_snapshot_space, here, vd["name"])))
        if vd["test_mount"]:
            may.append(("End the test mount", partial(test_mounts.end, here, vd["test_mount"])))
        if vd["type"] == "RAID":
            may.append(("Automatic snapshots", partial(_automatic, here, vd)))
    if here.may(Role.ADMIN):
        if vd["type"] == "RAID":
            label = "Let hosts write" if vd["write_protected"] else "Write-protect"
            may.append((label, partial(_protect, here, vd)))
        if vd["type"] == "BACKUP":
            may.append(("Promote", partial(promotion.dialog_for, here, vd)))
        may.append(("Extend", partial(_extend, here, vd)))
        may.append(("Rename", partial(_rename, here, vd)))
        may.append(("Delete", partial(_delete, here, vd["name"])))
    return may


def _protect(here: Looking, vd: Vd) -> None:
    name, protected = vd["name"], not vd["write_protected"]
    told = (
        "What hosts write to it from now on is refused; what they have written stays."
        if protected
        else "Be sure that no other side's hosts write to its copy: two histories cannot be joined again."
    )
    confirm(
        here,
        f"{'Write-protect' if protected else 'Let hosts write to'} {name}",
        f"{told} Their sessions are cut off once, and come back by themselves.",
        "Write-protect" if protected else "Let hosts write",
        lambda: here.rest.put("virtual-disks", name, "write-protection", body={"protected": protected}),
        done=f"Hosts can {'only read' if protected else 'write to'} “{name}” now.",
    )


async def _snapshot_space(here: Looking, name: str) -> None:
    vd = await here.rest.get("virtual-disks", name)
    with dialog(f"Snapshot space of {name}") as made:
        ui.label(f"Its snapshots use {wording.size(vd['snapshot_used'])} of {wording.size(vd['snapshot_space'])}.")
        space = ui.input("Snapshot space, such as 20GiB").props("autofocus").classes("full-width")
        buttons(
            here,
            made,
            "Set",
            lambda: here.rest.patch("virtual-disks", name, body={"snapshot_space": space.value}),
            f"The snapshot space of “{name}” was set.",
            inputs={"snapshot_space": space},
        )


def _automatic(here: Looking, vd: Vd) -> None:
    name = vd["name"]
    with dialog(f"Automatic snapshots of {name}") as made:
        every = ui.number("Minutes between two", value=vd["snapshot_minutes"], min=1, precision=0)
        every.props('autofocus clearable hint="Empty: none are taken by themselves"').classes("full-width")
        keep = ui.number("How many are kept", value=vd["snapshots_kept"], min=1, max=256, precision=0)
        keep.classes("full-width")
        ui.label(
            "The oldest automatic ones beyond that number are deleted by themselves, and also when the snapshot space "
            "is used up; those that something needs are not."
        ).classes("step-facts")

        async def save() -> None:
            minutes = None if every.value is None else int(every.value)
            body = {"every_minutes": minutes, "keep": int(keep.value or 0)}
            await here.rest.put("virtual-disks", name, "automatic-snapshots", body=body)

        inputs = {"every_minutes": every, "keep": keep}
        buttons(here, made, "Save", save, f"The automatic snapshots of “{name}” were set.", inputs=inputs)


def _extend(here: Looking, vd: Vd) -> None:
    name = vd["name"]
    with dialog(f"Extend {name}") as made:
        ui.label(
            f"It has {wording.size(vd['size'])} now, and cannot be made smaller again. Hosts go on meanwhile, and see "
            "the new size when they look again (rescan)."
        )
        size = ui.input("New size, such as 20GiB").props("autofocus").classes("full-width")
        buttons(
            here,
            made,
            "Extend",
            lambda: here.rest.post("virtual-disks", name, "extend", body={"size": size.value}),
            f"“{name}” was extended.",
            inputs={"size": size},
        )


def _rename(here: Looking, vd: Vd) -> None:
    with dialog(f"Rename {vd['name']}") as made:
        ui.label("Hosts and replication jobs see no change.")
        name = ui.input("New name", value=vd["name"]).props("autofocus").classes("full-width")

        async def rename() -> None:
            await here.rest.post("virtual-disks", vd["name"], "rename", body={"name": name.value})
            ui.navigate.to(link("storage", "virtual-disks", name.value))

        buttons(here, made, "Rename", rename, None, inputs={"name": name})


async def _delete(here: Looking, name: str) -> None:
    # As it is now: the page may be seconds old, and what is lost is said exactly.
    vd = await here.rest.get("virtual-disks", name)
    count = vd["snapshots"]

    async def delete() -> None:
        await here.rest.delete("virtual-disks", name)
        ui.navigate.to(VIRTUAL_DISKS)

    points = f"its {count} snapshots" if count != 1 else "its snapshot"
    confirm_loss(
        here,
        f"Delete {name}",
        f"All {wording.size(vd['size'])} of virtual disk “{name}”{f' and {points}' if count else ''} are lost. It is "
        "refused while it is attached to a node or replicated.",
        name,
        delete,
        done=f"“{name}” was deleted.",
    )
