"""The ports of both controllers, and which of them is the QReplica port."""

import asyncio
from functools import partial
from typing import Any

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui.controllers import diagram
from qreplica.ui.dialogs import buttons, confirm, dialog
from qreplica.ui.frame import page
from qreplica.ui.looking import Looking
from qreplica.ui.menus import choice

#: The white paper's: “the QReplica uses the last iSCSI port on the controller”.
_LAST = 4


@page("/network", "Network")
async def network(here: Looking) -> None:
    """Show the ports, with the operation menu of the last one."""
    answer = await _look(here)

    @ui.refreshable
    def shown() -> None:
        diagram(answer["controllers"], answer["ports"], partial(_operations, here))

    with ui.card().classes("panel"):
        shown()
        ui.label(
            f"iSCSI port {_LAST} of both controllers can be the QReplica port: replication leaves by it alone, and "
            "hosts cannot log in there until it is an iSCSI port again."
        )

    async def look() -> None:
        new = await _look(here)
        if new != answer:
            answer.update(new)
            shown.refresh()

    here.keep_up(look)


async def _look(here: Looking) -> dict[str, Any]:
    controllers, ports = await asyncio.gather(here.rest.get("controllers"), here.rest.get("ports"))
    return {"controllers": controllers, "ports": ports}


def _operations(here: Looking, port: dict[str, Any]) -> None:
    if port["number"] != _LAST or not here.has_qreplica or not here.may(Role.ADMIN):
        return
    button = ui.button("OP.").props(f'dense aria-label="Operations of port {_LAST} of controller {port["controller"]}"')
    with button, ui.menu():
        if port["qreplica"]:
            choice("Disable QReplica", partial(_disable, here, port))
        else:
            choice("Enable QReplica", partial(_enable, here, port))


def _enable(here: Looking, port: dict[str, Any]) -> None:
    with dialog("Enable QReplica") as made:
        ui.label(f"Port {_LAST} of both controllers becomes the QReplica port. Hosts can no longer use it.")
        drop = ui.checkbox("Cut off hosts that are logged in there")
        buttons(
            here,
            made,
            "Enable QReplica",
            lambda: here.rest.put(
                "ports", port["controller"], port["number"], "qreplica", drop_hosts=str(drop.value).lower()
            ),
            f"Port {_LAST} of both controllers is the QReplica port.",
        )


def _disable(here: Looking, port: dict[str, Any]) -> None:
    confirm(
        here,
        "Disable QReplica",
        f"Port {_LAST} of both controllers becomes an iSCSI port for hosts again; jobs then leave by any port.",
        "Disable QReplica",
        lambda: here.rest.delete("ports", port["controller"], port["number"], "qreplica"),
        done=f"Port {_LAST} of both controllers is an iSCSI port again.",
    )
