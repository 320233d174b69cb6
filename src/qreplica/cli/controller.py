"""``qreplica controller``: the two controllers."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import asking, output, restarting
from qreplica.cli.context import Json, Yes, path, session

app = typer.Typer(no_args_is_help=True, help="The controllers of the subsystem.")


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the controllers, how they stand, and whose jobs each runs."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/controllers"), table)


@app.command()
def restart(
    context: typer.Context,
    number: Annotated[int, typer.Argument(min=1, max=2, help="The controller's number.")],
    follow: restarting.Follow = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Restart a controller: its jobs and hosts use the other one meanwhile."""
    with session(context, as_json=as_json) as here:
        others = [one for one in here.api.get("/controllers") if one["alive"] and one["number"] != number]
        loss = (
            "Hosts stay connected through the other controller meanwhile."
            if others
            else "The other controller does not run: hosts will be without their disks for some seconds."
        )
        asking.confirm(str(number), loss, yes=yes)
        found = here.api.post(path("controllers", str(number), "restart"))
        if follow:
            restarting.follow(here, found)
        else:
            here.say(f"Controller {number} restarts: watch it with “qreplica controller list”.", found)


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
                output.state("restarting" if one["restarting"] else one["standing"]),
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
