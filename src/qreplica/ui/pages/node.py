"""One iSCSI node: whom it admits, and its LUNs."""

import asyncio
from functools import partial
from typing import Any

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui.dialogs import offer
from qreplica.ui.facts import facts
from qreplica.ui.frame import heading, page
from qreplica.ui.looking import Looking
from qreplica.ui.storage import luns, node, nodes
from qreplica.ui.storage.sections import NODES, Section


@page(NODES + "/{name}", "iSCSI node")
async def node_page(here: Looking, name: str) -> None:
    """Show an iSCSI node."""
    section = Section(here, NODES)

    @ui.refreshable
    def head(found: dict[str, Any] | None = None) -> None:
        if found is not None:
            heading(found["name"])
            offer(here, node.offered(here, found))
            facts(nodes.described(here, found))

    with section.body, ui.card().classes("panel"):
        head()
    with section.body, ui.card().classes("panel"):
        heading("LUNs")
        if here.may(Role.ADMIN):
            offer(here, [("Attach a virtual disk", partial(luns.attach, here, node=name))])
        attached = luns.Luns(here, "It has no LUNs: attach a virtual disk, so that hosts find it here.")
    await section.keep_showing(partial(_look, here, name), node=head.refresh, luns=attached.show)


async def _look(here: Looking, name: str) -> dict[str, Any]:
    found, all_luns = await asyncio.gather(here.rest.get("nodes", name), here.rest.get("luns"))
    return {"node": found, "luns": [one for one in all_luns if one["node"] == name]}
