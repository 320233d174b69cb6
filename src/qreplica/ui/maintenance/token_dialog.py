"""Making an API token, which is shown once."""

from typing import Final

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui.dialogs import buttons, dialog
from qreplica.ui.looking import Looking

_USUAL_DAYS: Final = 90


def open_for(here: Looking) -> None:
    """Ask for the token's name, role and days; show the token when it is made."""
    with dialog("Make an API token") as made:
        ui.label("For a program that asks the REST API as you, with the role that you give it.")
        name = ui.input("Name").props('autofocus autocomplete=off hint="Such as monitoring"').classes("full-width")
        roles = [role.value for role in Role if here.may(role)]
        role = ui.select(roles, label="Role, at most", value=Role.VIEWER.value).classes("full-width")
        days = ui.number("Days until it ends", value=_USUAL_DAYS, min=1, max=366, precision=0).classes("full-width")

        async def make() -> None:
            body = {"name": name.value, "role": role.value, "days": int(days.value or 0)}
            _shown(name.value, (await here.rest.post("account", "tokens", body=body))["token"])

        buttons(here, made, "Make the token", make, "The token was made.")


def _shown(name: str, token: str) -> None:
    with dialog(f"API token {name}") as made:
        ui.label("Copy it now: it is shown this once. Whoever has it can do what it may.")
        ui.input("Token", value=token).props("readonly").classes("full-width")
        with ui.row().classes("self-end"):
            ui.button("Copy", icon="content_copy", on_click=lambda: ui.clipboard.write(token)).props("flat")
            ui.button("Done", on_click=made.close)
