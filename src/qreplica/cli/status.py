"""``qreplica status``: the whole subsystem on one page."""

from typing import Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from qreplica.cli import controller, event, job_views, output, rg_views
from qreplica.cli.context import Json, session

#: Events on the page.
_EVENTS = 5


def status(context: typer.Context, as_json: Json = False) -> None:
    """Show the whole subsystem on one page."""
    with session(context, as_json=as_json) as here:
        answer = {
            "subsystem": here.api.get("/subsystem"),
            "license": here.api.get("/license"),
            "controllers": here.api.get("/controllers"),
            "raid_groups": here.api.get("/raid-groups"),
            "jobs": here.api.get("/jobs"),
            "events": here.api.get("/events", {"limit": _EVENTS}),
        }
        here.show(answer, _page)


def _page(answer: dict[str, Any]) -> RenderableType:
    parts = (
        ("Subsystem", _head(answer)),
        ("Controllers", controller.table(answer["controllers"])),
        ("RAID groups", rg_views.table(answer["raid_groups"])),
        ("Replication jobs", job_views.table(answer["jobs"])),
        ("Latest events", event.table(answer["events"])),
    )
    lines: list[RenderableType] = []
    for number, (title, view) in enumerate(parts):
        lines += [*([""] if number else []), Text(title, style="bold underline"), view]
    return Group(*lines)


def _head(answer: dict[str, Any]) -> RenderableType:
    return output.sheet(
        [
            ("Name", answer["subsystem"]["name"]),
            ("Serial number", answer["subsystem"]["serial"]),
            ("License", answer["license"]["message"]),
        ]
    )
