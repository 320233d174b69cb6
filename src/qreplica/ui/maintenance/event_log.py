"""The event log."""

from typing import Final

from nicegui import ui

from qreplica.ui import wording
from qreplica.ui.looking import Looking
from qreplica.ui.maintenance.log_view import Entry, Log, LogView

_SEVERITIES: Final = {"": "all", "info": "info", "warning": "warning", "error": "error"}


def _row(here: Looking, event: Entry) -> dict[str, str]:
    return {
        "at": wording.time(event["at"], here.zone),
        "severity": event["severity"],
        "controller": wording.text(event["controller"]),
        "subject": event["subject"],
        "message": event["message"],
    }


_LOG: Final = Log(
    "events",
    {
        "at": "Time",
        "severity": "Severity",
        "controller": "Controller",
        "subject": "About",
        "message": "What happened",
    },
    _row,
)


async def show(here: Looking) -> None:
    """Show the event log."""
    with ui.card().classes("panel"):
        with ui.row().classes("filters"):
            severity = ui.select(_SEVERITIES, label="Severity", value="")
            contains = ui.input("Holds the text").props("type=search clearable debounce=300 maxlength=200")
            view = LogView(here, _LOG, {"severity": severity, "contains": contains})
        view.table()
    await view.look()
    here.keep_up(view.look)
