"""``qreplica controller``: the two controllers."""

from typing import Any

import typer
from rich.console import RenderableType

from qreplica.cli import output
from qreplica.cli.context import Json, session

app = typer.Typer(no_args_is_help=True, help="The controllers of the subsystem.")


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the controllers and whether they live."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/controllers"), table)


def table(controllers: list[dict[str, Any]]) -> RenderableType:
    """Return the controllers as a table."""
    return output.rows(
        output.table("Controller", "State", "Heartbeat", "Started", "Version", right=["Controller"]),
        (
            [
                str(one["number"]),
                output.state(one["state"]),
                output.time(one["heartbeat_at"]),
                output.time(one["started_at"]),
                output.text(one["version"]),
            ]
            for one in controllers
        ),
        empty="No controller has started yet.",
    )
