"""Who is told of events: the alert channels."""

from functools import partial
from typing import Any

from nicegui import ui

from qreplica.ui import wording
from qreplica.ui.dialogs import confirm
from qreplica.ui.entries import entries, entry
from qreplica.ui.following import follow
from qreplica.ui.frame import empty
from qreplica.ui.looking import Looking
from qreplica.ui.maintenance import receiver_dialog


async def show(here: Looking) -> None:
    """Show the alert receivers."""
    with ui.card().classes("panel"):
        await follow(here, lambda: here.rest.get("alerts"), partial(_show, here))
        ui.button("Add a receiver", icon="add", on_click=partial(receiver_dialog.open_for, here))


def _show(here: Looking, channels: list[dict[str, Any]]) -> None:
    if not channels:
        empty("Nobody is told of events yet: add a receiver by e-mail, syslog or webhook, and send it a test.")
        return
    with entries("Alert receivers"):
        for one in channels:
            since = f" (failing since {wording.time(one['failing_since'], here.zone)})" if one["failing_since"] else ""
            sent = wording.time(one["last_sent_at"], here.zone)
            with entry(
                one["name"],
                one["way"],
                f"Of events from “{one['severity']}” on",
                f"Last sent {sent}" if one["last_sent_at"] else "Nothing was to be told yet",
                wrong=f"{one['error']}{since}" if one["error"] else None,
            ):
                test = ui.button("Send a test").props("flat")
                test.props["aria-label"] = f"Send a test to {one['name']}"
                test.on_click(partial(_test, here, one["name"], test))
                delete = ui.button("Delete", on_click=partial(_delete, here, one)).props("flat color=negative")
                delete.props["aria-label"] = f"Delete {one['name']}"


async def _test(here: Looking, name: str, button: ui.button) -> None:
    button.disable()
    await here.attempt(here.rest.post("alerts", name, "test"), f"“{name}” has taken the test alert.")
    button.enable()


def _delete(here: Looking, one: dict[str, Any]) -> None:
    secret = " The password or key that is kept for it is gone." if one["authenticated"] else ""
    confirm(
        here,
        f"Delete {one['name']}",
        f"Events are no longer told by {one['way']}.{secret}",
        "Delete",
        lambda: here.rest.delete("alerts", one["name"]),
        done=f"“{one['name']}” is told no more.",
    )
