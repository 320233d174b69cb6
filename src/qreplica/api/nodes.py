"""iSCSI nodes."""

from typing import Annotated, Self

from pydantic import Field

from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Name, SecretIn, Strict, Time, example, revealed
from qreplica.api.problems import problems
from qreplica.iscsi import nodes
from qreplica.peer import pairing
from qreplica.state.models import Node

router = administered("/nodes", "iscsi")

_NODE = {
    "id": "3b1c6dba0c4b4f0d8b2f8b8f1c0a9d11",
    "name": "backups",
    "iqn": "iqn.2026-11.org.qreplica:target:backups",
    "open_to_all": False,
    "for_replication": True,
    "initiators": [],
    "chap_user": "replica",
    "mutual_user": None,
    "paired": False,
    "luns": [{"number": 1, "vd": "payroll-copy", "snapshot": None}],
    "created_at": "2026-11-24T09:00:00.000Z",
}


class ChapRequest(Strict):
    """The CHAP of a node; without `chap_user` it asks for none."""

    model_config = example({"chap_user": "replica", "chap_secret": "twelve-or-more"})
    chap_user: Annotated[str | None, Field(description="What initiators must prove")] = None
    chap_secret: SecretIn | None = None
    mutual_user: Annotated[str | None, Field(description="What the node proves to initiators")] = None
    mutual_secret: SecretIn | None = None


class NodeRequest(ChapRequest):
    """A node to make."""

    model_config = example({"name": "backups", "chap_user": "replica", "chap_secret": "twelve-or-more"})
    name: Name
    iqn: Annotated[str | None, Field(description="Made from the subsystem's and the node's name when not given")] = None
    initiators: Annotated[
        list[str] | None, Field(description="The initiator names to admit; null admits every initiator")
    ] = None


class InitiatorsRequest(Strict):
    """Whom a node admits."""

    model_config = example({"initiators": ["iqn.1993-08.org.debian:01:host"]})
    initiators: Annotated[list[str] | None, Field(description="Initiator names; null admits every initiator")]


class NodeLun(Answer):
    """A LUN of a node."""

    number: int
    vd: str
    snapshot: Annotated[str | None, Field(description="The snapshot of the VD that is shown, read-only")]


class NodeAnswer(Answer):
    """A node; secrets are never shown."""

    model_config = example(_NODE)
    id: str
    name: str
    iqn: str
    open_to_all: Annotated[bool, Field(description="Whether every initiator is admitted (never to backup VDs)")]
    for_replication: Annotated[bool, Field(description="Whether it shows backup VDs: only their job is admitted then")]
    initiators: list[str]
    chap_user: str | None
    mutual_user: str | None
    paired: Annotated[bool, Field(description="Whether a job is paired with a node without CHAP")]
    luns: list[NodeLun]
    created_at: Time

    @classmethod
    def of(cls, node: Node) -> Self:
        """Return the answer that shows ``node``."""
        return cls(
            id=node.id,
            name=node.name,
            iqn=node.iqn,
            open_to_all=node.open_to_all,
            for_replication=nodes.for_replication(node),
            initiators=sorted(row.initiator for row in node.initiators),
            chap_user=node.chap_user,
            mutual_user=node.mutual_user,
            paired=node.pairing_secret is not None,
            luns=[
                NodeLun(number=lun.number, vd=lun.vd.name, snapshot=lun.snapshot.name if lun.snapshot else None)
                for lun in node.luns
            ],
            created_at=node.created_at,
        )


@router.get("", summary="List the nodes", responses=problems())
def list_nodes(services: TheServices) -> list[NodeAnswer]:
    """List all nodes by name."""
    with services.database.session(read_only=True) as session:
        return [NodeAnswer.of(node) for node in nodes.listing(session)]


@router.post("", summary="Make a node", status_code=201, responses=problems(409))
def create_node(request: NodeRequest, services: TheServices) -> NodeAnswer:
    """Make a node; the target daemon has it when the answer comes."""
    with services.database.session() as session:
        nodes.create(
            session,
            name=request.name,
            iqn=request.iqn,
            chap_user=request.chap_user,
            chap_secret=revealed(request.chap_secret),
            mutual_user=request.mutual_user,
            mutual_secret=revealed(request.mutual_secret),
            initiators=request.initiators,
        )
    services.reconcile()
    return show_node(request.name, services)


@router.get("/{name}", summary="Show a node", responses=problems(404))
def show_node(name: str, services: TheServices) -> NodeAnswer:
    """Show one node with its LUNs."""
    with services.database.session(read_only=True) as session:
        return NodeAnswer.of(nodes.get(session, name))


@router.put("/{name}/chap", summary="Set a node's CHAP", responses=problems(404, 409))
def set_chap(name: str, request: ChapRequest, services: TheServices) -> NodeAnswer:
    """Set what initiators must prove and what the node proves; what is left out is taken away."""
    with services.database.session() as session:
        nodes.set_chap(
            session,
            nodes.get(session, name),
            chap_user=request.chap_user,
            chap_secret=revealed(request.chap_secret),
            mutual_user=request.mutual_user,
            mutual_secret=revealed(request.mutual_secret),
        )
    services.reconcile()
    return show_node(name, services)


@router.put("/{name}/initiators", summary="Set whom a node admits", responses=problems(404))
def set_initiators(name: str, request: InitiatorsRequest, services: TheServices) -> NodeAnswer:
    """Set the initiator names that the node admits. One with backup VDs admits only the job that claimed them."""
    with services.database.session() as session:
        nodes.set_initiators(session, nodes.get(session, name), request.initiators)
    services.reconcile()
    return show_node(name, services)


@router.delete("/{name}/pairing", summary="Reset a node's pairing", status_code=204, responses=problems(404))
def reset_pairing(name: str, services: TheServices) -> None:
    """Forget the secret that a node without CHAP agreed on with a job; the next claim pairs anew."""
    with services.database.session() as session:
        pairing.reset_pairing(session, nodes.get(session, name))


@router.delete(
    "/{name}/claim",
    summary="Take a node's backup VD from its job",
    status_code=204,
    responses=problems(404, 503),
)
def release_claim(name: str, services: TheServices) -> None:
    """Cut off the job that holds the node's backup VD, for when its subsystem is gone.

    What the job had in progress is lost; its recovery points stay. The backup VD can then be detached, deleted or
    claimed by another job.
    """
    with services.database.session(read_only=True) as session:
        iqn = nodes.get(session, name).iqn
    services.recovery.release_by_force(iqn)


@router.delete("/{name}", summary="Delete a node", status_code=204, responses=problems(404, 409))
def delete_node(name: str, services: TheServices) -> None:
    """Delete a node without LUNs; the target daemon no longer has it when the answer comes."""
    with services.database.session() as session:
        nodes.delete(session, name)
    services.reconcile()
