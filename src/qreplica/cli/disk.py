"""``qreplica disk``: the disks that RAID groups are made of."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from qreplica.cli import asking, output
from qreplica.cli.context import Json, Yes, path, session

app = typer.Typer(no_args_is_help=True, help="Disks: block devices, or image files on loop devices.")

Name = Annotated[str, typer.Argument(help="The disk's name.")]


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the disks."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/disks"), _table)


@app.command()
def create(
    context: typer.Context,
    name: Name,
    device: Annotated[Path | None, typer.Option(help="A block device of the subsystem, such as /dev/sdb.")] = None,
    image: Annotated[
        Path | None, typer.Option(help="An image file on the subsystem; made when --size is given.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="The size of a new image, such as 10GiB.")] = None,
    as_json: Json = False,
) -> None:
    """Make a disk known, from a block device or an image file."""
    body = {
        "name": name,
        "device": None if device is None else str(device),
        "image": None if image is None else str(image),
        "size": size,
    }
    with session(context, as_json=as_json) as here:
        disk = here.api.post("/disks", {key: value for key, value in body.items() if value is not None})
        here.say(f"Disk “{name}” was added.", disk)


@app.command()
def show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a disk."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get(path("disks", name)), _sheet)


@app.command()
def spare(
    context: typer.Context,
    name: Name,
    off: Annotated[bool, typer.Option("--off", help="No longer keep it as a spare.")] = False,
    as_json: Json = False,
) -> None:
    """Keep a free disk as a spare: it takes the place of a disk that fails, by itself."""
    with session(context, as_json=as_json) as here:
        disk = here.api.call("PATCH", path("disks", name), body={"spare": not off})
        here.say(f"Disk “{name}” is {'no spare' if off else 'a spare'}.", disk)


@app.command()
def delete(context: typer.Context, name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Forget a disk that is in no RAID group."""
    with session(context, as_json=as_json) as here:
        asking.confirm(name, f"Disk “{name}” will no longer be known here.", yes=yes)
        here.api.delete(path("disks", name))
        here.say(f"Disk “{name}” was removed.")


def _table(disks: list[dict[str, Any]]) -> RenderableType:
    return output.rows(
        output.table("Disk", "Size", "RG", "State", "Device", "Image", right=["Size"]),
        (
            [
                one["name"],
                output.size(one["size"]),
                output.text(one["raid_group"]),
                _state(one),
                output.text(one["device"]),
                output.text(one["image"]),
            ]
            for one in disks
        ),
        empty="There are no disks: add one with “qreplica disk create”.",
    )


def _state(disk: dict[str, Any]) -> Text:
    if disk["failed"]:
        return output.state("failed")
    return Text("in use" if disk["raid_group"] else "spare" if disk["spare"] else "free")


def _sheet(disk: dict[str, Any]) -> RenderableType:
    return output.sheet(
        [
            ("Disk", disk["name"]),
            ("Size", output.size(disk["size"])),
            ("RG", output.text(disk["raid_group"])),
            ("State", _state(disk)),
            ("Errors", str(disk["errors"])),
            ("Device", output.text(disk["device"])),
            ("Image", output.text(disk["image"])),
        ]
    )
