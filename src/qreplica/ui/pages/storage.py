"""The storage pages: disks and RAID groups, virtual disks, iSCSI nodes; what they are made of has pages of its own."""

import asyncio
from functools import partial
from typing import Any

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui.dialogs import offer
from qreplica.ui.frame import heading, page
from qreplica.ui.looking import Looking
from qreplica.ui.storage import disks, nodes, raid_groups, virtual_disks
from qreplica.ui.storage.sections import AS_COUNTED, NODES, RAID_GROUPS, VIRTUAL_DISKS, Section


@page(RAID_GROUPS, "Storage")
async def storage(here: Looking) -> None:
    """Show the RAID groups and the disks."""
    section = Section(here, RAID_GROUPS)
    with section.body, ui.card().classes("panel"):
        heading("RAID groups")
        if here.may(Role.ADMIN):
            offer(here, [("Make a RAID group", partial(raid_groups.create, here))])
        groups = raid_groups.RaidGroups(here)
    with section.body, ui.card().classes("panel"):
        heading("Disks")
        if here.may(Role.ADMIN):
            offer(here, [("Add a disk", partial(disks.add, here))])
        known = disks.Disks(here)
    await section.keep_showing(partial(_look, here, "raid-groups", "disks"), raid_groups=groups.show, disks=known.show)


@page(VIRTUAL_DISKS, "Storage")
async def virtual_disks_page(here: Looking) -> None:
    """Show the virtual disks."""
    section = Section(here, VIRTUAL_DISKS)
    with section.body, ui.card().classes("panel"):
        heading("Virtual disks")
        if here.may(Role.ADMIN):
            offer(here, [("Make a virtual disk", partial(virtual_disks.create, here))])
        vds = virtual_disks.VirtualDisks(here)

    async def look() -> dict[str, Any]:
        return {"vds": await here.rest.get("virtual-disks", **AS_COUNTED)}

    await section.keep_showing(look, vds=vds.show)


@page(NODES, "Storage")
async def nodes_page(here: Looking) -> None:
    """Show the iSCSI nodes, and who is logged in."""
    section = Section(here, NODES)
    with section.body, ui.card().classes("panel"):
        heading("iSCSI nodes")
        if here.may(Role.ADMIN):
            offer(here, [("Make an iSCSI node", partial(nodes.create, here))])
        known = nodes.Nodes(here)
    with section.body, ui.card().classes("panel"):
        heading("Logged in")
        logins = nodes.Logins()
    await section.keep_showing(partial(_look, here, "nodes", "ports"), nodes=known.show, ports=logins.show)


async def _look(here: Looking, *what: str) -> dict[str, Any]:
    """Return what is listed at each of these paths, by the path's name."""
    found = await asyncio.gather(*map(here.rest.get, what))
    return {name.replace("-", "_"): one for name, one in zip(what, found, strict=True)}
