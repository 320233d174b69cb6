"""Who holds a backup VD, on the target: the rules of the ``claims`` table.

One row per backup VD ever claimed. After a release the row stays, so that the epoch is not forgotten and an owner of
long ago cannot come back: its ``job_id`` is then empty and its ``initiator`` a random name, which nobody has.

The live backup VD is in one of three states:

* clean (no ``generation``): it is the newest recovery point, if there is one;
* in progress (``generation`` and ``manifest``): it holds a part of that generation, and what was durable stands;
* unknown (``generation`` without ``manifest``): it is to be rolled back before anything is applied to it.
"""

import secrets

from sqlalchemy import or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.iscsi.target.driver import LARGEST_TID
from qreplica.peer import messages
from qreplica.peer.errors import NoSuchNode, PeerBusy
from qreplica.replication.recovery_errors import (
    AttachedTwice,
    ClaimedByAnother,
    LunEmpty,
    NotABackupVd,
    NotClaimed,
    StaleEpoch,
    Superseded,
    VdDetached,
    VdMismatch,
)
from qreplica.state.models import Claim, HeldBack, Lun, Node, Subsystem, VdType, VirtualDisk
from qreplica.state.promotion_models import Promotion

#: ``job_id`` of a row whose backup VD nobody holds.
NOBODY = ""


def holder_of_vd(session: Session, vd_id: str) -> Claim | None:
    """Return the claim of the job that holds the VD, None when nobody does."""
    return session.scalar(select(Claim).where(Claim.vd_id == vd_id, Claim.job_id != NOBODY))


def holder_of_node(session: Session, node_id: str) -> Claim | None:
    """Return the claim of the job that may log on to the node, None when nobody may."""
    return session.scalar(select(Claim).where(Claim.node_id == node_id, Claim.job_id != NOBODY))


def last_epoch(session: Session, vd_id: str, node_id: str) -> int:
    """Return the epoch that a new claim must exceed; 0 before any. Counted over VD and node, whichever moved."""
    epochs = session.scalars(select(Claim.epoch).where(or_(Claim.vd_id == vd_id, Claim.node_id == node_id)))
    return max(epochs, default=0)


def node_by_iqn(session: Session, iqn: str) -> Node:
    """Return the node. Raises NoSuchNode."""
    node = session.scalar(select(Node).where(Node.iqn == iqn))
    if node is None:
        raise NoSuchNode(node=iqn)
    return node


def lun_of(session: Session, node: Node, number: int) -> Lun:
    """Return what the node shows under the number. Raises LunEmpty."""
    lun = session.scalar(select(Lun).where(Lun.node_id == node.id, Lun.number == number))
    if lun is None:
        raise LunEmpty(node=node.iqn, lun=number)
    return lun


def claimable(session: Session, node: Node, message: messages.Claim) -> VirtualDisk:
    """Return the backup VD that the message asks for.

    It may be smaller than the source VD: it follows when a generation is begun. Raises LunEmpty, NotABackupVd,
    VdMismatch, AttachedTwice, ClaimedByAnother, StaleEpoch, Superseded, and PeerBusy while it is rolled back.
    """
    _refuse_superseded(session, message)
    lun = lun_of(session, node, message.lun)
    vd = lun.vd
    error = _no_backup_vd(lun)
    if error is None and vd.id != message.vd:
        error = VdMismatch(lun=message.lun, node=node.iqn, present=vd.name)
    error = error or _taken(session, lun, message.job)
    if error is not None:
        raise error
    last = last_epoch(session, vd.id, node.id)
    if message.epoch <= last:
        raise StaleEpoch(epoch=message.epoch, job=message.job, vd=vd.name, current=last)
    return vd


def obstacle(session: Session, lun: Lun, job: str) -> QReplicaError | None:
    """Return why the job, or with NOBODY a new one, may not claim what the LUN shows; None if it may."""
    return _no_backup_vd(lun) or _taken(session, lun, job)


def _no_backup_vd(lun: Lun) -> QReplicaError | None:
    if lun.snapshot_id is not None:
        return NotABackupVd(lun=lun.number, node=lun.node.iqn, what=f"a snapshot of “{lun.vd.name}”")
    if lun.vd.type is not VdType.BACKUP:
        return NotABackupVd(lun=lun.number, node=lun.node.iqn, what=f"“{lun.vd.name}” of type {lun.vd.type}")
    return None


