"""The recovery points of a backup virtual disk: what keeps them, their locks, and how long they are kept."""

from functools import partial
from typing import Any, Final

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import tables, wording
from qreplica.ui.dialogs import Offer, buttons, choose, confirm, dialog, offer
from qreplica.ui.looking import Looking
from qreplica.ui.rest import Refused
from qreplica.ui.storage import test_mounts
from qreplica.ui.tables import Cell, Table

Point = dict[str, Any]

_COLUMNS: Final = {
    "generation": "Generation",
    "name": "Recovery point",
    "committed": "Committed",
    "size": "Size of the disk then",
    "kept": "Kept by",
    "lock": "Lock",
}
#: The rules of a retention, and what is asked for each.
_RULES: Final = {
    "last": "Newest ones kept in any case",
    "hourly": "Hours of which the newest is kept",
    "daily": "Days of which the newest is kept",
    "weekly": "Weeks of which the newest is kept",
    "monthly": "Months of which the newest is kept",
}
_MOST: Final = 1000


class RecoveryPoints:
    """The table of the recovery points of virtual disk ``vd``, and what can be done with them."""

    def __init__(self, here: Looking, vd: str) -> None:
        self._here = here
        self._vd = vd
        self._points: dict[str, Point] = {}
        self._rules = ui.label()
        if here.may(Role.ADMIN):
            retention: Offer = ("Retention", lambda: _retention(here, vd))
            offer(here, [retention])
        self._table = Table(
            _COLUMNS,
            "It has no recovery points: each cycle of a replication job makes one.",
            self._operate if here.may(Role.OPERATOR) else None,
            only="Lock or try",
        )

    def show(self, points: list[Point]) -> None:
        """Show these points, the newest first."""
        self._points = {one["name"]: one for one in reversed(points)}
        self._table.show({name: self._cells(one) for name, one in self._points.items()}, operable=lambda _: True)

    def show_rules(self, retention: dict[str, Any] | None) -> None:
        """Say how long they are kept; None for a virtual disk that has none."""
        if retention is None:
            return
        others = [f"{retention[rule]} {rule}" for rule in _RULES if rule != "last" and retention[rule]]
        kept = ", ".join([f"the last {retention['last']}", *others])
        self._rules.text = f"Kept are {kept}, and those that are locked."

    def _cells(self, one: Point) -> dict[str, Cell]:
        return {
            "generation": tables.cell(str(one["generation"]), sort=one["generation"]),
            "name": tables.cell(one["name"]),
            "committed": tables.cell(wording.time(one["committed_at"], self._here.zone)),
            "size": tables.size(one["size"]),
            "kept": tables.cell(", ".join(one["kept_by"]) or "nothing: it goes when the next cycle begins"),
            "lock": self._lock(one["lock"]),
        }

    def _lock(self, lock: dict[str, Any] | None) -> Cell:
        if lock is None:
            return tables.cell(wording.NOTHING)
        since = f"by {lock['locked_by']}, {wording.time(lock['locked_at'], self._here.zone)}"
        return tables.state("locked", since, *([lock["note"]] if lock["note"] else []))

    def _operate(self, name: str) -> None:
        locked = self._points[name]["lock"] is not None
        offered: list[Offer] = [
            ("Unlock", partial(_unlock, self._here, self._vd, name))
            if locked
            else ("Lock", partial(_lock, self._here, self._vd, name)),
            ("Test mount", partial(test_mounts.make, self._here, self._vd, name)),
        ]
        choose(self._here, f"Operations on {name}", offered, "")


def _lock(here: Looking, vd: str, name: str) -> None:
    with dialog(f"Lock {name}") as made:
        ui.label(
            "Nothing automatic lets it go until it is unlocked. It goes on using snapshot space, for which others go."
        )
        note = ui.input("Why, such as “annual accounts”").props("autofocus maxlength=256").classes("full-width")
        buttons(
            here,
            made,
            "Lock",
            lambda: here.rest.put("recovery-points", vd, name, "lock", body={"note": note.value}),
            f"“{name}” is locked.",
            inputs={"note": note},
        )


def _unlock(here: Looking, vd: str, name: str) -> None:
    confirm(
        here,
        f"Unlock {name}",
        "From the next cycle on it is let go when no rule of the retention keeps it, or when snapshot space runs out.",
        "Unlock",
        lambda: here.rest.delete("recovery-points", vd, name, "lock"),
        done=f"“{name}” is not locked.",
    )


async def _retention(here: Looking, vd: str) -> None:
    present = await here.rest.get("virtual-disks", vd, "retention")
    with dialog(f"Retention of {vd}") as made:
        ui.label(
            "A recovery point that any rule keeps stays. Hours, days, weeks and months without a point do not count. "
            "The newest, locked ones and those that a LUN shows are never let go."
        )

        def wanted() -> dict[str, int]:
            return {rule: int(one.value or 0) for rule, one in asked.items()}

        async def preview() -> None:
            trying = wanted()

            async def ask() -> None:
                tried = await here.rest.get("virtual-disks", vd, "retention", "preview", **trying)
                # Meanwhile something else may have been typed, whose answer is on its way.
                if trying == wanted():
                    gone = len(tried["lets_go"])
                    count = gone + tried["keeps"]
                    told.text = f"When the next cycle begins {gone or 'none'} of the {count} recovery points will go."

            def refuse(refused: Refused) -> None:
                told.text = refused.sentence

            await here.attempt(ask(), refuse=refuse)

        asked = {
            rule: ui.number(label, value=present[rule], min=0, max=_MOST, precision=0, on_change=preview).classes(
                "full-width"
            )
            for rule, label in _RULES.items()
        }
        told = ui.label().props("role=status")
        await preview()

        async def save() -> None:
            await here.rest.put("virtual-disks", vd, "retention", body=wanted())

        buttons(here, made, "Save", save, f"The retention of “{vd}” was set.", inputs=asked)
