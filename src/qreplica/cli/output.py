"""How answers look: tables and sheets for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from qreplica.units import format_size

#: How a state looks; what is not here is plain.
_STYLES = {
    "online": "green",
    "idle": "green",
    "committed": "green",
    "info": "dim",
    "running": "cyan",
    "stopping": "yellow",
    "queued": "yellow",
    "waiting": "yellow",
    "degraded": "yellow",
    "rebuilding": "cyan",
    "restarting": "cyan",
    "clean": "green",
    "interrupted": "yellow",
    "damaged": "red",
    "missing": "red",
    "warning": "yellow",
    "stopped": "yellow",
    "paused": "yellow",
    "abandoned": "yellow",
    "failed": "red",
    "taken-over": "yellow",
    "error": "red",
    "closed": "red",
    "enabled": "green",
    "disabled": "red",
}

NOTHING = "-"


def console(*, error: bool = False) -> Console:
    """Return the console; text from the subsystem is never read as markup."""
    return Console(stderr=error, markup=False, highlight=False, emoji=False)


def print_json(answer: Any) -> None:  # noqa: ANN401 - the API's JSON
    """Print ``answer`` as JSON on stdout."""
    sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")


def print_view(view: RenderableType) -> None:
    """Print ``view`` on stdout; a plain text is never broken into lines."""
    console().print(printable(view) if isinstance(view, str) else view, soft_wrap=isinstance(view, str))


def print_problem(body: dict[str, Any], *, as_json: bool) -> None:
    """Print a problem body on stderr: itself with ``as_json``, else its sentence."""
    if as_json:
        sys.stderr.write(json.dumps(body, ensure_ascii=False) + "\n")
        return
    out = console(error=True)
    out.print(Text.assemble(("Error: ", "bold red"), printable(str(body["detail"]))), soft_wrap=True)
    places = body.get("places") or []
    if len(places) > 1:
        for one in places:
            out.print(Text(printable(f"  {one['place']}: {one['message']}")), soft_wrap=True)


def print_warning(sentence: str) -> None:
    """Print a warning on stderr."""
    console(error=True).print(Text.assemble(("Warning: ", "bold yellow"), printable(sentence)), soft_wrap=True)


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """Return an empty table; the columns in ``right`` hold figures."""
    made = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    figures = set(right)
    for column in columns:
        is_figure = column in figures
        made.add_column(column, justify="right" if is_figure else "left", overflow="fold", no_wrap=is_figure)
    return made


def rows(made: Table, cells: Iterable[Sequence[str | Text]], *, empty: str) -> RenderableType:
    """Return ``made`` filled with ``cells``, or the sentence ``empty`` when there are none."""
    for row in cells:
        made.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    return made if made.row_count else empty


def sheet(facts: Iterable[tuple[str, str | Text]]) -> RenderableType:
    """Return one object's facts, one a line."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold")
    made.add_column(overflow="fold")
    for name, value in facts:
        made.add_row(Text(name), value if isinstance(value, Text) else Text(printable(value)))
    return made


def state(word: str) -> Text:
    """Return a state in its colour."""
    return Text(word, style=_STYLES.get(word, ""))


def size(value: int | None) -> str:
    """Return a size in binary units."""
    return NOTHING if value is None else format_size(value)


def time(value: str | None) -> str:
    """Return a time of the API in the administrator's zone."""
    if value is None:
        return NOTHING
    return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def minute(value: str | None) -> str:
    """Return a time of the API within a year, in the administrator's zone, to the minute."""
    return NOTHING if value is None else time(value)[5:16]


def text(value: object) -> str:
    """Return any other value; nothing as a dash."""
    return NOTHING if value is None or value == "" else str(value)


def printable(value: str) -> str:
    """Take out what could steer a terminal: parts of it may come from another subsystem."""
    return "".join(one if one.isprintable() or one == "\n" else "�" for one in value)
