"""``qreplica snapshot``: QSnap snapshots of virtual disks."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import asking, output
from qreplica.cli.context import Json, Yes, path, session

app = typer.Typer(no_args_is_help=True, help="QSnap snapshots of virtual disks.")

Vd = Annotated[str, typer.Argument(help="The VD's name.")]
Name = Annotated[str, typer.Argument(help="The snapshot's name.")]


@app.command("list")
def list_(
    context: typer.Context,
    vd: Annotated[str | None, typer.Option(help="Only those of this VD.")] = None,
    as_json: Json = False,
) -> None:
    """List the snapshots, oldest first."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/snapshots", {"vd": vd} if vd else None), _table)


@app.command()
def create(context: typer.Context, vd: Vd, name: Name, as_json: Json = False) -> None:
    """Take a snapshot: it holds every write acknowledged before it, and none acknowledged after."""
    with session(context, as_json=as_json) as here:
        taken = here.api.post("/snapshots", {"vd": vd, "name": name})
        here.say(f"Snapshot “{name}” of VD “{vd}” was taken at {output.time(taken['taken_at'])}.", taken)


@app.command()
def show(context: typer.Context, vd: Vd, name: Name, as_json: Json = False) -> None:
    """Show a snapshot."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get(path("snapshots", vd, name)), _sheet)


@app.command("roll-back")
def roll_back(
    context: typer.Context,
    vd: Vd,
    name: Name,
    keep_present: Annotated[
        bool | None,
        typer.Option(
            "--keep-present/--lose-present",
            help="Take a snapshot of what is there now before; if not said, only where there is snapshot space.",
        ),
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Give a VD the content that it had when a snapshot was taken. Refused while hosts are logged in."""
    with session(context, as_json=as_json) as here:
        loss = here.api.get(path("snapshots", vd, name, "roll-back"))["sentence"]
        asking.confirm(vd, f"VD “{vd}” will lose {loss}.", yes=yes)
        body = {"confirm": vd, "keep_present": keep_present}
        done = here.api.post(path("snapshots", vd, name, "roll-back"), body)
        kept = f"; snapshot “{done['kept']}” has what was there before" if done["kept"] else ""
        for problem in done["problems"]:
            here.warn(f"It is not served everywhere yet: {problem}")
        here.say(f"VD “{vd}” was rolled back to snapshot “{name}”{kept}.", done)


@app.command()
def delete(context: typer.Context, vd: Vd, name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Delete a snapshot; its space comes back in the background."""
    with session(context, as_json=as_json) as here:
        one = here.api.get(path("snapshots", vd, name))
        loss = f"VD “{vd}” as it was at {output.time(one['taken_at'])} (snapshot “{name}”) will be lost."
        asking.confirm(name, loss, yes=yes)
        here.api.delete(path("snapshots", vd, name))
        here.say(f"Snapshot “{name}” of VD “{vd}” was deleted.")


def _table(snapshots: list[dict[str, Any]]) -> RenderableType:
    return output.rows(
        output.table("VD", "Snapshot", "Kind", "Size", "Taken", right=["Size"]),
        (
            [one["vd"], one["name"], one["kind"], output.size(one["size"]), output.time(one["taken_at"])]
            for one in snapshots
        ),
        empty="There are no snapshots: take one with “qreplica snapshot create”.",
    )


def _sheet(one: dict[str, Any]) -> RenderableType:
    return output.sheet(
        [
            ("Snapshot", one["name"]),
            ("VD", one["vd"]),
            ("Kind", one["kind"]),
            ("Size", output.size(one["size"])),
            ("Taken", output.time(one["taken_at"])),
            ("Pinned by", output.text(one["pinned_by"])),
        ]
    )
