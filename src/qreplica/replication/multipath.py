"""Adds paths to a job and removes them: the white paper's “Create multi-path”.

A new path has to lead to the very backup VD of the job. That is proved twice, and without a claim, which would cut a
running cycle off: in the signed peer conversation, and by logging in to the iSCSI portal under the name that the node
admits now, which reads who the disk is and writes nothing. While the node admits nobody (nobody has claimed it since it
was released) only the conversation proves it. Each cycle looks at the disk again before it writes.
"""

import ipaddress

from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.iscsi.errors import LoginRefused, SessionLost
from qreplica.iscsi.initiator import Portal
from qreplica.iscsi.nodes import VENDOR
from qreplica.iscsi.target.driver import scsi_id_for
from qreplica.peer.messages import BackupVd
from qreplica.replication.errors import (
    BackupVdClaimed,
    BackupVdMissing,
    LastPath,
    PathExists,
    PathMissing,
    PathToAnotherNode,
    PathToAnotherVd,
    WrongDisk,
)
from qreplica.replication.jobs import get
from qreplica.replication.links import (
    DiskSession,
    Links,
    NetworkLinks,
    Peer,
    Target,
    Way,
    check_claimed,
    check_serial,
    check_subsystem,
    target_of,
)
from qreplica.replication.offers import PEER_PORT
from qreplica.replication.plain_errors import PlainTargetHasOnePath
from qreplica.state.database import Database
from qreplica.state.models import Job, Path, Severity
from qreplica.state.plain_models import PlainTarget

_OF_THE_DISK = 0  # a designator's association (SPC-4, 7.8.6.1)
#: Logins under the name that a claim has replaced meanwhile.
_TRIES = 3


def add(
    database: Database,
    name: str,
    address: str,
    *,
    port: int = 3260,
    peer_port: int = PEER_PORT,
    node: str | None = None,
    lun: int | None = None,
    controller: int,
    links: Links | None = None,
) -> None:
    """Add a path to the job over an iSCSI port's address of its target, after the paths that it has.

    ``node`` and ``lun`` are what was chosen there, the job's own unless given. ``controller`` is the one that asks.
    Nothing is changed on the target, nor for a running cycle. Raises PortalInvalid, NotFound, PathExists,
    PlainTargetHasOnePath, PathToAnotherNode, PathToAnotherSubsystem, NodeNotOffered, BackupVdMissing, PathToAnotherVd,
    BackupVdClaimed, WrongDisk, and what ``PeerClient.backup_vds`` and ``Session.connect`` do.
    """
    portal = usual(address, port)
    links = links or NetworkLinks()
    with database.session(read_only=True) as session:
        job = get(session, name)
        _refuse_known(job, portal)
        if session.get(PlainTarget, job.id) is not None:
            raise PlainTargetHasOnePath(job=name)
        job_id, expected = job.id, job.target_vd_name
    if node not in {None, job.target_node}:
        raise PathToAnotherNode(found=node, job=name, expected=job.target_node)
    target = target_of(database, job_id, controller)
    prove(target, Way(portal.address, portal.port, peer_port), links, expected=expected, lun=lun)
    with database.session() as session:
        job = get(session, name)
        _refuse_known(job, portal)
        position = 1 + max(path.position for path in job.paths)
        job.paths.append(Path(position=position, address=portal.address, port=port, peer_port=peer_port))
        _record(session, job, "path-added", f"Path {portal} was added: it leads to “{expected}” too.", controller)


def prove(target: Target, way: Way, links: Links, *, expected: str, lun: int | None = None) -> None:
    """Raise unless the way leads to the job's very backup VD, which is called ``expected``: see ``add``.

    A node without CHAP that is yet to be paired answers the conversation only.
    """
    peer = links.peer(target, way)
    try:
        error = vd_obstacle(_backup_vd(peer, target, way, lun), target, way.address, expected)
        if error is not None:
            raise error
        if target.chap is not None or target.pairing_secret is not None:
            _check_disk(peer, links, target, way)
    finally:
        peer.close()


