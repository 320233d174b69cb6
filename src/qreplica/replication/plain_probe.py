"""Finds out whose disk a target shows, before there is a job. Only reads."""

from sqlalchemy import select
from sqlalchemy.orm import Session as SqlSession

from qreplica.errors import QReplicaError
from qreplica.iscsi.initiator import Chap
from qreplica.peer.client import PeerClient
from qreplica.peer.errors import PeerFailed
from qreplica.replication import plain_disks
from qreplica.replication.links import Plain, Target, Way, initiator_here, qreplica_interface
from qreplica.replication.plain_disks import Place
from qreplica.replication.plain_errors import ForeignDisk, PlainTargetIsOurs
from qreplica.replication.plain_guarantees import missing
from qreplica.replication.plain_links import log_in, place_of
from qreplica.replication.probing import PATIENCE
from qreplica.state.models import Subsystem, new_id


def foreign_disk(target: Target, way: Way) -> ForeignDisk | None:
    """Return why a job to a backup VD cannot be made when what answers is a disk of another maker; None if not so.

    For a target with which the peer conversation failed.
    """
    try:
        with log_in(target, way, PATIENCE) as link:
            disk = plain_disks.look(link, place_of(target, way))
    except QReplicaError:
        return None
    return ForeignDisk(
        lun=target.lun,
        node=target.node,
        address=way.address,
        maker=disk.maker,
        disk=disk.identity,
        missing=missing(fenced=disk.fenced),
    )


def target_to_be(
    session: SqlSession,
    name: str,
    node: str,
    lun: int,
    way: Way,
    *,
    chap: Chap | None,
    mutual: Chap | None,
    controller: int,
) -> Target:
    """Return a target of a job to come, to log in to."""
    subsystem = session.scalars(select(Subsystem)).one()
    return Target(
        job=new_id(),
        job_name=name,
        subsystem=subsystem.id,
        subsystem_name=subsystem.name,
        at="",
        at_name="",
        node=node,
        lun=lun,
        vd="",
        serial="",
        chap=chap,
        mutual=mutual,
        pairing_secret=None,
        ways=(way,),
        interface=qreplica_interface(session, controller),
        plain=Plain(initiator_here(session)),
    )


def refuse_ours(target: Target, way: Way, place: Place) -> None:
    """Raise PlainTargetIsOurs when a QReplica subsystem answers there, and has the node."""
    try:
        with PeerClient(way.address, way.peer_port, None, interface=target.interface, timeout=PATIENCE) as peer:
            here = peer.nodes()
    except PeerFailed:
        return
    if target.node in {one.iqn for one in here.nodes}:
        why = f"subsystem {here.subsystem} offers it for replication"
        raise PlainTargetIsOurs(address=place.address, node=place.node, lun=place.lun, why=why)
