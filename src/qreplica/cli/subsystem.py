"""``qreplica subsystem``: the subsystem as a whole."""

from typing import Any

import typer
from rich.console import RenderableType

from qreplica.cli import asking, output, restarting
from qreplica.cli.context import Json, Yes, session

app = typer.Typer(no_args_is_help=True, help="The subsystem as a whole.")


@app.command()
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show the subsystem's name and serial number."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/subsystem"), sheet)


@app.command()
def restart(context: typer.Context, follow: restarting.Follow = False, yes: Yes = False, as_json: Json = False) -> None:
    """Restart both controllers, the second only when the first is back."""
    with session(context, as_json=as_json) as here:
        running = [one["number"] for one in here.api.get("/controllers") if one["alive"]]
        loss = (
            "Hosts stay connected through the other controller while one restarts."
            if len(running) > 1
            else "Only one controller runs: hosts will be without their disks for some seconds."
        )
        name = here.api.get("/subsystem")["name"]
        asking.confirm(name, loss, yes=yes)
        controllers = here.api.post("/subsystem/restart")
        if follow:
            restarting.follow(here, controllers)
        else:
            here.say(f"Subsystem “{name}” restarts: watch it with “qreplica controller list”.", controllers)


def sheet(answer: dict[str, Any]) -> RenderableType:
    """Return what there is to know of it."""
    return output.sheet(
        [
            ("Subsystem", answer["name"]),
            ("Serial number", answer["serial"]),
            ("Made", output.time(answer["created_at"])),
        ]
    )
