"""The subsystem's time zone, and restarts."""

import asyncio
import zoneinfo
from datetime import UTC, datetime
from functools import partial

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui.dialogs import buttons, dialog
from qreplica.ui.facts import facts
from qreplica.ui.following import follow
from qreplica.ui.frame import heading
from qreplica.ui.looking import Looking
from qreplica.ui.maintenance import restarts


async def show(here: Looking) -> None:
    """Show the time zone and the controllers."""
    with ui.card().classes("panel"):
        heading("Time zone")
        clock = datetime.now(UTC).astimezone(here.zone)
        facts({"Zone": here.zone.key, "Time there": f"{clock:%Y-%m-%d %H:%M} (UTC{clock:%z})"})
        if here.may(Role.ADMIN):
            ui.button("Change the time zone", on_click=partial(_zone, here))
    with ui.card().classes("panel"):
        heading("Controllers")
        await follow(here, lambda: here.rest.get("controllers"), partial(restarts.show, here))


async def _zone(here: Looking) -> None:
    names = sorted(await asyncio.to_thread(zoneinfo.available_timezones))
    with dialog("Change the time zone") as made:
        ui.label(
            "Schedules and bandwidth timetables go by it from now on: what runs at 02:00 then runs at 02:00 there. "
            "What would have been due by it before now is not made up for."
        )
        known = here.zone.key
        zone = ui.select(names, label="Time zone", value=known if known in names else None, with_input=True)
        zone.classes("full-width")

        async def save() -> None:
            await here.rest.put("time-zone", body={"time_zone": zone.value or ""})
            ui.navigate.reload()  # every time on the page is another one

        buttons(here, made, "Save", save, "The time zone was changed.")
