"""The white paper's wizard for a new job: options answer its questions, a terminal is asked the others."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from qreplica.cli import asking, job_views, output

if TYPE_CHECKING:
    from qreplica.cli.client import Client


@dataclass(frozen=True, slots=True)
class Portal:
    """Where the target's peer conversation is."""

    address: str
    peer_port: int


@dataclass(frozen=True, slots=True)
class Given:
    """What the options of ``job create`` say."""

    name: str
    source_vd: str | None
    address: str | None
    port: int
    peer_port: int
    node: str | None
    chap_user: str | None
    chap_file: str | None
    mutual_user: str | None
    mutual_file: str | None
    lun: int | None
    vd: str | None
    rpo_minutes: int | None = None
    plain: bool = False
    overwrite: str | None = None
    comment: str = ""


def complete(api: "Client", given: Given) -> dict[str, Any]:
    """Return the request that makes the job."""
    source = given.source_vd or _source_vd(api)
    address = asking.value(given.address, "Address of an iSCSI port of the target", option="--address")
    portal = Portal(address, given.peer_port)
    if given.plain:
        # There is nobody to ask what the target offers.
        node, wants_chap = asking.value(given.node, "iSCSI node of the disk: its IQN", option="--node"), False
    else:
        node, wants_chap = _node(api, portal, given.node)
    user = given.chap_user
    if user is None and wants_chap:
        user = asking.value(None, "CHAP name", option="--chap-user")
    body = node_body(portal, node, user, asking.chap_secret(user, given.chap_file))
    if given.mutual_user is not None:
        body["mutual_user"] = given.mutual_user
        body["mutual_secret"] = asking.mutual_secret(given.mutual_user, given.mutual_file)
    goal = {} if given.rpo_minutes is None else {"rpo_minutes": given.rpo_minutes}
    whole = {"name": given.name, "comment": given.comment, "source_vd": source, "port": given.port, **goal, **body}
    if given.plain:
        lun = given.lun if given.lun is not None else int(asking.value(None, "LUN of the disk", option="--lun"))
        overwrite = {} if given.overwrite is None else {"overwrite": given.overwrite}
        return {**whole, "lun": lun, "plain": True, **overwrite}
    return {**whole, "lun": given.lun if given.lun is not None else _lun(api, body, source, given.vd)}


def node_body(portal: Portal, node: str, user: str | None, secret: str | None) -> dict[str, Any]:
    """Return the part of a request that names a target's node and logs in to it."""
    body = {**asdict(portal), "node": node, "chap_user": user, "chap_secret": secret}
    return {key: value for key, value in body.items() if value is not None}


def _source_vd(api: "Client") -> str:
    vds = api.get("/qreplica/source-vds")
    name: str = _chosen(vds, job_views.source_vds, _of_source, "VD to replicate", option="--source-vd")["name"]
    return name


def _of_source(vd: dict[str, Any]) -> str:
    return f"{vd['name']}, {output.size(vd['size'])}"


def _node(api: "Client", portal: Portal, given: str | None) -> tuple[str, bool]:
    """Return the node's IQN, and whether it asks for CHAP; one that is given is not looked for."""
    if given is not None:
        return given, False
    found = api.post("/jobs/discover", asdict(portal))
    chosen = _chosen(
        found["nodes"],
        lambda _: job_views.nodes(found),
        lambda one: f"{one['iqn']}{' (CHAP)' if one['chap'] else ''}",
        "iSCSI node to log on to",
        option="--node",
    )
    return chosen["iqn"], chosen["chap"]


def _lun(api: "Client", body: dict[str, Any], source: str, vd: str | None) -> int:
    """Return the LUN of the backup VD called ``vd``, or of the one that is chosen."""
    query = {key: value for key, value in body.items() if not key.startswith("mutual")}
    found = api.post("/jobs/backup-vds", {**query, "source_vd": source})
    named = [one for one in found["vds"] if one["name"] == vd]
    if len(named) == 1:
        # Whether it may be is for the creation to say.
        return int(named[0]["lun"])
    chosen = _chosen(
        [] if vd else found["vds"],
        lambda _: job_views.backup_vds(found),
        lambda one: f"LUN {one['lun']}: {one['name']}, {output.size(one['size'])}",
        "Backup VD",
        option="--vd" if vd else "--lun or --vd",
    )
    return int(chosen["lun"])


def _chosen(
    found: list[dict[str, Any]],
    view: Callable[[list[dict[str, Any]]], RenderableType],
    line: Callable[[dict[str, Any]], str],
    question: str,
    *,
    option: str,
) -> dict[str, Any]:
    """Return the one that is chosen of those that qualify; whoever chooses on a terminal sees why the others do not."""
    fitting = [one for one in found if one["qualifies"]]
    if len(fitting) != len(found) and asking.on_terminal():
        output.console(error=True).print(view(found))
    others = [str(one["reason"]) for one in found if not one["qualifies"]]
    return fitting[asking.choice([line(one) for one in fitting], question, option=option, others=others)]