def remove(database: Database, name: str, address: str, port: int = 3260, *, controller: int) -> None:
    """Remove a path of the job; a cycle whose data goes over it goes on over another one within seconds.

    Raises PortalInvalid, NotFound, PathMissing, LastPath.
    """
    portal = usual(address, port)
    with database.session() as session:
        job = get(session, name)
        chosen = get_path(job, portal)
        if len(job.paths) == 1:
            raise LastPath(job=name, path=portal)
        job.paths.remove(chosen)
        _record(session, job, "path-removed", f"Path {portal} was removed.", controller)


def usual(address: str, port: int) -> Portal:
    """Return the portal, its address in the one usual spelling. Raises PortalInvalid."""
    return Portal(str(ipaddress.ip_address(Portal(address, port).address)), port)


def known(job: Job, portal: Portal) -> Path | None:
    """Return the job's path to the portal, None when it has none."""
    return next((path for path in job.paths if usual(path.address, path.port) == portal), None)


def get_path(job: Job, portal: Portal) -> Path:
    """Return the job's path to the portal. Raises PathMissing."""
    found = known(job, portal)
    if found is None:
        paths = ", ".join(str(usual(path.address, path.port)) for path in job.paths)
        raise PathMissing(job=job.name, path=portal, paths=paths)
    return found


def _refuse_known(job: Job, portal: Portal) -> None:
    if known(job, portal) is not None:
        raise PathExists(job=job.name, path=portal)


def _backup_vd(peer: Peer, target: Target, way: Way, lun: int | None) -> BackupVd:
    """Return what the LUN shows there."""
    here = peer.nodes()
    check_subsystem(here, target, way)
    wanted = target.lun if lun is None else lun
    offered = peer.backup_vds(target.node)
    found = next((one for one in offered.vds if one.lun == wanted), None)
    if found is None:
        luns = ", ".join(str(one.lun) for one in offered.vds) or "none"
        raise BackupVdMissing(node=target.node, subsystem=here.subsystem, lun=wanted, luns=luns)
    return found


def vd_obstacle(found: BackupVd, target: Target, address: str, expected: str) -> QReplicaError | None:
    """Return why no path can lead to the VD found at the address, None if it is the job's own, called ``expected``."""
    if (found.vd, found.serial, found.lun) != (target.vd, target.serial, target.lun):
        return PathToAnotherVd(
            found_lun=found.lun,
            node=target.node,
            address=address,
            found=found.name,
            found_serial=found.serial,
            job=target.job_name,
            expected=expected,
            expected_lun=target.lun,
            expected_serial=target.serial,
        )
    if found.claimed_by not in {None, target.job}:
        return BackupVdClaimed(vd=found.name, lun=found.lun, node=target.node, holder=found.claimed_by)
    return None


def _check_disk(peer: Peer, links: Links, target: Target, way: Way) -> None:
    """Log in as who is admitted now, beside the session that may carry data, and look at the disk."""
    for last in (*[False] * (_TRIES - 1), True):
        lineage = peer.lineage(target.node, target.lun)
        check_claimed(target, lineage)
        if not lineage.initiator:
            return
        try:
            with links.session(target, way, lineage.initiator) as session:
                _check_identity(session, target)
                return
        except (LoginRefused, SessionLost):
            # A cycle may have claimed anew in between, and the name with it.
            if last:
                raise


def _check_identity(session: DiskSession, target: Target) -> None:
    """Raise WrongDisk unless the LUN is the backup VD: its serial number (VPD page 0x80) and designator (page 0x83)."""
    check_serial(session, target)
    expected = scsi_id_for(VENDOR, target.serial)
    found = [one.text for one in session.identification(target.lun) if one.association == _OF_THE_DISK]
    if expected not in found:
        told = ", ".join(found) or "none"
        raise WrongDisk(lun=target.lun, node=target.node, what="designator", found=told, expected=expected)


def _record(session: Session, job: Job, kind: str, message: str, controller: int) -> None:
    log.record(session, Severity.INFO, kind, f"job {job.name}", message, controller=controller)
