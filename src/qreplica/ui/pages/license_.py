"""The QREPLICA LICENSE tab of the white paper: browse, upload, restart."""

from typing import Any

from nicegui import events, ui

from qreplica.access.roles import Role
from qreplica.ui import wording
from qreplica.ui.dialogs import confirm
from qreplica.ui.facts import facts
from qreplica.ui.frame import chip, empty, heading, page
from qreplica.ui.looking import Looking, tell

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

            chosen: list[bytes] = []

            async def keep(given: events.UploadEventArguments) -> None:
                chosen[:] = [await given.file.read()]
                button.enable()

            async def upload() -> None:
                if await here.attempt(here.rest.post("license", content=chosen[0])):
                    await look()
                    _restart(here, answer["message"])

            ui.upload(
                label="Browse the license file",
                auto_upload=True,
                on_upload=keep,
                on_rejected=lambda: tell(
                    "The file is too large for a license: choose the one from your vendor.", wrong=True
                ),
                max_file_size=_LARGEST,
            ).props('aria-label="License file"')
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
        ui.button("Restart the subsystem", on_click=lambda: _restart(here, answer["message"]))


def _restart(here: Looking, message: str) -> None:
    confirm(
        here,
        "Restart the subsystem",
        f"{message} The controllers restart one after the other: hosts use the other one meanwhile, and this page is "
        "away while its controller restarts.",
        "Restart now",
        lambda: here.rest.post("subsystem", "restart"),
        done="The controllers restart, one after the other.",
    )
