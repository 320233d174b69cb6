"""What a source sees of the target before it claims anything."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.peer.messages import BackupVd, BackupVdList, NodeEntry, NodeList
from qreplica.replication.recovery_claims import NOBODY, holder_of_vd, last_epoch, node_by_iqn, obstacle
from qreplica.replication.recovery_points import as_message, newest
from qreplica.state.models import Claim, Node, Subsystem, VdType
from qreplica.state.promotion_models import Promotion


def nodes(session: Session, controller: int) -> NodeList:
    """Return the nodes that hold backup VDs, or held those that were promoted, and no others: anybody may ask."""
    subsystem = session.scalars(select(Subsystem)).one()
    promoted = set(session.scalars(select(Claim.node_id).join(Promotion, Promotion.vd_id == Claim.vd_id)))
    entries = []
    for node in session.scalars(select(Node).order_by(Node.iqn)):
        count = sum(lun.vd.type is VdType.BACKUP and lun.snapshot_id is None for lun in node.luns)
        if count or node.id in promoted:
            entries.append(NodeEntry(iqn=node.iqn, chap=node.chap_user is not None, backup_vds=count))
    return NodeList(subsystem=subsystem.name, subsystem_id=subsystem.id, controller=controller, nodes=entries)


def backup_vds(session: Session, iqn: str) -> BackupVdList:
    """Return the VDs that the node shows; snapshots are left out. Raises NoSuchNode."""
    node = node_by_iqn(session, iqn)
    subsystem = session.scalars(select(Subsystem)).one()
    vds = []
    for lun in node.luns:
        if lun.snapshot_id is not None:
            continue
        holder, refused = holder_of_vd(session, lun.vd_id), obstacle(session, lun, NOBODY)
        held = newest(session, lun.vd_id, NOBODY if holder is None else holder.job_id)
        vds.append(
            BackupVd(
                lun=lun.number,
                vd=lun.vd_id,
                name=lun.vd.name,
                type=lun.vd.type,
                size=lun.vd.size,
                serial=lun.vd.serial,
                claimed_by=None if holder is None else holder.job_id,
                refusal=None if refused is None else refused.sentence,
                epoch=last_epoch(session, lun.vd_id, node.id),
                held=None if held is None else as_message(held),
                held_of=None if held is None else held.job_id,
            )
        )
    return BackupVdList(subsystem=subsystem.name, subsystem_id=subsystem.id, vds=vds)
