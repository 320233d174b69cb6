"""One RAID group: how it is, its disks, its space, its scrubs."""

import asyncio
from functools import partial
from typing import Any

from nicegui import ui

from qreplica.ui.dialogs import offer
from qreplica.ui.frame import heading, page
from qreplica.ui.looking import Looking
from qreplica.ui.storage import group_parts, raid_group
from qreplica.ui.storage.sections import RAID_GROUPS, Section


@page(RAID_GROUPS + "/raid-groups/{name}", "RAID group")
async def raid_group_page(here: Looking, name: str) -> None:
    """Show a RAID group."""
    section = Section(here, RAID_GROUPS)

    @ui.refreshable
    def head(group: dict[str, Any] | None = None) -> None:
        if group is not None:
            group_parts.head(group)

    @ui.refreshable
    def offers(scrubs: bool | None = None) -> None:  # noqa: FBT001 - a part that is shown
        if scrubs is not None:
            offer(here, raid_group.offered(here, name, scrubs=scrubs))

    @ui.refreshable
    def space(group: dict[str, Any] | None = None) -> None:
        if group is not None:
            group_parts.space(here, group)

    with section.body, ui.card().classes("panel"):
        head()
        offers()
    with section.body, ui.card().classes("panel"):
        heading("Disks")
        members = group_parts.Members()
    with section.body, ui.card().classes("panel"):
        heading("Space and care")
        space()
    with section.body, ui.card().classes("panel"):
        heading("Scrubs")
        scrubs = group_parts.Scrubs(here)
    await section.keep_showing(
        partial(_look, here, name),
        group=head.refresh,
        scrubbing=offers.refresh,
        space=space.refresh,
        members=members.show,
        scrubs=scrubs.show,
    )


async def _look(here: Looking, name: str) -> dict[str, Any]:
    group, scrubs = await asyncio.gather(
        here.rest.get("raid-groups", name), here.rest.get("raid-groups", name, "scrubs")
    )
    return {
        "group": group,
        "scrubbing": any(one["running"] for one in scrubs),
        "space": group,
        "members": group["members"],
        "scrubs": scrubs,
    }
