"""``qreplica port``: the iSCSI ports of the controllers."""

from typing import Any

import typer
from rich.console import RenderableType

from qreplica.cli import output
from qreplica.cli.context import Json, session

app = typer.Typer(no_args_is_help=True, help="iSCSI ports of the controllers.")


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the iSCSI ports."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/ports"), _table)


def _table(ports: list[dict[str, Any]]) -> RenderableType:
    return output.rows(
        output.table("Controller", "Port", "Address", "Interface", "Use", right=["Controller", "Port"]),
        (
            [
                str(one["controller"]),
                str(one["number"]),
                f"{one['address']}/{one['prefix_length']}",
                one["interface"],
                "QReplica" if one["qreplica"] else "iSCSI",
            ]
            for one in ports
        ),
        empty="There are no ports: qreplicad learns them from its configuration.",
    )
