"""Makes a replication job: the white paper's wizard, with every check before anything changes."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.iscsi.errors import ChapInvalid
from qreplica.iscsi.initiator import Chap
from qreplica.names import ChapIncomplete, check_chap, check_name
from qreplica.peer.errors import PeerFailed
from qreplica.peer.messages import BackupVd, BackupVdList
from qreplica.replication import lags, offers
from qreplica.replication.going_back import continued, go_on
from qreplica.replication.lag import check_rpo
from qreplica.replication.links import (
    Links,
    NetworkLinks,
    Way,
    check_claimed,
    check_disk,
    claim_of,
    qreplica_interface,
    target_of,
)
from qreplica.replication.plain_probe import foreign_disk, target_to_be
from qreplica.replication.qualifying import group_obstacle, node_obstacle, source_obstacle, space_to_give
from qreplica.replication.release import release
from qreplica.replication.store import JobStore
from qreplica.state.database import Database
from qreplica.state.models import Job, Path, Severity, VirtualDisk, new_id
from qreplica.storage import virtual_disks
from qreplica.storage.driver import StorageDriver
from qreplica.storage.service_errors import NameTaken


def create(
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
    peer_port: int = offers.PEER_PORT,
    rpo_minutes: int | None = None,
    comment: str = "",
    links: Links | None = None,
) -> Job:
    """Make a job that replicates ``source_vd`` to the backup VD at ``lun`` of the target's ``node``.

    All is checked first, here and by asking the target; then the job and, if the source VD has none, its snapshot space
    are written down; then the backup VD is claimed and logged on to, as each cycle will do it, which proves CHAP both
    ways and the disk's identity. If that fails, job and space are taken back.

    ``rpo_minutes`` is its RPO goal, None for none. From a VD that was promoted to one that gave way to it, the job goes
    on from the generation that both hold (``going_back``).

    Raises NotAName, RpoWrong, NameTaken, NotFound, ForeignDisk, what ``qualifying`` returns of source VD and node, what
    ``offers.list_backup_vds`` and ``offers.fitting`` raise, and what ``PeerClient.claim`` and ``Session.connect`` do.
    """
    check_name(name, "replication job")
    check_rpo(rpo_minutes)
    check_log_on(chap, mutual)
    with database.session(read_only=True) as session:
        size = check_source(session, storage, name, source_vd, node).size
        interface = qreplica_interface(session, controller)
    try:
        offered = offers.list_backup_vds(address, node, chap, peer_port=peer_port, interface=interface)
    except PeerFailed as unanswered:
        way = Way(address, port, peer_port)
        with database.session(read_only=True) as session:
            to_be = target_to_be(session, name, node, lun, way, chap=chap, mutual=mutual, controller=controller)
        foreign = foreign_disk(to_be, way)
        if foreign is not None:
            raise foreign from unanswered
        raise
    found = offers.fitting(offered, node, lun, size)
    with database.session(read_only=True) as session:
        since = continued(session, virtual_disks.get(session, source_vd).id, found)
    job = _row(name, node, offered, found, chap=chap, mutual=mutual)
    job.controller, job.comment = controller, comment
    if since is not None:
        job.id, job.epoch = since.job, max(job.epoch, since.epoch + 1)
    job.paths = [Path(position=0, address=address, port=port, peer_port=peer_port)]
    with database.session() as session:
        vd, given = check_here(session, name, source_vd, node)
        vd.snapshot_space += given
        job.source_vd_id = vd.id
        session.add(job)
        session.flush()
        lags.row_of(session, job).rpo_minutes = rpo_minutes
    links = links or NetworkLinks()
    with undone_on_failure(database, job, given, links):
        _log_on(database, job, size, links)
    with database.session() as session:
        if since is not None:
            go_on(session, session.get_one(Job, job.id), since)
        space = " Its source VD was given snapshot space." if given else ""
        back = "" if since is None else f" It goes on from generation {since.generation}, which both sides hold."
        message = f"It replicates “{source_vd}” to “{found.name}” on {offered.subsystem}.{space}{back}"
        log.record(session, Severity.INFO, "job-created", f"job {name}", message, controller=controller)
        return session.get_one(Job, job.id)


def check_log_on(chap: Chap | None, mutual: Chap | None) -> None:
    """Raise ChapNameInvalid, ChapSecretInvalid, ChapIncomplete or ChapInvalid for what cannot log on to a node."""
    for one in (chap, mutual):
        check_chap(*((one.user, one.secret) if one else (None, None)))
    if mutual is not None and chap is None:
        raise ChapIncomplete(reason="mutual CHAP needs the node's own CHAP name and secret too")
    if chap and mutual and chap.secret == mutual.secret:
        raise ChapInvalid(reason="both directions have the same secret, which lets an impostor answer for the node")


def check_source(session: Session, storage: StorageDriver, name: str, source_vd: str, node: str) -> VirtualDisk:
    """Return the source VD, as ``check_here`` does, if its RG can be read too; not for the middle of a transaction."""
    vd, _ = check_here(session, name, source_vd, node)
    error = group_obstacle(vd, storage)
    if error is not None:
        raise error
    return vd


def check_here(session: Session, name: str, source_vd: str, node: str) -> tuple[VirtualDisk, int]:
    """Return the source VD and the snapshot space that it is to get, if the job may be made as far as is known here."""
    check_free(session, name)
    vd = virtual_disks.get(session, source_vd)
    error = source_obstacle(session, vd) or node_obstacle(session, node)
    if error is not None:
        raise error
    return vd, space_to_give(session, vd)


def check_free(session: Session, name: str) -> None:
    """Raise NameTaken when a job has the name."""
    if session.scalar(select(Job.id).where(Job.name == name)) is not None:
        raise NameTaken(what="replication job", name=name)


def _row(
    name: str, node: str, offered: BackupVdList, found: BackupVd, *, chap: Chap | None, mutual: Chap | None
) -> Job:
    return Job(
        id=new_id(),
        name=name,
        target_subsystem=offered.subsystem_id,
        target_subsystem_name=offered.subsystem,
        target_node=node,
        target_lun=found.lun,
        target_vd=found.vd,
        target_vd_name=found.name,
        target_serial=found.serial,
        target_size=found.size,
        chap_user=chap.user if chap else None,
        chap_secret=chap.secret if chap else None,
        mutual_user=mutual.user if mutual else None,
        mutual_secret=mutual.secret if mutual else None,
        epoch=found.epoch + 1,
    )


def _log_on(database: Database, job: Job, size: int, links: Links) -> None:
    """Claim the backup VD, log in, look at the disk, log out."""
    store = JobStore(database, job.id, job.epoch, job.controller)
    target = target_of(database, job.id, job.controller)
    way = target.ways[0]
    peer = links.peer(target, way)
    try:
        lineage = peer.claim(target.node, claim_of(target, store.epoch, size))
    finally:
        peer.close()
    if lineage.pairing_secret is not None:
        store.paired(lineage.pairing_secret)
    check_claimed(target, lineage)
    with links.session(target, way, lineage.initiator) as session:
        check_disk(session, target, size)


@contextmanager
def undone_on_failure(database: Database, job: Job, given: int, links: Links) -> Iterator[None]:
    """Take back a job that could not log on, with the snapshot space that it was given."""
    try:
        yield
    except BaseException:
        _release_quietly(database, job, links)
        with database.session() as session:
            row = session.get_one(Job, job.id)
            row.source_vd.snapshot_space = max(0, row.source_vd.snapshot_space - given)
            session.delete(row)
        raise


def _release_quietly(database: Database, job: Job, links: Links) -> None:
    """Give the backup VD back if the claim was heard; if that fails too, the first failure is the one to tell."""
    try:
        release(target_of(database, job.id, job.controller), links)
    except QReplicaError as error:
        with database.session() as session:
            message = f"The backup VD may still be claimed by the job that was not made: {error.sentence}"
            log.record(session, Severity.WARNING, "job-not-released", f"job {job.name}", message)
