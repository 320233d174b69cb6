"""The QREPLICA LICENSE tab of the white paper: browse, upload, restart."""

from typing import Any

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import wording
from qreplica.ui.facts import facts
from qreplica.ui.files import ChosenFile
from qreplica.ui.frame import chip, empty, heading, page
from qreplica.ui.looking import Looking
from qreplica.ui.maintenance import restarts

#: Larger files are no licenses; the API says so from 16 KiB on.
_LARGEST = 60_000


@page("/license", "QReplica license")
async def license_page(here: Looking) -> None:
    """Show the license and take a new one."""
    answer: dict[str, Any] = dict(here.license)

    @ui.refreshable
    def shown() -> None:
        _details(here, answer)

    with ui.card().classes("panel"):
        shown()
    if here.may(Role.ADMIN):
        with ui.card().classes("panel"):
            heading("Upload a license file")
            ui.label(f"A license is valid for one subsystem. This one has the serial number {answer['serial']}.")

            async def upload() -> None:
                if await here.attempt(here.rest.post("license", content=file.content)):
                    await look()
                    restarts.subsystem(here, answer["message"])

            def enable() -> None:
                button.enable()

            file = ChosenFile(
                "Browse the license file",
                _LARGEST,
                "The file is too large for a license: choose the one from your vendor.",
                enable,
            )
            button = ui.button("Upload", on_click=upload)
            button.disable()

    async def look() -> None:
        new = await here.rest.get("license")
        if new != answer:
            answer.update(new)
            shown.refresh()

    here.keep_up(look)


def _details(here: Looking, answer: dict[str, Any]) -> None:
    with ui.row().classes("items-center"):
        chip(answer["state"])
        ui.label(answer["message"])
    found = answer["license"]
    if found is None:
        empty("No license was uploaded yet: ask your vendor for one for this serial number.")
        return
    facts(
        {
            "Serial number": answer["serial"],
            "Licensee": found["licensee"],
            "Feature": found["feature"],
            "Issued": wording.time(found["issued_at"], here.zone),
            "Expires": "never" if found["expires_at"] is None else wording.time(found["expires_at"], here.zone),
            "Uploaded": wording.time(answer["uploaded_at"], here.zone),
            "Signed with": found["key"],
            **{
                f"Controller {one['number']}": "needs a restart"
                if one["restart_needed"]
                else ("in force" if one["in_force"] else "not in force")
                for one in answer["controllers"]
            },
        }
    )
    if here.may(Role.ADMIN) and any(one["restart_needed"] for one in answer["controllers"]):
        ui.button("Restart the subsystem", on_click=lambda: restarts.subsystem(here, answer["message"]))
