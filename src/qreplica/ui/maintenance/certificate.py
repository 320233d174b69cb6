"""The TLS certificate: what each controller shows, a new one, and back to those of their own making."""

from functools import partial
from typing import Any, Final

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import wording
from qreplica.ui.dialogs import confirm
from qreplica.ui.facts import facts
from qreplica.ui.files import ChosenFile
from qreplica.ui.following import follow
from qreplica.ui.frame import heading
from qreplica.ui.looking import Looking
from qreplica.ui.maintenance import restarts

_SOURCES: Final = {
    "file": "named by its configuration file",
    "uploaded": "uploaded here",
    "own": "made by the controller itself",
    None: "none: the controller speaks no TLS",
}
#: What the API takes at most, in bytes.
_LARGEST_CHAIN, _LARGEST_KEY = 48 * 1024, 12 * 1024
_TOO_LARGE: Final = "The file is too large for that: choose the PEM file of the {what} alone."


async def show(here: Looking) -> None:
    """Show the certificate and take a new one."""
    await follow(here, lambda: here.rest.get("certificate"), partial(_show, here))
    if here.may(Role.ADMIN):
        with ui.card().classes("panel"):
            heading("Upload a certificate")
            _upload(here)


def _show(here: Looking, answer: dict[str, Any]) -> None:
    with ui.card().classes("panel"):
        ui.label(answer["message"])
        if here.may(Role.ADMIN):
            _offer(here, answer)
    with ui.element("div").classes("panels"):
        for one in answer["controllers"]:
            with ui.card().classes("panel"):
                heading(f"Controller {one['number']}")
                _facts(here, one)


def _offer(here: Looking, answer: dict[str, Any]) -> None:
    with ui.row():
        if any(one["restart_needed"] for one in answer["controllers"]):
            ui.button("Restart the subsystem", on_click=partial(restarts.subsystem, here, answer["message"]))
        if answer["uploaded"] is not None:
            button = ui.button("Delete the uploaded certificate", on_click=partial(_delete, here))
            button.props("flat color=negative")


def _facts(here: Looking, one: dict[str, Any]) -> None:
    shown = {"Certificate": _SOURCES[one["source"]]}
    if (found := one["certificate"]) is not None:
        shown |= {
            "Subject": found["subject"],
            "For": wording.text(", ".join(found["names"])),
            "Signed by": found["issuer"],
            "Valid from": wording.time(found["begins_at"], here.zone),
            "Valid until": wording.time(found["ends_at"], here.zone),
            "Key": found["key"],
            "SHA-256": found["fingerprint"],
        }
    if one["restart_needed"]:
        shown["After a restart"] = one["next_fingerprint"] or "one that it makes then"
    facts(shown)


def _upload(here: Looking) -> None:
    ui.label(
        "For both controllers, in PEM: the certificate, then that of who signed it, and so on; and its key, not "
        "encrypted. Each controller shows it from its next start on, and browsers must then trust who signed it."
    )

    def enable() -> None:
        button.set_enabled(chain.content is not None and key.content is not None)

    async def upload() -> None:
        # What is no text is no PEM, which the API says better.
        body = {
            name: (file.content or b"").decode("utf-8", errors="replace")
            for name, file in (("certificate", chain), ("key", key))
        }
        if await here.attempt(here.rest.put("certificate", body=body), "The certificate was uploaded."):
            for file in (chain, key):
                file.clear()
            enable()

    with ui.row():
        chain = ChosenFile("Browse the certificate", _LARGEST_CHAIN, _TOO_LARGE.format(what="certificate"), enable)
        key = ChosenFile("Browse the key", _LARGEST_KEY, _TOO_LARGE.format(what="key"), enable)
    button = ui.button("Upload", on_click=upload)
    button.disable()


def _delete(here: Looking) -> None:
    confirm(
        here,
        "Delete the uploaded certificate",
        "Its key is gone for good. Each controller shows a certificate of its own making again from its next start on, "
        "of which browsers and programs warn until they are told to trust it.",
        "Delete it",
        lambda: here.rest.delete("certificate"),
        done="The uploaded certificate was deleted.",
    )
