"""The schedule of a job, by day, week, month or interval, with the next five runs."""

from typing import Any, Final

from nicegui import ui

from qreplica.ui import wording
from qreplica.ui.dialogs import buttons, dialog
from qreplica.ui.looking import Looking
from qreplica.ui.rest import Refused

_REPEATS: Final = {"daily": "By day", "weekly": "By week", "monthly": "By month", "interval": "Every so often"}
_WEEKDAYS: Final = dict(enumerate(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")))
_NEW: Final[dict[str, Any]] = {
    "repeat": "daily",
    "times": ["02:00"],
    "weekdays": [],
    "days": [],
    "minutes": 60,
    "enabled": True,
    "next_runs": [],
    "time_zone": "",
}


async def dialog_for(here: Looking, job: dict[str, Any]) -> None:
    """Open the dialog."""
    try:
        known = await here.rest.get("jobs", job["name"], "schedule")
    except Refused:
        known = _NEW
    with dialog(f"Schedule of {job['name']}") as made:
        form = _Form(known, here)
        buttons(
            here,
            made,
            "Save",
            lambda: here.rest.put("jobs", job["name"], "schedule", body=form.body()),
            f"The schedule of “{job['name']}” was saved.",
        )
        if known is not _NEW:
            buttons(
                here,
                made,
                "Unschedule",
                lambda: here.rest.delete("jobs", job["name"], "schedule"),
                f"“{job['name']}” runs by hand only.",
            ).props("flat color=negative")


class _Form:
    def __init__(self, known: dict[str, Any], here: Looking) -> None:
        self._repeat = ui.toggle(_REPEATS, value=known["repeat"])
        self._weekdays = ui.select(_WEEKDAYS, label="Days of the week", value=list(known["weekdays"]), multiple=True)
        self._weekdays.props("use-chips").classes("full-width")
        self._weekdays.bind_visibility_from(self._repeat, "value", lambda one: one == "weekly")
        days = {day: str(day) for day in range(1, 32)}
        self._days = ui.select(days, label="Days of the month", value=list(known["days"]), multiple=True)
        self._days.props('use-chips hint="A day that a month lacks is its last day"').classes("full-width")
        self._days.bind_visibility_from(self._repeat, "value", lambda one: one == "monthly")
        self._times = ui.input("Times, such as 02:00, 14:30", value=", ".join(known["times"])).classes("full-width")
        self._times.bind_visibility_from(self._repeat, "value", lambda one: one != "interval")
        self._minutes = ui.number("Minutes between runs", value=known["minutes"] or 60, min=1, max=1440, precision=0)
        self._minutes.bind_visibility_from(self._repeat, "value", lambda one: one == "interval")
        self._enabled = ui.switch("In force", value=known["enabled"])
        if known["next_runs"]:
            ui.label(f"Next runs ({known['time_zone']}):").classes("text-bold")
            for at in known["next_runs"]:
                ui.label(wording.time(at, here.zone))

    def body(self) -> dict[str, Any]:
        repeat = str(self._repeat.value)
        times = [one.strip() for one in self._times.value.split(",") if one.strip()]
        return {
            "repeat": repeat,
            "times": [] if repeat == "interval" else times,
            "weekdays": self._weekdays.value if repeat == "weekly" else [],
            "days": self._days.value if repeat == "monthly" else [],
            "minutes": int(self._minutes.value or 0) if repeat == "interval" else None,
            "enabled": self._enabled.value,
        }
