"""What the storage pages share: the way from one to the other, and that they show what is there now."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from nicegui import ui

from qreplica.ui.looking import Looking
from qreplica.ui.rest import LoggedOut, Refused

RAID_GROUPS: Final = "/storage"
VIRTUAL_DISKS: Final = "/storage/virtual-disks"
NODES: Final = "/storage/nodes"
_SECTIONS: Final = {RAID_GROUPS: "Disks and RAID groups", VIRTUAL_DISKS: "Virtual disks", NODES: "iSCSI nodes"}
#: How virtual disks are asked for again and again: to have what snapshots use counted anew would slow hosts down.
AS_COUNTED: Final = {"settled": "false"}


def sections(present: str) -> None:
    """Show the way to the other storage pages; ``present`` is the path of the one that this belongs to."""
    with ui.element("nav").classes("sections").props('aria-label="Storage"'):
        for path, label in _SECTIONS.items():
            here = ui.link(label, path)
            if path == present:
                here.props("aria-current=page")


async def keep_showing(
    here: Looking, ask: Callable[[], Awaitable[dict[str, Any]]], **shows: Callable[[Any], object]
) -> None:
    """Show each part of what ``ask`` returns, now and whenever it has changed; or why there is nothing any more.

    Parts that stay the same are left alone, and so is the focus of a keyboard in them.
    """
    wrong = ui.label().classes("text-negative").props("role=alert")
    last: dict[str, Any] = {}

    async def look() -> None:
        try:
            new = await ask()
        except LoggedOut:
            raise
        except Refused as refused:
            wrong.text = refused.sentence
            return
        wrong.text = ""
        for part, show in shows.items():
            if part not in last or last[part] != new[part]:
                last[part] = new[part]
                show(new[part])

    await here.attempt(look())
    here.keep_up(look)
