"""Why what the wizard lists cannot be chosen: for a new job, and for a further path of one."""

from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.peer.messages import BackupVdList, NodeList
from qreplica.replication import jobs
from qreplica.replication.errors import PathToAnotherNode
from qreplica.replication.going_back import continued
from qreplica.replication.links import target_in
from qreplica.replication.multipath import vd_obstacle as path_obstacle
from qreplica.replication.qualifying import node_obstacle, vd_obstacle
from qreplica.storage import virtual_disks


def of_nodes(session: Session, found: NodeList, job: str | None = None) -> list[str | None]:
    """Return for each node why it cannot be logged on to, None where it can; ``job`` is whose path it is for, if any.

    Raises NotFound.
    """
    return [_sentence(_of_node(session, node.iqn, job)) for node in found.nodes]


def of_backup_vds(
    session: Session,
    found: BackupVdList,
    node: str,
    address: str,
    *,
    source_vd: str | None = None,
    job: str | None = None,
) -> list[str | None]:
    """Return for each VD why it cannot be chosen, None where it can; without ``source_vd`` sizes are not judged.

    ``job`` is whose path it is for, if any. Raises NotFound.
    """
    needed = None if source_vd is None else virtual_disks.get(session, source_vd).size
    of_node = _of_node(session, node, job)
    if of_node is not None:
        return [of_node.sentence] * len(found.vds)
    if job is None:
        return [_sentence(vd_obstacle(found, vd, node, needed)) for vd in found.vds]
    own = jobs.get(session, job)
    target = target_in(session, own, own.controller)
    return [_sentence(path_obstacle(vd, target, address, own.target_vd_name)) for vd in found.vds]


def continuing(session: Session, found: BackupVdList, source_vd: str | None) -> list[int | None]:
    """Return for each VD the generation from which a new job goes on to it; None where it begins with a full copy."""
    if source_vd is None:
        return [None] * len(found.vds)
    source = virtual_disks.get(session, source_vd).id
    since = [continued(session, source, vd) for vd in found.vds]
    return [None if one is None else one.generation for one in since]


def _of_node(session: Session, node: str, job: str | None) -> QReplicaError | None:
    if job is None:
        return node_obstacle(session, node)
    expected = jobs.get(session, job).target_node
    return None if node == expected else PathToAnotherNode(found=node, job=job, expected=expected)


def _sentence(error: QReplicaError | None) -> str | None:
    return None if error is None else error.sentence
