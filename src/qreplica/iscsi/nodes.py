"""iSCSI nodes, their LUNs, CHAP and access lists; and what each target daemon is to serve."""

import secrets
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.errors import NotFound, QReplicaError
from qreplica.iscsi.service_errors import (
    BackupVdAttached,
    ChapNameTaken,
    LunClaimed,
    LunNumberInvalid,
    LunTaken,
    NodeHasLuns,
    NodeMixed,
    NoSuchLun,
)
from qreplica.iscsi.target.driver import LARGEST_TID, Credentials, Identity, LunSpec, NodeSpec, scsi_id_for
from qreplica.names import ChapIncomplete, check_chap, check_initiator, check_iqn, check_name
from qreplica.state.models import Claim, HeldBack, Lun, Node, NodeInitiator, Subsystem, VdType
from qreplica.storage import snapshots, virtual_disks
from qreplica.storage.driver import StorageDriver
from qreplica.storage.service_errors import NameTaken

VENDOR = "QREPLICA"
PRODUCT = "VIRTUAL-DISK"
_LARGEST_LUN = 255


def create(
    session: Session,
    *,
    name: str,
    iqn: str | None = None,
    chap_user: str | None = None,
    chap_secret: str | None = None,
    mutual_user: str | None = None,
    mutual_secret: str | None = None,
    initiators: Sequence[str] | None = None,
) -> Node:
    """Make a node. ``initiators`` are the names admitted, None admits all; ``iqn`` is made from names when not given.

    Raises NotAName, NotAnIqn, NameTaken, ChapNameInvalid, ChapSecretInvalid, ChapIncomplete, ChapNameTaken.
    """
    check_name(name, "node")
    if session.scalar(select(Node).where(Node.name == name)):
        raise NameTaken(what="node", name=name)
    iqn = check_iqn(iqn or _own_iqn(session, name))
    if session.scalar(select(Node).where(Node.iqn == iqn)):
        raise NameTaken(what="node", name=iqn)
    node = Node(name=name, iqn=iqn, tid=_free_tid(session), open_to_all=True)
    set_chap(
        session,
        node,
        chap_user=chap_user,
        chap_secret=chap_secret,
        mutual_user=mutual_user,
        mutual_secret=mutual_secret,
    )
    _admit(node, initiators)
    session.add(node)
    session.flush()
    return node


def _own_iqn(session: Session, name: str) -> str:
    subsystem = session.scalars(select(Subsystem)).one()
    return f"{subsystem.iqn_prefix}:{subsystem.name}.{name}".replace("_", "-")


def _free_tid(session: Session) -> int:
    """Return a random number that no node has: tgtd makes one of a disk's designators from it."""
    while True:
        tid = secrets.randbelow(LARGEST_TID) + 1
        if session.scalar(select(Node).where(Node.tid == tid)) is None:
            return tid


def set_chap(
    session: Session,
    node: Node,
    *,
    chap_user: str | None,
    chap_secret: str | None,
    mutual_user: str | None = None,
    mutual_secret: str | None = None,
) -> None:
    """Set, or with None take away, what initiators prove and what the node proves. Raises as ``create`` does."""
    check_chap(chap_user, chap_secret)
    check_chap(mutual_user, mutual_secret)
    if mutual_user is not None and chap_user is None:
        raise ChapIncomplete(reason="mutual CHAP was given alone")
    if mutual_user is not None and (mutual_user == chap_user or mutual_secret == chap_secret):
        raise ChapIncomplete(reason="both directions have the same name or secret (RFC 7143, 12.1.2)")
    for user, secret in ((chap_user, chap_secret), (mutual_user, mutual_secret)):
        if user is not None:
            _refuse_other_secret(session, node, user, secret)
    node.chap_user, node.chap_secret = chap_user, chap_secret
    node.mutual_user, node.mutual_secret = mutual_user, mutual_secret


def _refuse_other_secret(session: Session, node: Node, user: str, secret: str | None) -> None:
    with session.no_autoflush:
        others = session.scalars(select(Node).where((Node.chap_user == user) | (Node.mutual_user == user))).all()
    for other in others:
        if other is node:
            continue
        known = {other.chap_user: other.chap_secret, other.mutual_user: other.mutual_secret}
        if known[user] != secret:
            raise ChapNameTaken(user=user, node=other.name)


def set_initiators(session: Session, node: Node, initiators: Sequence[str] | None) -> None:
    """Admit exactly these initiator names, or with None all. A node with backup VDs admits only who claimed them.

    Whoever is no longer admitted is cut off: the node's sessions end, and those still admitted come back by themselves.
    Raises NotAnInitiator.
    """
    before = None if node.open_to_all else {row.initiator for row in node.initiators}
    _admit(node, initiators)
    narrowed = initiators is not None and (before is None or not before <= set(initiators))
    if narrowed and not for_replication(node):
        _end_sessions(session, node)


def _admit(node: Node, initiators: Sequence[str] | None) -> None:
    names = {check_initiator(initiator) for initiator in initiators or ()}
    node.open_to_all = initiators is None
    kept = [row for row in node.initiators if row.initiator in names]
    new = names - {row.initiator for row in kept}
    node.initiators = [*kept, *(NodeInitiator(initiator=name) for name in sorted(new))]


def _end_sessions(session: Session, node: Node) -> None:
    """Give the node a new number: target daemons then make it anew, which ends every session and half-done login."""
    node.tid = _free_tid(session)


