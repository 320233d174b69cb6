"""Logins and API tokens: who holds one, and how it is ended."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from nicegui import ui

from qreplica.ui import wording
from qreplica.ui.dialogs import confirm
from qreplica.ui.entries import entries, entry
from qreplica.ui.frame import empty, heading
from qreplica.ui.looking import Looking

End = Callable[[str], Awaitable[Any]]


def show(here: Looking, label: str, sessions: list[dict[str, Any]], end: End, *, own: str, whose: bool = False) -> None:
    """Show them, each with what ends it but for ``own``, by which the page is seen; ``whose``: also of which user."""
    heading(label)
    if not sessions:
        empty("There are none: make one for each program that is to ask the REST API.")
        return
    with entries(label):
        for one in sessions:
            token = one["name"]
            name = f"API token {token}" if token else f"Login from {wording.text(one['address'])}"
            used = f"Last used {wording.time(one['used_at'], here.zone)} from {wording.text(one['used_from'])}"
            with entry(
                f"{one['user']}: {name}" if whose else name,
                f"Made {wording.time(one['created_at'], here.zone)}, ends {wording.time(one['expires_at'], here.zone)}",
                used if one["used_at"] else "Not used yet",
                chips=(("this page",) if one["id"] == own else ()) + ((one["role"],) if one["role"] else ()),
            ):
                if one["id"] != own:
                    button = ui.button("Revoke" if token else "End", on_click=partial(_ask, here, one, name, end))
                    button.props("flat dense color=negative")
                    button.props["aria-label"] = f"End {name} of {one['user']}"


def _ask(here: Looking, one: dict[str, Any], name: str, end: End) -> None:
    if one["name"]:
        title, lost = f"Revoke {name}", "The program that uses it is refused from now on. A new token is another one."
    else:
        title, lost = f"End this login of {one['user']}", "Whoever uses it must log in again; a page left open stops."
    confirm(here, title, lost, "Revoke" if one["name"] else "End the login", lambda: end(one["id"]), done="It ended.")
