"""``qreplica recovery-point``: the recovery points of backup VDs, on the target."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import output
from qreplica.cli.context import Json, path, session

app = typer.Typer(no_args_is_help=True, help="Recovery points of backup VDs, on the target.")

Vd = Annotated[str, typer.Argument(help="The backup VD's name.")]
Point = Annotated[str, typer.Argument(metavar="GENERATION|NAME", help="The point's generation, or its name.")]


@app.command("list")
def list_(context: typer.Context, vd: Vd, as_json: Json = False) -> None:
    """List the recovery points of a backup VD, oldest first, with what keeps each."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get(path("recovery-points", vd)), _table)


@app.command()
def lock(
    context: typer.Context,
    vd: Vd,
    point: Point,
    note: Annotated[str, typer.Option(help="Why it is locked, in at most 256 characters.")] = "",
    as_json: Json = False,
) -> None:
    """Have nothing automatic let a recovery point go until it is unlocked."""
    with session(context, as_json=as_json) as here:
        locked = here.api.call("PUT", path("recovery-points", vd, point, "lock"), body={"note": note})
        here.say(f"Recovery point “{locked['name']}” of VD “{vd}” is locked.", locked)


@app.command()
def unlock(context: typer.Context, vd: Vd, point: Point, as_json: Json = False) -> None:
    """Have a recovery point judged by the VD's retention as any other, from the next cycle on."""
    with session(context, as_json=as_json) as here:
        here.api.delete(path("recovery-points", vd, point, "lock"))
        unlocked = here.api.get(path("recovery-points", vd, point))
        then = "" if unlocked["kept_by"] else "; it goes when the next cycle begins"
        here.say(f"Recovery point “{unlocked['name']}” of VD “{vd}” is not locked{then}.", unlocked)


def _table(points: list[dict[str, Any]]) -> RenderableType:
    return output.rows(
        output.table("Generation", "Recovery point", "Committed", "Size", "Kept by", "Locked", right=_FIGURES),
        (
            [
                str(one["generation"]),
                one["name"],
                output.time(one["committed_at"]),
                output.size(one["size"]),
                ", ".join(one["kept_by"]) or "nothing",
                _lock(one["lock"]),
            ]
            for one in points
        ),
        empty="There are no recovery points: each cycle of a replication job makes one.",
    )


_FIGURES = ("Generation", "Size")


def _lock(lock: dict[str, Any] | None) -> str:
    if lock is None:
        return output.NOTHING
    return f"by {lock['locked_by']}" + (f": {lock['note']}" if lock["note"] else "")
