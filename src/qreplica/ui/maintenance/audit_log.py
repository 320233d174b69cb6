"""The audit log: who changed what, and who was refused."""

from typing import Final

from nicegui import ui

from qreplica.ui import wording
from qreplica.ui.looking import Looking
from qreplica.ui.maintenance.log_view import Entry, Log, LogView

_OUTCOMES: Final = {"": "all", "true": "refused or failed", "false": "done"}


def _row(here: Looking, entry: Entry) -> dict[str, str]:
    token = f" (token {entry['token']})" if entry["token"] else ""
    outcome = "cut off before the answer" if entry["status"] is None else str(entry["status"])
    return {
        "at": wording.time(entry["at"], here.zone),
        "user": f"{wording.text(entry['user'])}{token}",
        "address": wording.text(entry["address"]),
        "operation": entry["operation"],
        "subject": entry["subject"].removeprefix("/api/v1"),
        "details": wording.text(entry["details"]),
        "outcome": f"{outcome} {entry['problem']}" if entry["problem"] else outcome,
    }


_LOG: Final = Log(
    "audit",
    {
        "at": "Time",
        "user": "User",
        "address": "From",
        "operation": "Operation",
        "subject": "On",
        "details": "Asked for",
        "outcome": "Answer",
    },
    _row,
)


async def show(here: Looking) -> None:
    """Show the audit log."""
    with ui.card().classes("panel"):
        with ui.row().classes("filters"):
            user = ui.input("User").props("type=search clearable debounce=300 maxlength=64")
            operation = ui.input("Operation").props(
                'type=search clearable debounce=300 maxlength=64 hint="Such as start_job"'
            )
            refused = ui.select(_OUTCOMES, label="Outcome", value="")
            view = LogView(here, _LOG, {"user": user, "operation": operation, "refused": refused})
        view.table()
    await view.look()
    here.keep_up(view.look)
