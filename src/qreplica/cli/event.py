"""``qreplica event``: the event log."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import output
from qreplica.cli.context import Json, session

app = typer.Typer(no_args_is_help=True, help="The event log.")


@app.command("list")
def list_(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the latest ones.")] = 50,
    severity: Annotated[str | None, typer.Option(help="Only info, warning or error.")] = None,
    as_json: Json = False,
) -> None:
    """List the latest events, oldest first."""
    query: dict[str, Any] = {"limit": limit}
    if severity is not None:
        query["severity"] = severity
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/events", query), table)


def table(events: list[dict[str, Any]]) -> RenderableType:
    """Return the events as a table."""
    return output.rows(
        output.table("Time", "Severity", "Subject", "What happened"),
        (
            [output.time(one["at"]), output.state(one["severity"]), one["subject"], one["message"]]
            for one in reversed(events)
        ),
        empty="There are no events.",
    )