def _taken(session: Session, lun: Lun, job: str) -> QReplicaError | None:
    """Return what else has the backup VD, or its node."""
    node, vd = lun.node, lun.vd
    for other in vd.luns:
        if other.node_id != node.id and other.snapshot_id is None:
            return AttachedTwice(vd=vd.name, node=node.iqn, other=other.node.iqn)
    for holder, what, name in (
        (holder_of_vd(session, vd.id), "Backup VD", vd.name),
        (holder_of_node(session, node.id), "iSCSI node", node.iqn),
    ):
        if holder is not None and (holder.job_id != job or holder.vd_id != vd.id):
            return ClaimedByAnother(what=what, name=name, holder=holder.job_id)
    is_busy = session.get(HeldBack, vd.id) is not None or session.get(Promotion, vd.id) is not None
    return PeerBusy(vd=vd.name) if is_busy else None


def _refuse_superseded(session: Session, message: messages.Claim) -> None:
    row = session.get(Promotion, message.vd)
    if row is not None and row.job_id == message.job:
        raise Superseded(vd=row.vd.name, at=row.told_at, generation=row.generation, epoch=row.epoch)


def take(session: Session, node: Node, vd: VirtualDisk, message: messages.Claim) -> None:
    """Write the new owner down: epoch, initiator name, and a new tid for the node.

    Whether what is in progress may be gone on with is kept only for the same job. Raises PeerBusy when another
    claim was written at the same moment.
    """
    former = session.scalar(select(Claim).where(Claim.node_id == node.id, Claim.vd_id != vd.id))
    if former is not None:
        session.delete(former)
        session.flush()
    row = session.get(Claim, vd.id)
    owner = {
        "node_id": node.id,
        "job_id": message.job,
        "source_subsystem": message.source_subsystem,
        "epoch": message.epoch,
        "initiator": f"{_prefix(session)}:job-{message.job}:e{message.epoch}",
    }
    if row is None:
        session.add(Claim(vd_id=vd.id, generation=0, **owner))
    else:
        if row.job_id != message.job:
            row.generation, row.manifest = row.generation or 0, None
        change(session, row, vd, **owner)
    renumber(session, node)
    try:
        session.flush()
    except IntegrityError as error:
        raise PeerBusy(vd=vd.name) from error


def change(session: Session, row: Claim, vd: VirtualDisk, **values: object) -> None:
    """Change the row, if nobody has changed its epoch since it was read. Raises PeerBusy otherwise.

    SQLite lets nobody do so within a transaction that writes; PostgreSQL does.
    """
    session.flush()
    statement = update(Claim).where(Claim.vd_id == row.vd_id, Claim.epoch == row.epoch).values(**values)
    if session.execute(statement).rowcount != 1:  # type: ignore[attr-defined] # every UPDATE's result has it
        raise PeerBusy(vd=vd.name)


def let_go(session: Session, row: Claim, node: Node, vd: VirtualDisk) -> None:
    """Write down that nobody holds the VD; what is in progress is to be rolled back."""
    values: dict[str, object] = {"job_id": NOBODY, "initiator": f"{_prefix(session)}:nobody-{secrets.token_hex(16)}"}
    if row.generation is not None:
        values["manifest"] = None
    change(session, row, vd, **values)
    renumber(session, node)


def owned(session: Session, node: Node, job: str, epoch: int) -> tuple[Claim, VirtualDisk]:
    """Return the claim and VD that the job holds on the node at this epoch. Raises NotClaimed, StaleEpoch."""
    row = holder_of_node(session, node.id)
    if row is None or row.job_id != job or row.epoch < epoch:
        raise NotClaimed(job=job, node=node.iqn)
    vd = session.get_one(VirtualDisk, row.vd_id)
    if row.epoch != epoch:
        raise StaleEpoch(epoch=epoch, job=job, vd=vd.name, current=row.epoch)
    return row, vd


def to_roll_back(session: Session, vd_id: str, initiator: str) -> VirtualDisk:
    """Return the VD, whose live state is unknown still and whose claim has that initiator. Raises PeerBusy otherwise.

    An initiator's name never comes back, not even for a VD that nobody holds.
    """
    row, vd = session.get_one(Claim, vd_id), session.get_one(VirtualDisk, vd_id)
    if row.initiator != initiator or row.generation is None or row.manifest is not None:
        raise PeerBusy(vd=vd.name)
    return vd


def attachment(session: Session, node: Node, vd: VirtualDisk) -> int:
    """Return the LUN number under which the node shows the live VD. Raises VdDetached."""
    number = session.scalar(
        select(Lun.number).where(Lun.node_id == node.id, Lun.vd_id == vd.id, Lun.snapshot_id.is_(None))
    )
    if number is None:
        raise VdDetached(vd=vd.name, node=node.iqn)
    return number


def renumber(session: Session, node: Node) -> None:
    """Give the node a new random tid, so that logins half done under the old one die."""
    used = set(session.scalars(select(Node.tid)))
    tid = node.tid
    while tid in used:
        tid = 1 + secrets.randbelow(LARGEST_TID)
    node.tid = tid


def _prefix(session: Session) -> str:
    return session.scalars(select(Subsystem.iqn_prefix)).one()
