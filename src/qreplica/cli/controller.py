"""``qreplica controller``: the two controllers."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import output
from qreplica.cli.context import Json, path, session

app = typer.Typer(no_args_is_help=True, help="The controllers of the subsystem.")


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the controllers, how they stand, and whose jobs each runs."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/controllers"), table)


@app.command("fail-back")
def fail_back(
    context: typer.Context,
    number: Annotated[int, typer.Argument(min=1, max=2, help="The controller's number.")],
    as_json: Json = False,
) -> None:
    """Hand a controller's jobs back to it, after the cycle that runs; by itself unless fail-back is manual."""
    with session(context, as_json=as_json) as here:
        found = here.api.post(path("controllers", str(number), "fail-back"))
        here.say(
            f"The jobs of controller {number} are handed back to it when it lives and no cycle of them runs.", found
        )


def table(controllers: list[dict[str, Any]]) -> RenderableType:
    """Return the controllers as a table."""
    return output.rows(
        output.table(
            "Controller",
            "State",
            "Since",
            "Runs jobs of",
            "Heartbeat",
            "Version",
            "Certificate (SHA-256)",
            right=["Controller"],
        ),
        (
            [
                str(one["number"]),
                output.state(one["standing"]),
                output.time(one["since"]),
                ", ".join(map(str, one["runs_jobs_of"])) or output.NOTHING,
                output.time(one["heartbeat_at"]),
                output.text(one["version"]),
                output.text(one["fingerprint"]),
            ]
            for one in controllers
        ),
        empty="No controller has started yet.",
    )
