"""``qreplica status``: the whole subsystem on one page."""

from typing import Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from qreplica.cli import controller, event, job_views, rg_views
from qreplica.cli.context import Json, session

#: Events on the page.
_EVENTS = 5


def status(context: typer.Context, as_json: Json = False) -> None:
    """Show the whole subsystem on one page."""
    with session(context, as_json=as_json) as here:
        answer = {
            "controllers": here.api.get("/controllers"),
            "raid_groups": here.api.get("/raid-groups"),
            "jobs": here.api.get("/jobs"),
            "events": here.api.get("/events", {"limit": _EVENTS}),
        }
        here.show(answer, _page)


def _page(answer: dict[str, Any]) -> RenderableType:
    parts = (
        ("Controllers", controller.table(answer["controllers"])),
        ("RAID groups", rg_views.table(answer["raid_groups"])),
        ("Replication jobs", job_views.table(answer["jobs"])),
        ("Latest events", event.table(answer["events"])),
    )
    lines: list[RenderableType] = []
    for number, (title, view) in enumerate(parts):
        lines += [*([""] if number else []), Text(title, style="bold underline"), view]
    return Group(*lines)
