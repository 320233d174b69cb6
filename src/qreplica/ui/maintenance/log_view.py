"""A log, page by page, by what is wanted of it, and as a file."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from nicegui import ui

from qreplica.ui import downloads
from qreplica.ui.frame import empty
from qreplica.ui.looking import Looking

_PAGE: Final = 50
_FORMS: Final = {"csv": "CSV", "jsonl": "JSON"}
Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Log:
    """A log of the API: its ``name`` there, its columns with their labels, and the texts of an entry in them."""

    name: str
    columns: dict[str, str]
    row: Callable[[Looking, Entry], dict[str, str]]


class LogView:
    """Shows a log, the newest entries first; ``wanted`` are the parts of the filter by their names in the API."""

    def __init__(self, here: Looking, log: Log, wanted: dict[str, ui.input | ui.select]) -> None:
        self._here, self._log, self._wanted = here, log, wanted
        self._before: int | None = None
        self._oldest: int | None = None
        self._since = ui.input("From").props("type=date stack-label")
        self._until = ui.input("To").props("type=date stack-label")
        for field in (*wanted.values(), self._since, self._until):
            field.on_value_change(self.newest)

    def table(self) -> None:
        """Add the table, and what turns its pages and downloads it."""
        columns = [
            {"name": name, "label": label, "field": name, "align": "left", "classes": name}
            for name, label in self._log.columns.items()
        ]
        self._table = ui.table(rows=[], columns=columns, row_key="id").props("flat bordered wrap-cells hide-pagination")
        self._table.props(':grid="Quasar.Screen.lt.md" :rows-per-page-options="[0]"').classes("full-width log")
        self._none = ui.column()
        with self._none:
            empty("Nothing in the log matches: widen the filter.")
        with ui.row().classes("items-center"):
            self._newer = ui.button("Newest", on_click=self.newest).props("flat")
            self._older = ui.button("Older", on_click=self.older).props("flat")
            for form, label in _FORMS.items():
                ui.button(f"Download as {label}", icon="download", on_click=lambda form=form: self._download(form))

    async def look(self) -> None:
        """Show what is in the log now. Raises Refused."""
        found = await self._here.rest.get(self._log.name, **self._query(), **self._place(), limit=_PAGE)
        rows = [{"id": one["id"], **self._log.row(self._here, one)} for one in found]
        self._oldest = found[-1]["id"] if found else None
        if rows != self._table.rows:
            self._table.rows = rows
        self._table.visible, self._none.visible = bool(rows), not rows
        self._newer.set_enabled(self._before is not None)
        self._older.set_enabled(len(rows) == _PAGE)

    async def newest(self) -> None:
        """Go to the newest entries."""
        self._before = None
        await self._here.attempt(self.look())

    async def older(self) -> None:
        """Go to the next page."""
        self._before = self._oldest
        await self._here.attempt(self.look())

    def _place(self) -> dict[str, int]:
        return {} if self._before is None else {"before": self._before}

    def _query(self) -> dict[str, str]:
        asked = {name: field.value for name, field in self._wanted.items()}
        asked |= {"since": self._midnight(self._since), "until": self._midnight(self._until, days=1)}
        return {name: str(value) for name, value in asked.items() if value}

    def _midnight(self, field: ui.input, days: int = 0) -> str | None:
        """Return the beginning of the day that was chosen, or of one so many days later, by the subsystem's zone."""
        if not field.value:
            return None
        day = date.fromisoformat(field.value) + timedelta(days=days)
        return datetime.combine(day, time(), self._here.zone).isoformat()

    def _download(self, form: str) -> None:
        ui.download.from_url(f"{downloads.path_of(self._log.name)}?{urlencode({**self._query(), 'format': form})}")
