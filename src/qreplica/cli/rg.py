"""``qreplica rg``: RAID groups."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import asking, output
from qreplica.cli.context import Json, Yes, path, session

app = typer.Typer(no_args_is_help=True, help="RAID groups (RGs).")

Name = Annotated[str, typer.Argument(help="The RG's name.")]


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the RAID groups."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/raid-groups"), table)


@app.command()
def create(
    context: typer.Context,
    name: Name,
    level: Annotated[str, typer.Option(help="jbod, raid0, raid1, raid10, mirror3 or mirror4.")],
    disk: Annotated[list[str], typer.Option(help="A disk's name; give it once for each disk.")],
    as_json: Json = False,
) -> None:
    """Make an RG of disks. What is on the disks must have been wiped before."""
    with session(context, as_json=as_json) as here:
        group = here.api.post("/raid-groups", {"name": name, "level": level, "disks": disk})
        here.say(f"RG “{name}” was made; {output.size(group['free'])} are free in it.", group)


@app.command()
def show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show an RG and how its space is shared out."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get(path("raid-groups", name)), _sheet)


@app.command()
def delete(context: typer.Context, name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Delete an RG that holds no VDs; its disks are wiped and free again."""
    with session(context, as_json=as_json) as here:
        group = here.api.get(path("raid-groups", name))
        disks = ", ".join(group["disks"])
        asking.confirm(name, f"RG “{name}” will be deleted and its disks ({disks}) wiped.", yes=yes)
        here.api.delete(path("raid-groups", name))
        here.say(f"RG “{name}” was deleted; its disks are free again.")


def table(groups: list[dict[str, Any]]) -> RenderableType:
    """Return the RAID groups as a table."""
    return output.rows(
        output.table("RG", "Level", "Disks", "Health", "Usable", "VDs", "Snapshots", "Free", right=_FIGURES),
        (
            [
                one["name"],
                one["level"],
                str(len(one["disks"])),
                output.state(one["health"]),
                output.size(one["usable"]),
                output.size(one["vd_space"]),
                output.size(one["snapshot_space"]),
                output.size(one["free"]),
            ]
            for one in groups
        ),
        empty="There are no RAID groups: make one with “qreplica rg create”.",
    )


_FIGURES = ("Disks", "Usable", "VDs", "Snapshots", "Free")


def _sheet(group: dict[str, Any]) -> RenderableType:
    return output.sheet(
        [
            ("RG", group["name"]),
            ("Level", group["level"]),
            ("Disks", ", ".join(group["disks"])),
            ("Health", output.state(group["health"])),
            ("Missing disks", str(group["missing_disks"])),
            ("Usable", output.size(group["usable"])),
            ("Reserve for metadata", output.size(group["reserve"])),
            ("Promised to VDs", output.size(group["vd_space"])),
            ("Promised to snapshots", output.size(group["snapshot_space"])),
            ("Free", output.size(group["free"])),
            ("Made", output.time(group["created_at"])),
        ]
    )
