"""What the storage pages share: the way from one to the other, and that they show what is there now."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from nicegui import ui

from qreplica.ui.frame import sections
from qreplica.ui.looking import Looking
from qreplica.ui.rest import LoggedOut, Refused

RAID_GROUPS: Final = "/storage"
VIRTUAL_DISKS: Final = "/storage/virtual-disks"
NODES: Final = "/storage/nodes"
#: The kind of the API's refusal when what a page shows is not there any more.
_GONE: Final = "not-found"
_SECTIONS: Final = {RAID_GROUPS: "Disks and RAID groups", VIRTUAL_DISKS: "Virtual disks", NODES: "iSCSI nodes"}
#: How virtual disks are asked for again and again: to have what snapshots use counted anew would slow hosts down.
AS_COUNTED: Final = {"settled": "false"}


class Section:
    """A storage page: the way to the others, then ``body``, for what it shows; it belongs to the path ``present``."""

    def __init__(self, here: Looking, present: str) -> None:
        self._here = here
        sections("Storage", _SECTIONS, present)
        self._wrong = ui.label().classes("text-negative").props("role=alert")
        self.body = ui.element("div").classes("section-body")

    async def keep_showing(
        self, ask: Callable[[], Awaitable[dict[str, Any]]], **shows: Callable[[Any], object]
    ) -> None:
        """Show each part of what ``ask`` returns, now and whenever it has changed; or why there is nothing any more.

        Parts that stay the same are left alone, and so is the focus of a keyboard in them.
        """
        last: dict[str, Any] = {}

        async def look() -> None:
            try:
                new = await ask()
            except LoggedOut:
                raise
            except Refused as refused:
                self._wrong.text = refused.sentence
                self.body.visible = refused.kind != _GONE
                return
            self._wrong.text = ""
            self.body.visible = True
            for part, show in shows.items():
                if part not in last or last[part] != new[part]:
                    last[part] = new[part]
                    show(new[part])

        await self._here.attempt(look())
        self._here.keep_up(look)
