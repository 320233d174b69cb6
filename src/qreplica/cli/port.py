"""``qreplica port``: the iSCSI ports of the controllers."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import output
from qreplica.cli.context import Json, path, session
from qreplica.cli.errors import PrefixUnclear

Owner = Annotated[int, typer.Option("--controller", min=1, max=2, help="The port's controller.")]
Number = Annotated[int, typer.Argument(min=1, max=4, help="The port's number; only the last one, 4, can be it.")]
_NONE = "none"

app = typer.Typer(no_args_is_help=True, help="iSCSI ports of the controllers.")


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the iSCSI ports."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/ports"), _table)


@app.command("set")
def set_(
    context: typer.Context,
    number: Annotated[int, typer.Argument(min=1, max=4, help="The port's number.")],
    controller: Owner = 1,
    address: Annotated[
        str | None, typer.Option("--address", metavar="ADDRESS[/PREFIX]", help="IPv4, such as 192.168.1.21/24.")
    ] = None,
    gateway: Annotated[
        str | None, typer.Option("--gateway", metavar="ADDRESS", help="The router to other networks, or “none”.")
    ] = None,
    mtu: Annotated[int | None, typer.Option("--mtu", help="Bytes, 1280 to 9216 or what the interface can.")] = None,
    drop_hosts: Annotated[bool, typer.Option("--drop-hosts", help="Though hosts are logged in by it.")] = False,
    as_json: Json = False,
) -> None:
    """Set address, gateway and MTU of a port; it takes effect when its controller is restarted."""
    with session(context, as_json=as_json) as here:
        found = here.api.call(
            "PATCH",
            path("ports", str(controller), str(number)),
            body=_changes(address, gateway, mtu),
            query={"drop_hosts": "true"} if drop_hosts else None,
        )
        if found["pending"] is None:
            sentence = f"Port {number} of controller {controller} is so already: {_addressing(found)}."
        else:
            sentence = (
                f"Port {number} of controller {controller} has {_addressing(found['pending'])} when controller "
                f"{controller} was restarted: “qreplica controller restart {controller}”."
            )
        here.say(sentence, found)


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


def _changes(address: str | None, gateway: str | None, mtu: int | None) -> dict[str, Any]:
    """Return the body that says what was given. Raises PrefixUnclear."""
    changes: dict[str, Any] = {}
    if address is not None:
        changes["address"], slash, length = address.partition("/")
        if slash:
            if not (length.isascii() and length.isdigit()):
                raise PrefixUnclear(text=address)
            changes["prefix_length"] = int(length)
    if gateway is not None:
        changes["gateway"] = None if gateway == _NONE else gateway
    if mtu is not None:
        changes["mtu"] = mtu
    return changes


def _addressing(one: dict[str, Any]) -> str:
    router = "" if one["gateway"] is None else f", gateway {one['gateway']}"
    mtu = "" if one["mtu"] is None else f", MTU {one['mtu']} bytes"
    return f"{one['address']}/{one['prefix_length']}{router}{mtu}"


def _shown(one: dict[str, Any]) -> str:
    now = f"{one['address']}/{one['prefix_length']}"
    pending = one["pending"]
    return now if pending is None else f"{now}\nafter a restart:\n{_addressing(pending)}"


def _table(ports: list[dict[str, Any]]) -> RenderableType:
    return output.rows(
        output.table(
            *("Controller", "Port", "Address", "Gateway", "MTU", "Interface", "Use", "Hosts"),
            right=["Controller", "Port", "MTU"],
        ),
        (
            [
                str(one["controller"]),
                str(one["number"]),
                _shown(one),
                output.text(one["gateway"]),
                output.text(one["mtu"]),
                one["interface"],
                "QReplica" if one["qreplica"] else "iSCSI",
                "\n".join(one["hosts"]) or output.NOTHING,
            ]
            for one in ports
        ),
        empty="There are no ports: qreplicad learns them from its configuration.",
    )
