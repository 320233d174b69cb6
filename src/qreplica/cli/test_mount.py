"""``qreplica test-mount``: recovery points as writable disks, on the target."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import asking, output
from qreplica.cli.context import Json, Yes, path, session

app = typer.Typer(no_args_is_help=True, help="Test mounts: recovery points as writable disks, on the target.")

Name = Annotated[str, typer.Argument(help="The test mount's name.")]


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the test mounts."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/test-mounts"), _table)


@app.command()
def create(
    context: typer.Context,
    vd: Annotated[str, typer.Argument(help="The backup VD's name.")],
    point: Annotated[str, typer.Argument(metavar="GENERATION|NAME", help="The point's generation, or its name.")],
    name: Annotated[
        str | None, typer.Option(help="Its name; made from the VD's and the generation if left out.")
    ] = None,
    node: Annotated[str | None, typer.Option(help="The iSCSI node that it is attached to.")] = None,
    lun: Annotated[int | None, typer.Option(min=1, max=255, help="The LUN; the next free if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Make a writable disk of a recovery point; replication into the backup VD goes on."""
    with session(context, as_json=as_json) as here:
        body = {"vd": vd, "point": point, "name": name, "node": node, "number": lun}
        made = here.api.post("/test-mounts", body)
        where = f" as {' and '.join(made['luns'])}" if made["luns"] else "; attach it with “qreplica lun create”"
        here.say(f"Recovery point {made['generation']} of “{vd}” can be tried as VD “{made['name']}”{where}.", made)


@app.command()
def end(context: typer.Context, name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Take a test mount from its hosts and delete it, with all that was written to it."""
    with session(context, as_json=as_json) as here:
        mount = here.api.get(path("test-mounts", name))
        lost = f"All that was written to “{name}” is deleted; recovery point {mount['generation']} stays as it is."
        asking.confirm(name, lost, yes=yes)
        here.api.delete(path("test-mounts", name))
        here.say(f"Test mount “{name}” is gone.", mount)


def _table(mounts: list[dict[str, Any]]) -> RenderableType:
    return output.rows(
        output.table("Test mount", "Of", "Generation", "Size", "Used", "Made", "By", "LUN", right=_FIGURES),
        (
            [
                one["name"],
                one["vd"],
                str(one["generation"]),
                output.size(one["size"]),
                output.size(one["used"]),
                output.time(one["made_at"]),
                one["made_by"],
                ", ".join(one["luns"]) or output.NOTHING,
            ]
            for one in mounts
        ),
        empty="There are no test mounts: “qreplica test-mount create VD GENERATION” makes one.",
    )


_FIGURES = ("Generation", "Size", "Used")
