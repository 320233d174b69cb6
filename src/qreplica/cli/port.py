"""``qreplica port``: the iSCSI ports of the controllers."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import output
from qreplica.cli.context import Json, path, session

Owner = Annotated[int, typer.Option("--controller", min=1, max=2, help="The port's controller.")]
Number = Annotated[int, typer.Argument(min=1, max=4, help="The port's number; only the last one, 4, can be it.")]

app = typer.Typer(no_args_is_help=True, help="iSCSI ports of the controllers.")


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the iSCSI ports."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/ports"), _table)


@app.command("enable-qreplica")
def enable_qreplica(
    context: typer.Context,
    number: Number,
    controller: Owner = 1,
    drop_hosts: Annotated[bool, typer.Option("--drop-hosts", help="Cut off hosts that use the port.")] = False,
    as_json: Json = False,
) -> None:
    """Make the last port of both controllers the QReplica port: closed to hosts, and the only way out for jobs."""
    with session(context, as_json=as_json) as here:
        query = {"drop_hosts": "true"} if drop_hosts else None
        found = here.api.call("PUT", path("ports", str(controller), str(number), "qreplica"), query=query)
        here.say(f"Port {number} of both controllers is the QReplica port now.", found)


@app.command("disable-qreplica")
def disable_qreplica(context: typer.Context, number: Number, controller: Owner = 1, as_json: Json = False) -> None:
    """Give the last port of both controllers back to hosts."""
    with session(context, as_json=as_json) as here:
        found = here.api.call("DELETE", path("ports", str(controller), str(number), "qreplica"))
        here.say(f"Port {number} of both controllers is an iSCSI port for hosts again.", found)


def _table(ports: list[dict[str, Any]]) -> RenderableType:
    return output.rows(
        output.table("Controller", "Port", "Address", "Interface", "Use", "Hosts", right=["Controller", "Port"]),
        (
            [
                str(one["controller"]),
                str(one["number"]),
                f"{one['address']}/{one['prefix_length']}",
                one["interface"],
                "QReplica" if one["qreplica"] else "iSCSI",
                "\n".join(one["hosts"]) or output.NOTHING,
            ]
            for one in ports
        ),
        empty="There are no ports: qreplicad learns them from its configuration.",
    )
