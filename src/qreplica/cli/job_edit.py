"""``qreplica job edit``: what may be changed of a job."""

from typing import Annotated, Any

import typer

from qreplica.cli import asking
from qreplica.cli.context import Json, path, session
from qreplica.cli.errors import ChoiceAmbiguous

_PORT = 3260


def edit(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The job's name.")],
    new_name: Annotated[str | None, typer.Option("--name", help="What it is to be called.")] = None,
    comment: Annotated[str | None, typer.Option(help="What is to be said of it.")] = None,
    chap_user: Annotated[str | None, typer.Option(help="The node's CHAP name.")] = None,
    chap_secret_file: asking.ChapFile = None,
    no_chap: Annotated[bool, typer.Option("--no-chap", help="The node asks for no CHAP any more.")] = False,
    mutual_user: Annotated[str | None, typer.Option(help="The CHAP name by which the node proves itself.")] = None,
    mutual_secret_file: asking.MutualFile = None,
    no_mutual: Annotated[bool, typer.Option("--no-mutual", help="The node does not prove itself any more.")] = False,
    of_path: Annotated[
        str | None, typer.Option("--path", help="The address of the path that moves; the only path, unless given.")
    ] = None,
    of_port: Annotated[int, typer.Option("--path-port", min=1, max=65535, help="And its TCP port.")] = _PORT,
    address: Annotated[str | None, typer.Option(help="The path's new address.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The new TCP port of its iSCSI portal.")] = None,
    peer_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The new TCP port of its peer conversation.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Change a job: name and comment at any time, CHAP and a path's address only while it does not run.

    What leads to another VD than the job's backup VD is refused.
    """
    with session(context, as_json=as_json) as here:
        shown = {"name": new_name, "comment": comment}
        body: dict[str, Any] = {key: value for key, value in shown.items() if value is not None}
        if no_chap:
            body |= {"chap_user": None, "mutual_user": None}
        elif chap_user is not None:
            body |= {"chap_user": chap_user, "chap_secret": asking.chap_secret(chap_user, chap_secret_file)}
        if no_mutual:
            body["mutual_user"] = None
        elif mutual_user is not None:
            body |= {"mutual_user": mutual_user, "mutual_secret": asking.mutual_secret(mutual_user, mutual_secret_file)}
        if (address, port, peer_port) != (None, None, None):
            present = _present(here.api.get(path("jobs", name))["paths"], of_path, of_port)
            body["paths"] = [{**present, "new_address": address, "new_port": port, "new_peer_port": peer_port}]
        job = here.api.call("PATCH", path("jobs", name), body=body)
        here.say(f"Job “{job['name']}” was changed.", job)


def _present(paths: list[dict[str, Any]], address: str | None, port: int) -> dict[str, Any]:
    """Return the portal of the path that moves. Raises ChoiceAmbiguous."""
    if address is not None:
        return {"address": address, "port": port}
    if len(paths) != 1:
        raise ChoiceAmbiguous(option="--path", offered="; ".join(f"{one['address']}:{one['port']}" for one in paths))
    return {"address": paths[0]["address"], "port": paths[0]["port"]}
