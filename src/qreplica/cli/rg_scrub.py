"""``qreplica rg scrub``: scrubs of RAID groups."""

from typing import Annotated

import typer

from qreplica.cli import rg_views
from qreplica.cli.context import Json, path, session

app = typer.Typer(no_args_is_help=True, help="Scrubs: read all copies of everything, and mend what is wrong.")

Name = Annotated[str, typer.Argument(help="The RG's name.")]
Follow = Annotated[bool, typer.Option("--follow", help="Show the progress until it ends.")]


@app.command("list")
def list_(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """List an RG's scrubs and what they found, the latest first."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get(path("raid-groups", name, "scrubs")), rg_views.scrubs)


@app.command()
def start(context: typer.Context, name: Name, follow: Follow = False, as_json: Json = False) -> None:
    """Start a scrub; one that runs goes on."""
    with session(context, as_json=as_json) as here:
        group = here.api.post(path("raid-groups", name, "scrub", "start"))
        if follow and group["scrub"]["running"]:
            from qreplica.cli import rg_following  # noqa: PLC0415 - start fast

            rg_following.follow(here, name)
        else:
            here.say(f"RG “{name}” is scrubbed: see how far with “qreplica rg watch {name}”.", group)


@app.command()
def stop(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """End a running scrub; by the schedule it is tried again in a day."""
    with session(context, as_json=as_json) as here:
        group = here.api.post(path("raid-groups", name, "scrub", "stop"))
        here.say(f"No scrub of RG “{name}” runs.", group)


@app.command()
def schedule(
    context: typer.Context,
    name: Name,
    days: Annotated[int | None, typer.Option(help="Days between scrubs, 1 to 365.")] = None,
    never: Annotated[bool, typer.Option("--never", help="Only when asked for.")] = False,
    as_json: Json = False,
) -> None:
    """Set how often an RG is scrubbed."""
    if (days is None) != never:
        raise typer.BadParameter("give either --days or --never")
    with session(context, as_json=as_json) as here:
        group = here.api.call("PATCH", path("raid-groups", name), body={"scrub_days": days})
        often = "only when asked for" if days is None else f"every {days} days"
        here.say(f"RG “{name}” is scrubbed {often}.", group)
