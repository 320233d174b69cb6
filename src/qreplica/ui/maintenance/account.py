"""One's own account: password, logins, API tokens."""

import asyncio
from functools import partial
from typing import Any

from nicegui import ui

from qreplica.ui.dialogs import confirm
from qreplica.ui.facts import facts
from qreplica.ui.following import follow
from qreplica.ui.frame import heading
from qreplica.ui.looking import Looking, tell
from qreplica.ui.maintenance import logins, token_dialog


async def show(here: Looking) -> None:
    """Show the account of who looks."""
    with ui.card().classes("panel"):
        facts({"User": here.user, "Role": here.role})
    with ui.card().classes("panel"):
        heading("Change the password")
        _password(here)

    async def ask() -> tuple[str, list[dict[str, Any]]]:
        account, sessions = await asyncio.gather(here.rest.get("account"), here.rest.get("account", "sessions"))
        return account["session"], sessions

    await follow(here, ask, partial(_sessions, here))


def _password(here: Looking) -> None:
    ui.label("Your other logins end; API tokens stay.")
    password = ui.input("Present password", password=True).props("autocomplete=current-password")
    new = ui.input("New password", password=True).props('autocomplete=new-password hint="At least 12 characters"')
    again = ui.input("New password again", password=True).props("autocomplete=new-password")

    async def change() -> None:
        if new.value != again.value:
            tell("The two passwords differ: type the same one twice.", wrong=True)
            return
        body = {"password": password.value, "new_password": new.value}
        if await here.attempt(here.rest.put("account", "password", body=body), "The password was changed."):
            for field in (password, new, again):
                field.value = ""

    ui.button("Change the password", on_click=change)


def _sessions(here: Looking, found: tuple[str, list[dict[str, Any]]]) -> None:
    own, sessions = found

    async def end(number: str) -> None:
        await here.rest.delete("account", "sessions", number)

    with ui.card().classes("panel"):
        logins.show(here, "Logins", [one for one in sessions if one["name"] is None], end, own=own)
        if len(sessions) > 1:
            ui.button("End all others", on_click=partial(_end_others, here)).props("flat color=negative")
    with ui.card().classes("panel"):
        logins.show(here, "API tokens", [one for one in sessions if one["name"] is not None], end, own=own)
        ui.button("Make an API token", icon="add", on_click=partial(token_dialog.open_for, here))


def _end_others(here: Looking) -> None:
    confirm(
        here,
        "End all others",
        "All your logins but this one end, and all your API tokens are revoked: programs that use one are refused.",
        "End all others",
        lambda: here.rest.delete("account", "sessions"),
        done="Your other logins and tokens ended.",
    )
