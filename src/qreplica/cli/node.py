"""``qreplica node``: iSCSI nodes."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from qreplica.cli import asking, output
from qreplica.cli.context import Json, Yes, path, session

app = typer.Typer(no_args_is_help=True, help="iSCSI nodes: target names with their CHAP and initiators.")

Name = Annotated[str, typer.Argument(help="The node's name.")]
ChapUser = Annotated[str | None, typer.Option(help="The CHAP name that initiators must prove.")]
MutualUser = Annotated[str | None, typer.Option(help="The CHAP name that the node proves to initiators.")]
Initiators = Annotated[
    list[str] | None, typer.Option("--initiator", help="An initiator name to admit, and no other; once for each.")
]


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the iSCSI nodes."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get("/nodes"), _table)


@app.command()
def create(
    context: typer.Context,
    name: Name,
    chap_user: ChapUser = None,
    chap_secret_file: asking.ChapFile = None,
    mutual_user: MutualUser = None,
    mutual_secret_file: asking.MutualFile = None,
    initiator: Initiators = None,
    as_json: Json = False,
) -> None:
    """Make an iSCSI node. Without --initiator it admits every initiator."""
    with session(context, as_json=as_json) as here:
        body: dict[str, Any] = {
            "name": name,
            **_credentials(chap_user, chap_secret_file, mutual_user, mutual_secret_file),
        }
        if initiator:
            body["initiators"] = initiator
        node = here.api.post("/nodes", body)
        here.say(f"iSCSI node “{name}” was made: {node['iqn']}.", node)


@app.command()
def show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show an iSCSI node, its LUNs and whom it admits."""
    with session(context, as_json=as_json) as here:
        here.show(here.api.get(path("nodes", name)), _sheet)


@app.command()
def chap(
    context: typer.Context,
    name: Name,
    chap_user: ChapUser = None,
    chap_secret_file: asking.ChapFile = None,
    mutual_user: MutualUser = None,
    mutual_secret_file: asking.MutualFile = None,
    as_json: Json = False,
) -> None:
    """Set the CHAP of an iSCSI node; without --chap-user it is taken away. Sessions under way stay."""
    with session(context, as_json=as_json) as here:
        body = _credentials(chap_user, chap_secret_file, mutual_user, mutual_secret_file)
        node = here.api.call("PUT", path("nodes", name, "chap"), body=body)
        told = f"asks for CHAP name “{chap_user}”" if chap_user else "asks for no CHAP"
        here.say(f"iSCSI node “{name}” now {told}.", node)


@app.command()
def initiators(context: typer.Context, name: Name, initiator: Initiators = None, as_json: Json = False) -> None:
    """Set whom an iSCSI node admits; without --initiator everybody."""
    with session(context, as_json=as_json) as here:
        node = here.api.call("PUT", path("nodes", name, "initiators"), body={"initiators": initiator or None})
        here.say(f"iSCSI node “{name}” now admits {_admitted(node)}.", node)


@app.command()
def delete(context: typer.Context, name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Delete an iSCSI node; refused while it has LUNs."""
    with session(context, as_json=as_json) as here:
        asking.confirm(name, f"Initiators will no longer find iSCSI node “{name}”.", yes=yes)
        here.api.delete(path("nodes", name))
        here.say(f"iSCSI node “{name}” was deleted.")


@app.command()
def release(context: typer.Context, name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Take the node's backup VD from the job that holds it, when that job's subsystem is gone for good."""
    with session(context, as_json=as_json) as here:
        lost = f"What the job of iSCSI node “{name}” has not committed is lost, and it must make a full copy to return."
        asking.confirm(name, lost, yes=yes)
        here.api.delete(path("nodes", name, "claim"))
        here.say(f"The backup VD of iSCSI node “{name}” is free for another job; its recovery points stay.")


@app.command("reset-pairing")
def reset_pairing(context: typer.Context, name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Forget the pairing of a node without CHAP; its job, or after “node release” another one, pairs anew."""
    with session(context, as_json=as_json) as here:
        asking.confirm(name, f"The job that is paired with iSCSI node “{name}” will be refused.", yes=yes)
        here.api.delete(path("nodes", name, "pairing"))
        here.say(f"iSCSI node “{name}” is no longer paired.")


def _credentials(
    user: str | None, file: str | None, mutual_user: str | None, mutual_file: str | None
) -> dict[str, str | None]:
    both = {
        "chap_user": user,
        "chap_secret": asking.chap_secret(user, file),
        "mutual_user": mutual_user,
        "mutual_secret": asking.mutual_secret(mutual_user, mutual_file),
    }
    return {key: value for key, value in both.items() if value is not None}


def _admitted(node: dict[str, Any]) -> str:
    if node["for_replication"]:
        return "its job only"
    if node["open_to_all"]:
        return "every initiator"
    return ", ".join(node["initiators"]) or "nobody"


def _table(nodes: list[dict[str, Any]]) -> RenderableType:
    return output.rows(
        output.table("Node", "IQN", "CHAP", "LUNs", "Admits", right=["LUNs"]),
        (
            [one["name"], one["iqn"], output.text(one["chap_user"]), str(len(one["luns"])), _admitted(one)]
            for one in nodes
        ),
        empty="There are no iSCSI nodes: make one with “qreplica node create”.",
    )


def _sheet(node: dict[str, Any]) -> RenderableType:
    luns = "\n".join(_lun(lun) for lun in node["luns"])
    return output.sheet(
        [
            ("Node", node["name"]),
            ("IQN", node["iqn"]),
            ("CHAP name", output.text(node["chap_user"])),
            ("Mutual CHAP name", output.text(node["mutual_user"])),
            ("Paired", "yes" if node["paired"] else "no"),
            ("Admits", _admitted(node)),
            ("LUNs", luns or output.NOTHING),
            ("Made", output.time(node["created_at"])),
        ]
    )


def _lun(lun: dict[str, Any]) -> str:
    of = f", snapshot {lun['snapshot']} (read-only)" if lun["snapshot"] else ""
    return f"{lun['number']}: {lun['vd']}{of}"
