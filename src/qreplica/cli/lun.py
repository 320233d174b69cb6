"""``qreplica lun``: virtual disks attached to iSCSI nodes."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import asking, output
from qreplica.cli.context import Json, Yes, path, session

app = typer.Typer(no_args_is_help=True, help="LUNs: virtual disks attached to iSCSI nodes.")

Node = Annotated[str, typer.Argument(help="The iSCSI node's name.")]


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the LUNs of all nodes."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/luns"), _table)


@app.command()
def create(
    context: typer.Context,
    node: Node,
    vd: Annotated[str, typer.Argument(help="The VD to attach.")],
    lun: Annotated[int | None, typer.Option(help="The LUN, 1 to 255; the first free one if not given.")] = None,
    snapshot: Annotated[str | None, typer.Option(help="Attach this snapshot of the VD, read-only.")] = None,
    as_json: Json = False,
) -> None:
    """Attach a VD, or a snapshot of it, to an iSCSI node; initiators see it when the command is back."""
    body = {"node": node, "vd": vd, "number": lun, "snapshot": snapshot}
    with session(context, as_json=as_json) as here:
        made = here.api.post("/luns", {key: value for key, value in body.items() if value is not None})
        what = f"Snapshot “{snapshot}” of VD “{vd}”" if snapshot else f"VD “{vd}”"
        here.say(f"{what} is LUN {made['number']} of iSCSI node “{node}”.", made)


@app.command()
def delete(
    context: typer.Context,
    node: Node,
    lun: Annotated[int, typer.Argument(help="The LUN.")],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Detach a LUN; the VD keeps its data."""
    with session(context, as_json=as_json) as here:
        one = here.api.get(path("luns", node, lun))
        loss = f"Hosts will lose LUN {lun} of iSCSI node “{node}” at once; VD “{one['vd']}” keeps its data."
        asking.confirm(one["vd"], loss, yes=yes)
        here.api.delete(path("luns", node, lun))
        here.say(f"LUN {lun} of iSCSI node “{node}” was detached.")


def _table(luns: list[dict[str, Any]]) -> RenderableType:
    return output.rows(
        output.table("Node", "LUN", "VD", "Type", "Size", "Snapshot", right=["LUN", "Size"]),
        (
            [
                one["node"],
                str(one["number"]),
                one["vd"],
                one["type"],
                output.size(one["size"]),
                output.text(one["snapshot"]),
            ]
            for one in luns
        ),
        empty="There are no LUNs: attach a VD with “qreplica lun create”.",
    )
