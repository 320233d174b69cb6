"""``qreplica job rpo``: how old the copy of a job may become."""

from typing import Annotated, Any

import typer

from qreplica.cli.context import Json, path, session
from qreplica.units import format_minutes, parse_minutes

app = typer.Typer(no_args_is_help=True, help="How old the newest recovery point of a job may become.")

Name = Annotated[str, typer.Argument(help="The job's name.")]


@app.command("set")
def set_(
    context: typer.Context,
    name: Name,
    goal: Annotated[str, typer.Argument(help="Such as 30m, 1h or 1d.")],
    as_json: Json = False,
) -> None:
    """Set the RPO goal of a job; that it is missed is an event, once, and that it is met again another."""
    with session(context, as_json=as_json) as here:
        body = {"rpo_minutes": parse_minutes(goal)}
        answer = here.api.call("PUT", path("jobs", name, "rpo"), body=body)
        here.say(f"The RPO goal of job “{name}” is {format_minutes(answer['rpo_minutes'])}.", answer)


@app.command()
def show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show the RPO goal of a job."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get(path("jobs", name, "rpo")), _sentence)


@app.command()
def delete(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Have a job judged by no goal."""
    with session(context, as_json=as_json) as here:
        here.api.delete(path("jobs", name, "rpo"))
        here.say(f"Job “{name}” has no RPO goal.")


def _sentence(answer: dict[str, Any]) -> str:
    goal = answer["rpo_minutes"]
    return "The job has no RPO goal." if goal is None else f"The RPO goal is {format_minutes(goal)}."
