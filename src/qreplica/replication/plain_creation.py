"""Makes a job to a plain target: an iSCSI disk of another maker, chosen on purpose and with every check before."""

from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.orm import Session as SqlSession

from qreplica.events import log
from qreplica.iscsi.initiator import Chap
from qreplica.names import check_name
from qreplica.replication import creation, lags, plain_disks, plain_probe
from qreplica.replication.lag import check_rpo
from qreplica.replication.links import Target, Way, claim_of, target_of
from qreplica.replication.offers import PEER_PORT
from qreplica.replication.plain_disks import Disk, Place
from qreplica.replication.plain_errors import PlainTargetUsed
from qreplica.replication.plain_guarantees import missing
from qreplica.replication.plain_links import JobLinks, log_in, place_of
from qreplica.state.database import Database
from qreplica.state.models import Job, Path, Severity
from qreplica.state.plain_models import PlainTarget
from qreplica.storage.driver import StorageDriver


def create_plain(
    database: Database,
    storage: StorageDriver,
    *,
    name: str,
    source_vd: str,
    address: str,
    node: str,
    lun: int,
    chap: Chap | None = None,
    mutual: Chap | None = None,
    controller: int = 1,
    port: int = 3260,
    peer_port: int = PEER_PORT,
    rpo_minutes: int | None = None,
    comment: str = "",
    overwrite: str | None = None,
) -> Job:
    """Make a job that replicates ``source_vd`` to the disk at ``lun`` of another maker's ``node``.

    ``overwrite`` is the disk's identity, which confirms that what it holds may be lost. All is checked first, by
    reading; then job and snapshot space are written down and the disk is reserved, where it offers that. If that fails,
    all is taken back.

    Raises NotAName, RpoWrong, NameTaken, NotFound, SourceIsBackup, NodeLoggedOn, SnapshotSpaceShort, PlainTargetIsOurs,
    PlainTargetUsed, what ``plain_disks.look``, ``check`` and ``check_empty``, ``PlainPeer.claim`` and
    ``Session.connect`` do.
    """
    check_name(name, "replication job")
    check_rpo(rpo_minutes)
    creation.check_log_on(chap, mutual)
    way = Way(address, port, peer_port)
    portal = way.portal
    with database.session(read_only=True) as session:
        size = creation.check_source(session, storage, name, source_vd, node).size
        target = plain_probe.target_to_be(
            session, name, node, lun, way, chap=chap, mutual=mutual, controller=controller
        )
    place = place_of(target, way)
    plain_probe.refuse_ours(target, way, place)
    with log_in(target, way) as link:
        disk = plain_disks.look(link, place)
        with database.session(read_only=True) as session:
            _refuse_used(session, disk, place)
        plain_disks.check(link, disk, place, size)
        plain_disks.check_empty(link, disk, place, overwrite)
    job = _row(target, disk, controller)
    job.comment = comment
    job.paths = [Path(position=0, address=portal.address, port=port, peer_port=peer_port)]
    with database.session() as session:
        vd, given = creation.check_here(session, name, source_vd, node)
        _refuse_used(session, disk, place)
        vd.snapshot_space += given
        job.source_vd_id = vd.id
        session.add(job)
        session.flush()
        lags.row_of(session, job).rpo_minutes = rpo_minutes
        session.add(PlainTarget(job_id=job.id, disk=disk.identity, fenced=disk.fenced))
    links = JobLinks(database, controller)
    with creation.undone_on_failure(database, job, given, links):
        whole = target_of(database, job.id, controller)
        peer = links.peer(whole, whole.ways[0])
        try:
            peer.claim(node, claim_of(whole, job.epoch, size))
        finally:
            peer.close()
    with database.session() as session:
        message = (
            f"It replicates “{source_vd}” to disk {disk.identity} of {disk.maker}, a plain target with "
            f"{missing(fenced=disk.fenced)}."
        )
        log.record(session, Severity.WARNING, "job-created", f"job {name}", message, controller=controller)
        return session.get_one(Job, job.id)


def _refuse_used(session: SqlSession, disk: Disk, place: Place) -> None:
    query = select(Job.name).join(PlainTarget, PlainTarget.job_id == Job.id).where(PlainTarget.disk == disk.identity)
    other = session.scalar(query)
    if other is not None:
        raise PlainTargetUsed(disk=disk.identity, lun=place.lun, node=place.node, job=other)


def _row(target: Target, disk: Disk, controller: int) -> Job:
    return Job(
        id=target.job,
        name=target.job_name,
        target_subsystem="",
        target_subsystem_name=disk.maker,
        target_node=target.node,
        target_lun=target.lun,
        target_vd=sha256(disk.identity.encode()).hexdigest()[:32],
        target_vd_name=disk.identity,
        target_serial=disk.identity,
        target_size=disk.size,
        chap_user=target.chap.user if target.chap else None,
        chap_secret=target.chap.secret if target.chap else None,
        mutual_user=target.mutual.user if target.mutual else None,
        mutual_secret=target.mutual.secret if target.mutual else None,
        controller=controller,
        epoch=1,
    )
