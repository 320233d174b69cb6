"""LUNs: virtual disks and their snapshots, attached to iSCSI nodes and detached."""

from typing import Any, Final

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import tables, wording
from qreplica.ui.dialogs import buttons, confirm_loss, dialog
from qreplica.ui.frame import link
from qreplica.ui.looking import Looking, tell
from qreplica.ui.tables import Cell, Table

Lun = dict[str, Any]

_COLUMNS: Final = {"number": "LUN", "node": "iSCSI node", "vd": "Virtual disk", "shows": "Shows", "size": "Size"}


class Luns:
    """A table of LUNs; ``none`` says why there are none."""

    def __init__(self, here: Looking, none: str) -> None:
        self._here = here
        self._luns: dict[str, Lun] = {}
        self._table = Table(_COLUMNS, none, self._detach if here.may(Role.ADMIN) else None, only="Detach")

    def show(self, luns: list[Lun]) -> None:
        """Show these LUNs."""
        self._luns = {f"LUN {one['number']} of {one['node']}": one for one in luns}
        self._table.show({key: _cells(one) for key, one in self._luns.items()}, operable=lambda _: True)

    def _detach(self, key: str) -> None:
        one = self._luns[key]
        shown = f"snapshot “{one['snapshot']}” of “{one['vd']}”" if one["snapshot"] else f"“{one['vd']}”"
        confirm_loss(
            self._here,
            f"Detach LUN {one['number']}",
            f"Hosts lose LUN {one['number']} of iSCSI node “{one['node']}” at once, and what they have not yet written "
            f"to it; {shown} keeps its data.",
            one["vd"],
            lambda: self._here.rest.delete("luns", one["node"], one["number"]),
            done=f"LUN {one['number']} of “{one['node']}” was detached.",
        )


def _cells(lun: Lun) -> dict[str, Cell]:
    return {
        "number": tables.cell(str(lun["number"]), sort=lun["number"]),
        "node": tables.cell(lun["node"], href=link("storage", "nodes", lun["node"])),
        "vd": tables.cell(lun["vd"], href=link("storage", "virtual-disks", lun["vd"])),
        "shows": tables.cell(f"snapshot {lun['snapshot']}, read-only" if lun["snapshot"] else lun["type"]),
        "size": tables.size(lun["size"]),
    }


async def attach(here: Looking, *, vd: str | None = None, snapshot: str | None = None, node: str | None = None) -> None:
    """Open the dialog that attaches a virtual disk, or read-only a snapshot of it, to a node, as far as not given."""
    title = f"Show snapshot {snapshot} of {vd} read-only" if snapshot else f"Attach {vd or 'a virtual disk'}"
    vds = await here.rest.get("virtual-disks")
    nodes = [one["name"] for one in await here.rest.get("nodes")]
    with dialog(title if node is None else f"{title} to {node}") as made:
        inputs: dict[str, Any] = {}
        if vd is None:
            told = {one["name"]: f"{one['name']} ({one['type']}, {wording.size(one['size'])})" for one in vds}
            inputs["vd"] = ui.select(told, label="Virtual disk").classes("full-width")
        if node is None:
            inputs["node"] = ui.select(nodes, label="iSCSI node", value=next(iter(nodes), None)).classes("full-width")
            if not nodes:
                ui.label("There is no iSCSI node: make one first.").classes("step-facts")
        number = ui.number("LUN", min=1, max=255, precision=0).classes("full-width")
        number.props('clearable hint="Empty: the first that is free"')

        async def make() -> None:
            body = {"vd": vd, "node": node, "snapshot": snapshot, **{name: one.value for name, one in inputs.items()}}
            body["number"] = None if number.value is None else int(number.value)
            lun = await here.rest.post("luns", body=body)
            tell(f"“{lun['vd']}” is LUN {lun['number']} of iSCSI node “{lun['node']}”.")

        buttons(here, made, "Attach", make, None, inputs={**inputs, "number": number})
