"""``qreplica rg``: RAID groups."""

from typing import Annotated, Any

import typer

from qreplica.cli import asking, output, rg_scrub, rg_views
from qreplica.cli.context import Json, Session, Yes, path, session
from qreplica.cli.rg_scrub import Follow, Name

app = typer.Typer(no_args_is_help=True, help="RAID groups (RGs).")
app.add_typer(rg_scrub.app, name="scrub")


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the RAID groups."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/raid-groups"), rg_views.table)


@app.command()
def create(
    context: typer.Context,
    name: Name,
    level: Annotated[str, typer.Option(help="jbod, raid0, raid1, raid5, raid6, raid10, mirror3 or mirror4.")],
    disk: Annotated[list[str], typer.Option(help="A disk's name; give it once for each disk.")],
    as_json: Json = False,
) -> None:
    """Make an RG of disks. What is on the disks must have been wiped before."""
    with session(context, as_json=as_json) as here:
        group = here.api.post("/raid-groups", {"name": name, "level": level, "disks": disk})
        here.say(f"RG “{name}” was made; {output.size(group['free'])} are free in it.", group)
        for warning in group["warnings"]:
            here.warn(warning)


@app.command()
def show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show an RG, its disks, its last scrub, and how its space is shared out."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get(path("raid-groups", name)), rg_views.sheet)


@app.command()
def replace(
    context: typer.Context,
    name: Name,
    old: Annotated[str, typer.Argument(help="The disk to replace; it may be missing.")],
    new: Annotated[str, typer.Argument(help="The free disk that takes its place.")],
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    """Put a free disk in the place of one of an RG's, in the background."""
    with session(context, as_json=as_json) as here:
        group = here.api.post(path("raid-groups", name, "replace"), {"old": old, "new": new})
        _tell(here, group, f"Disk “{new}” takes the place of “{old}” in RG “{name}”", follow=follow)


@app.command()
def grow(
    context: typer.Context,
    name: Name,
    disk: Annotated[str, typer.Argument(help="The free disk to add.")],
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    """Add a free disk to an RG; its space is there when everything is spread over all disks."""
    with session(context, as_json=as_json) as here:
        group = here.api.post(path("raid-groups", name, "grow"), {"disk": disk})
        _tell(here, group, f"Disk “{disk}” is added to RG “{name}”", follow=follow)


@app.command()
def watch(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show the progress of an RG's rebuild or scrub until it ends."""
    with session(context, as_json=as_json) as here:
        _follow(here, name)


@app.command()
def delete(context: typer.Context, name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Delete an RG that holds no VDs; its disks are wiped and free again."""
    with session(context, as_json=as_json) as here:
        group = here.api.get(path("raid-groups", name))
        disks = ", ".join(group["disks"])
        asking.confirm(name, f"RG “{name}” will be deleted and its disks ({disks}) wiped.", yes=yes)
        here.api.delete(path("raid-groups", name))
        here.say(f"RG “{name}” was deleted; its disks are free again.")


def _tell(here: Session, group: dict[str, Any], sentence: str, *, follow: bool) -> None:
    if follow:
        _follow(here, group["name"])
    else:
        here.say(f"{sentence}: see how far with “qreplica rg watch {group['name']}”.", group)


def _follow(here: Session, name: str) -> None:
    from qreplica.cli import rg_following  # noqa: PLC0415 - start fast

    rg_following.follow(here, name)
