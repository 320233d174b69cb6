"""The snapshots of a virtual disk, and what can be done with them."""

from functools import partial
from typing import Any, Final

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import tables, wording
from qreplica.ui.dialogs import Offer, buttons, choose, confirm_loss, dialog, name_again
from qreplica.ui.looking import Looking, tell
from qreplica.ui.storage import luns
from qreplica.ui.tables import Cell, Table

Snapshot = dict[str, Any]

_COLUMNS: Final = {
    "name": "Snapshot",
    "taken": "Taken",
    "kind": "Kind",
    "size": "Size of the disk then",
    "pinned": "Needed by",
}
#: What becomes of the content before a roll-back: what the API takes for each.
_KEEP: Final = {"if-room": None, "always": True, "never": False}
_KEEP_TOLD: Final = {
    "if-room": "Keep what is there now as a snapshot, if there is snapshot space",
    "always": "Keep it as a snapshot, or else do not roll back",
    "never": "Do not keep it",
}


class Snapshots:
    """The table of a virtual disk's snapshots."""

    def __init__(self, here: Looking) -> None:
        self._here = here
        self._snapshots: dict[str, Snapshot] = {}
        none = "It has no snapshots: " + (
            "click “Take a snapshot”." if here.may(Role.OPERATOR) else "ask an operator to take one."
        )
        self._table = Table(_COLUMNS, none, self._operate if here.may(Role.OPERATOR) else None)

    def show(self, snapshots: list[Snapshot]) -> None:
        """Show these snapshots, the latest first."""
        self._snapshots = {one["name"]: one for one in reversed(snapshots)}
        self._table.show({name: self._cells(one) for name, one in self._snapshots.items()}, operable=lambda _: True)

    def _cells(self, one: Snapshot) -> dict[str, Cell]:
        return {
            "name": tables.cell(one["name"]),
            "taken": tables.cell(wording.time(one["taken_at"], self._here.zone)),
            "kind": tables.cell(one["kind"]),
            "size": tables.size(one["size"]),
            "pinned": tables.cell(wording.text(one["pinned_by"])),
        }

    def _operate(self, name: str) -> None:
        one = self._snapshots[name]
        choose(self._here, f"Operations on {name}", _offered(self._here, one), "Your role may only look.")


def _offered(here: Looking, one: Snapshot) -> list[Offer]:
    delete: Offer = ("Delete", partial(_delete, here, one))
    if not here.may(Role.ADMIN):
        return [delete]
    return [
        ("Roll the virtual disk back to it", partial(_roll_back, here, one)),
        ("Show it read-only on an iSCSI node", partial(luns.attach, here, vd=one["vd"], snapshot=one["name"])),
        delete,
    ]


def take(here: Looking, vd: str) -> None:
    """Open the dialog that takes a snapshot."""
    with dialog(f"Take a snapshot of {vd}") as made:
        ui.label("It holds every write acknowledged before it, and none acknowledged after.")
        name = ui.input("Name of the snapshot").props("autofocus").classes("full-width")
        buttons(
            here,
            made,
            "Take",
            lambda: here.rest.post("snapshots", body={"vd": vd, "name": name.value}),
            "The snapshot was taken.",
            inputs={"name": name},
        )


async def _roll_back(here: Looking, one: Snapshot) -> None:
    vd, name = one["vd"], one["name"]
    loss = await here.rest.get("snapshots", vd, name, "roll-back")
    since, age = wording.time(loss["since"], here.zone), wording.age(loss["since"])
    with dialog(f"Roll {vd} back") as made:
        ui.label(
            f"“{vd}” gets the content of snapshot “{name}” and loses everything written since {since} ({age} ago): "
            f"{wording.size(loss['changed'])}. Hosts must be logged out of its nodes; nobody is served it meanwhile."
        )
        keep = ui.radio(_KEEP_TOLD, value="if-room").props('aria-label="What is there now"')
        typed = name_again(vd)

        async def roll_back() -> None:
            body = {"confirm": vd, "keep_present": _KEEP[str(keep.value)]}
            done = await here.rest.post("snapshots", vd, name, "roll-back", body=body)
            kept = f" Snapshot “{done['kept']}” has what was there before." if done["kept"] else ""
            tell(f"“{vd}” was rolled back to “{name}”.{kept}")
            for problem in done["problems"]:
                tell(f"It is not served everywhere yet: {problem}", wrong=True)

        button = buttons(here, made, "Roll back", roll_back, None).props("color=negative")
        button.bind_enabled_from(typed, "value", lambda value: value == vd)


def _delete(here: Looking, one: Snapshot) -> None:
    vd, name = one["vd"], one["name"]
    confirm_loss(
        here,
        f"Delete {name}",
        f"“{vd}” as it was at {wording.time(one['taken_at'], here.zone)} is lost. What is there now stays as it is.",
        name,
        lambda: here.rest.delete("snapshots", vd, name),
        done=f"“{name}” was deleted.",
    )