def delete(session: Session, name: str) -> None:
    """Delete a node without LUNs. Raises NotFound, NodeHasLuns."""
    node = get(session, name)
    if node.luns:
        raise NodeHasLuns(node=name, count=len(node.luns))
    for claim in session.scalars(select(Claim).where(Claim.node_id == node.id)):
        session.delete(claim)
    session.flush()
    session.delete(node)


def get(session: Session, name: str) -> Node:
    """Return the node. Raises NotFound."""
    node = session.scalar(select(Node).where(Node.name == name))
    if node is None:
        raise NotFound(what="node", name=name, noun="node")
    return node


def listing(session: Session) -> list[Node]:
    """Return all nodes by name."""
    return list(session.scalars(select(Node).order_by(Node.name)))


def luns(session: Session) -> list[Lun]:
    """Return all LUNs by node and number."""
    return list(session.scalars(select(Lun).join(Node, Node.id == Lun.node_id).order_by(Node.name, Lun.number)))


def attach(session: Session, *, node: str, vd: str, lun: int | None = None, snapshot: str | None = None) -> Lun:
    """Show a VD, or read-only one of its snapshots or recovery points, as a LUN of a node (else the next free).

    Raises NotFound, NoSuchSnapshot, LunNumberInvalid, LunTaken, BackupVdAttached, NodeMixed.
    """
    on = get(session, node)
    disk = virtual_disks.get(session, vd)
    frozen = snapshots.get(session, vd, snapshot) if snapshot is not None else None
    taken = {existing.number for existing in on.luns}
    number = lun if lun is not None else next((n for n in range(1, _LARGEST_LUN + 1) if n not in taken), 0)
    refuse_number(on, number)
    backup = disk.type is VdType.BACKUP and frozen is None
    for existing in disk.luns if backup else ():
        if existing.snapshot_id is None:
            raise BackupVdAttached(vd=vd, lun=existing.number, node=existing.node.name)
    for existing in on.luns:
        if _is_backup(existing) != backup:
            raise NodeMixed(vd=vd, node=node)
    if backup and not on.luns:
        # Sessions that hosts began before the node held backup VDs must not see one.
        _end_sessions(session, on)
    made = Lun(node=on, number=number, vd=disk, snapshot=frozen)
    session.add(made)
    session.flush()
    return made


def refuse_number(node: Node, lun: int) -> None:
    """Raise LunNumberInvalid, LunTaken unless the node could show something under that number."""
    if not 1 <= lun <= _LARGEST_LUN:
        raise LunNumberInvalid(lun=lun, node=node.name)
    for existing in node.luns:
        if existing.number == lun:
            raise LunTaken(lun=lun, node=node.name, vd=existing.vd.name)


def for_replication(node: Node) -> bool:
    """Tell whether the node shows backup VDs: it then admits only the worker of the job that claimed them."""
    return any(_is_backup(lun) for lun in node.luns)


def _is_backup(lun: Lun) -> bool:
    return lun.vd.type is VdType.BACKUP and lun.snapshot_id is None


def detach(session: Session, *, node: str, lun: int) -> None:
    """Take a LUN away from its node. Raises NotFound, NoSuchLun, LunClaimed."""
    on = get(session, node)
    row = next((existing for existing in on.luns if existing.number == lun), None)
    if row is None:
        raise NoSuchLun(node=node, lun=lun)
    claim = session.get(Claim, row.vd_id)
    if _is_backup(row) and claim is not None and claim.job_id:
        raise LunClaimed(lun=lun, node=node, job=claim.job_id)
    session.delete(row)
    session.flush()
    session.expire(on)


def spec(session: Session, driver: StorageDriver, node: Node, left_out: list[QReplicaError] | None = None) -> NodeSpec:
    """Return what target daemons are to serve for the node.

    A LUN whose file is not there raises the driver's error; with ``left_out`` it is left out, and its error put there.
    A VD that is held back is left out.
    """
    held_back = set(session.scalars(select(HeldBack.vd_id)))
    luns = []
    for lun in node.luns:
        if lun.snapshot_id is None and lun.vd_id in held_back:
            continue
        try:
            luns.append(_lun_spec(driver, lun))
        except QReplicaError as error:
            if left_out is None:
                raise
            left_out.append(error)
    return NodeSpec(
        tid=node.tid,
        iqn=node.iqn,
        luns=tuple(luns),
        initiators=_admitted(session, node),
        chap=_credentials(node.chap_user, node.chap_secret),
        mutual_chap=_credentials(node.mutual_user, node.mutual_secret),
    )


def _admitted(session: Session, node: Node) -> frozenset[str] | None:
    """Return who may log in: on a node with backup VDs whoever claimed last, or nobody; None means all."""
    if for_replication(node):
        return frozenset(session.scalars(select(Claim.initiator).where(Claim.node_id == node.id)))
    if node.open_to_all:
        return None
    return frozenset(row.initiator for row in node.initiators)


def _lun_spec(driver: StorageDriver, lun: Lun) -> LunSpec:
    group = lun.vd.raid_group_id
    if lun.snapshot_id is None:
        path, serial = driver.vd_path(group, lun.vd_id), lun.vd.serial
    else:
        path, serial = driver.snapshot_path(group, lun.vd_id, lun.snapshot_id), lun.snapshot_id
    identity = Identity(VENDOR, PRODUCT, serial, scsi_id_for(VENDOR, serial))
    return LunSpec(lun.number, path, identity, read_only=lun.snapshot_id is not None or lun.vd.write_protected)


def _credentials(user: str | None, secret: str | None) -> Credentials | None:
    return Credentials(user, secret) if user is not None and secret is not None else None
