"""Disks: block devices and image files, of which RAID groups are made."""

from functools import partial
from typing import Any

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import tables, wording
from qreplica.ui.dialogs import Offer, buttons, choose, confirm, confirm_loss, dialog
from qreplica.ui.frame import link
from qreplica.ui.looking import Looking, tell
from qreplica.ui.tables import Cell, Table

Disk = dict[str, Any]

_COLUMNS = {
    "name": "Disk",
    "use": "Use",
    "group": "RAID group",
    "size": "Size",
    "errors": "Errors",
    "place": "Device or image",
}
_DEVICE, _IMAGE = "Block device", "Image file"


class Disks:
    """The table of disks."""

    def __init__(self, here: Looking) -> None:
        self._here = here
        self._disks: dict[str, Disk] = {}
        none = "There are no disks yet: " + (
            "click “Add a disk”." if here.may(Role.ADMIN) else "ask an administrator to add some."
        )
        self._table = Table(_COLUMNS, none, self._operate if here.may(Role.ADMIN) else None)

    def show(self, disks: list[Disk]) -> None:
        """Show these disks."""
        self._disks = {one["name"]: one for one in disks}
        self._table.show(
            {name: _cells(one) for name, one in self._disks.items()},
            operable=lambda name: self._disks[name]["raid_group"] is None,
        )

    def _operate(self, name: str) -> None:
        disk = self._disks[name]
        none = "Nothing can be done with it: replace it on the page of its RAID group."
        choose(self._here, f"Operations on {name}", _offered(self._here, disk), none)


def _cells(disk: Disk) -> dict[str, Cell]:
    group = disk["raid_group"]
    return {
        "name": tables.cell(disk["name"]),
        "use": tables.state(_use(disk)),
        "group": tables.cell(
            wording.text(group), href=None if group is None else link("storage", "raid-groups", group)
        ),
        "size": tables.size(disk["size"]),
        "errors": tables.cell(str(disk["errors"]), sort=disk["errors"]),
        "place": tables.cell(wording.text(disk["image"] or disk["device"])),
    }


def _use(disk: Disk) -> str:
    if disk["failed"]:
        return "failed"
    if disk["raid_group"] is not None:
        return "in use"
    return "spare" if disk["spare"] else "free"


def _offered(here: Looking, disk: Disk) -> list[Offer]:
    if disk["raid_group"] is not None:
        return []
    spare = ("No longer a spare", False) if disk["spare"] else ("Make it a spare", True)
    return [(spare[0], partial(_set_spare, here, disk, spare=spare[1])), ("Remove", partial(_remove, here, disk))]


def _set_spare(here: Looking, disk: Disk, *, spare: bool) -> None:
    name = disk["name"]
    what = (
        "It takes the place of a disk of at most its size that fails, in whichever RAID group that is first."
        if spare
        else "It is free for a RAID group to be made of it, and takes no failed disk's place any more."
    )
    confirm(
        here,
        f"Make {name} a spare" if spare else f"{name} is no longer to be a spare",
        what,
        "Make it a spare" if spare else "No longer a spare",
        lambda: here.rest.patch("disks", name, body={"spare": spare}),
        done=f"“{name}” is a spare." if spare else f"“{name}” is no spare any more.",
    )


def _remove(here: Looking, disk: Disk) -> None:
    name = disk["name"]
    kept = "Its image file stays." if disk["image"] else "What is on it stays."
    confirm_loss(
        here,
        f"Remove {name}",
        f"Disk “{name}” is no longer known here. {kept}",
        name,
        lambda: here.rest.delete("disks", name),
        done=f"“{name}” was removed.",
    )


def add(here: Looking) -> None:
    """Open the dialog that makes a disk known."""
    with dialog("Add a disk") as made:
        name = ui.input("Name of the disk").props("autofocus").classes("full-width")
        kind = ui.toggle([_DEVICE, _IMAGE], value=_DEVICE)
        device = ui.input("Block device, such as /dev/sdb").classes("full-width")
        image = ui.input("Image file, such as /srv/qreplica/d1.img").classes("full-width")
        size = ui.input("Size of a new image file, such as 10GiB").classes("full-width")
        device.bind_visibility_from(kind, "value", lambda one: one == _DEVICE)
        for one in (image, size):
            one.bind_visibility_from(kind, "value", lambda one: one == _IMAGE)

        async def make() -> None:
            given = {"device": device.value} if kind.value == _DEVICE else {"image": image.value, "size": size.value}
            body = {"name": name.value, **{key: value.strip() for key, value in given.items() if value.strip()}}
            disk = await here.rest.post("disks", body=body)
            tell(f"“{disk['name']}” was added: {wording.size(disk['size'])}.")

        inputs = {"name": name, "device": device, "image": image, "size": size}
        buttons(here, made, "Add", make, None, inputs=inputs)
