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
}


async def dialog_for(here: Looking, job: dict[str, Any]) -> None:
    """Open the dialog."""
    try:
        known = await here.rest.get("jobs", job["name"], "schedule")
    except Refused:
        known = _NEW
    with dialog(f"Schedule of {job['name']}") as made:
        form = _Form(known, here, job["name"])
        await form.preview()
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
    def __init__(self, known: dict[str, Any], here: Looking, job: str) -> None:
        self._here, self._job = here, job
        self._repeat = ui.toggle(_REPEATS, value=known["repeat"]).props('aria-label="Repeat"')
        self._weekdays = ui.select(_WEEKDAYS, label="Days of the week", value=list(known["weekdays"]), multiple=True)
        self._weekdays.props("use-chips").classes("full-width")
        self._weekdays.bind_visibility_from(self._repeat, "value", lambda one: one == "weekly")
        days = {day: str(day) for day in range(1, 32)}
        self._days = ui.select(days, label="Days of the month", value=list(known["days"]), multiple=True)
        self._days.props('use-chips hint="A day that a month lacks is its last day"').classes("full-width")
        self._days.bind_visibility_from(self._repeat, "value", lambda one: one == "monthly")
        self._times = ui.input("Times, such as 02:00, 14:30", value=", ".join(known["times"])).classes("full-width")
        self._times.props("debounce=300").bind_visibility_from(self._repeat, "value", lambda one: one != "interval")
        self._minutes = ui.number("Minutes between runs", value=known["minutes"] or 60, min=1, max=1440, precision=0)
        self._minutes.props("debounce=300").bind_visibility_from(self._repeat, "value", lambda one: one == "interval")
        self._enabled = ui.switch("In force", value=known["enabled"])
        self._previews = 0
        self._preview = ui.column().classes("preview").props("aria-live=polite")
        for field in (self._repeat, self._weekdays, self._days, self._times, self._minutes):
            field.on_value_change(self.preview)

    async def preview(self) -> None:
        """Show the next runs by what is chosen, which is not saved; or what is wrong with it."""
        self._previews += 1
        number = self._previews
        wanted = {name: value for name, value in self._when().items() if value is not None}
        try:
            found = await self._here.rest.get("jobs", self._job, "schedule", "preview", **wanted)
        except Refused as refused:
            lines = [refused.sentence]
        else:
            times = (wording.time(at, self._here.zone) for at in found["next_runs"])
            lines = [f"Runs {found['sentence']} ({found['time_zone']}), next:", *times]
        if number != self._previews:
            return  # something else was chosen meanwhile, whose answer may have come already
        self._preview.clear()
        with self._preview:
            for line in lines:
                ui.label(line)

    def _when(self) -> dict[str, Any]:
        repeat = str(self._repeat.value)
        times = [one.strip() for one in self._times.value.split(",") if one.strip()]
        return {
            "repeat": repeat,
            "times": [] if repeat == "interval" else times,
            "weekdays": self._weekdays.value if repeat == "weekly" else [],
            "days": self._days.value if repeat == "monthly" else [],
            "minutes": int(self._minutes.value or 0) if repeat == "interval" else None,
        }

    def body(self) -> dict[str, Any]:
        """Return the request that saves it."""
        return {**self._when(), "enabled": self._enabled.value}
