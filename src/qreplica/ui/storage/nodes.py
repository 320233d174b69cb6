"""The iSCSI nodes, how one is made, and who is logged in."""

from typing import Any, Final

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import tables, wording
from qreplica.ui.dialogs import buttons, dialog
from qreplica.ui.frame import link
from qreplica.ui.looking import Looking
from qreplica.ui.storage.admission import Admission, Chap
from qreplica.ui.tables import Cell, Table

Node = dict[str, Any]

_COLUMNS: Final = {"name": "iSCSI node", "admits": "Admits", "chap": "CHAP", "luns": "LUNs", "iqn": "IQN"}
_LOGINS: Final = {"initiator": "Initiator", "port": "By"}


class Nodes:
    """The table of iSCSI nodes."""

    def __init__(self, here: Looking) -> None:
        none = "There is no iSCSI node yet: " + (
            "click “Make an iSCSI node”, and attach virtual disks to it."
            if here.may(Role.ADMIN)
            else "ask an administrator."
        )
        self._table = Table(_COLUMNS, none)

    def show(self, nodes: list[Node]) -> None:
        """Show these nodes."""
        self._table.show({one["name"]: _cells(one) for one in nodes})


def _cells(node: Node) -> dict[str, Cell]:
    luns = [f"LUN {one['number']}: {one['vd']}" for one in node["luns"]]
    return {
        "name": tables.cell(node["name"], href=link("storage", "nodes", node["name"])),
        "admits": tables.cell(admits(node)),
        "chap": tables.cell(chap(node)),
        "luns": tables.cell(luns[0] if luns else "none", lines=luns[1:], sort=len(luns)),
        "iqn": tables.cell(node["iqn"]),
    }


def admits(node: Node) -> str:
    """Return in words whom the node admits."""
    if node["for_replication"]:
        return "only the replication job of its backup virtual disk"
    if node["open_to_all"]:
        return "every initiator"
    return ", ".join(node["initiators"]) or "nobody"


def chap(node: Node) -> str:
    """Return in words what must be proved at a log-in."""
    if node["chap_user"] is None:
        return "paired with a job" if node["paired"] else "none"
    return f"{node['chap_user']}, mutual {node['mutual_user']}" if node["mutual_user"] else str(node["chap_user"])


class Logins:
    """The table of initiators that are logged in, as the ports tell of them."""

    def __init__(self) -> None:
        self._table = Table(_LOGINS, "No host is logged in.")

    def show(self, ports: list[dict[str, Any]]) -> None:
        """Show who is logged in by these ports."""
        rows = {}
        for port in ports:
            by = f"port {port['number']} of controller {port['controller']}, {port['address']}"
            for place, host in enumerate(port["hosts"]):
                # The same host may be logged in by a port more than once.
                rows[f"{by} {place}"] = {"initiator": tables.cell(host), "port": tables.cell(by)}
        self._table.show(rows)


def create(here: Looking) -> None:
    """Open the dialog that makes a node."""
    with dialog("Make an iSCSI node") as made:
        name = ui.input("Name of the node").props("autofocus").classes("full-width")
        iqn = ui.input("IQN").props('hint="Empty: made from the names of the subsystem and the node"')
        iqn.classes("full-width")
        admission = Admission(open_to_all=False, initiators=[])
        asked = Chap(None, None)
        ui.label("A node with backup virtual disks admits only their replication jobs, whatever is set here.").classes(
            "step-facts"
        )
        buttons(
            here,
            made,
            "Make",
            lambda: here.rest.post(
                "nodes",
                body={
                    "name": name.value,
                    "iqn": iqn.value.strip() or None,
                    "initiators": admission.initiators(),
                    **asked.body(),
                },
            ),
            "The iSCSI node was made.",
            inputs={"name": name, "iqn": iqn, **admission.inputs, **asked.inputs},
        )


def described(here: Looking, node: Node) -> dict[str, str]:
    """Return what is known of a node, by its names for an administrator."""
    return {
        "IQN": node["iqn"],
        "Admits": admits(node),
        "CHAP": wording.text(node["chap_user"] and f"initiators prove that they are {node['chap_user']}"),
        "Mutual CHAP": wording.text(node["mutual_user"] and f"the node proves that it is {node['mutual_user']}"),
        "Paired with a job": "yes" if node["paired"] else "no",
        "Made": wording.time(node["created_at"], here.zone),
    }
