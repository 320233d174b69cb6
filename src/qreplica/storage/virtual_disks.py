"""Virtual disks."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.errors import NotFound
from qreplica.names import check_name
from qreplica.state.database import Database
from qreplica.state.models import Claim, Job, RecoveryPoint, Snapshot, VdType, VirtualDisk, new_id
from qreplica.storage import raid_groups
from qreplica.storage.driver import BLOCK, SpaceUsed, StorageDriver
from qreplica.storage.service_errors import NameTaken, SnapshotSpaceTooSmall, VdInUse, VdSizeInvalid
from qreplica.units import MIB

MINIMUM_SIZE = MIB


def create(
    db: Database, driver: StorageDriver, *, name: str, raid_group: str, size: int, type_: VdType = VdType.RAID
) -> VirtualDisk:
    """Make a VD of ``size`` bytes; a BACKUP VD also gets as much snapshot space, for its recovery points.

    Raises NotAName, VdSizeInvalid, NotFound, NameTaken, GroupHasNoRoom; then nothing was made.
    """
    check_name(name, "virtual disk")
    if size < MINIMUM_SIZE or size % BLOCK:
        raise VdSizeInvalid(size=size, minimum=MINIMUM_SIZE)
    snapshot_space = size if type_ is VdType.BACKUP else 0
    with db.session() as session:
        if session.scalar(select(VirtualDisk).where(VirtualDisk.name == name)):
            raise NameTaken(what="virtual disk", name=name)
        group = raid_groups.get(session, raid_group)
        with_points = " with its recovery points" if snapshot_space else ""
        raid_groups.refuse_beyond(session, group, size + snapshot_space, f"virtual disk {name}{with_points}")
        vd = VirtualDisk(
            id=new_id(),
            name=name,
            type=type_,
            size=size,
            snapshot_space=snapshot_space,
            raid_group=group,
            serial=new_id(),
        )
        session.add(vd)
        session.flush()
        # Within the transaction: nobody may see a VD that is not there; a file without a row is cleared at start.
        driver.create_vd(group.id, vd.id, size)
    return vd


def delete(db: Database, driver: StorageDriver, name: str) -> None:
    """Delete a VD and all its snapshots and recovery points. Raises NotFound, VdInUse (attached or replicated)."""
    with db.session() as session:
        vd = get(session, name)
        _refuse_used(session, vd)
        vd_id = vd.id
        # First the data: a row without them can be deleted again, data without a row would be forgotten space.
        driver.delete_vd(vd.raid_group_id, vd_id)
        for table in (RecoveryPoint, Snapshot, Claim):
            for row in session.scalars(select(table).where(table.vd_id == vd_id)):
                session.delete(row)
            session.flush()
        session.expire(vd)
        session.delete(vd)


def _refuse_used(session: Session, vd: VirtualDisk) -> None:
    for lun in vd.luns:
        raise VdInUse(vd=vd.name, user=f"LUN {lun.number} of node {lun.node.name}", remedy="detach it")
    job = session.scalar(select(Job).where(Job.source_vd_id == vd.id))
    if job is not None:
        raise VdInUse(vd=vd.name, user=f"replication job {job.name}", remedy="delete the job")
    claim = session.get(Claim, vd.id)
    if claim is not None and claim.job_id:
        raise VdInUse(vd=vd.name, user=f"replication job {claim.job_id} of another subsystem", remedy="delete the job")


def set_snapshot_space(db: Database, driver: StorageDriver, name: str, size: int) -> VirtualDisk:
    """Set how much a VD's snapshots may use, in bytes. Raises NotFound, SnapshotSpaceTooSmall, GroupHasNoRoom."""
    with db.session(read_only=True) as session:
        vd = get(session, name)
        used = driver.space_used(vd.raid_group_id, vd.id).snapshots
    if used > size:
        raise SnapshotSpaceTooSmall(vd=name, used=used, asked=size)
    with db.session() as session:
        vd = get(session, name)
        more = size - vd.snapshot_space
        raid_groups.refuse_beyond(session, vd.raid_group, max(0, more), f"more snapshot space for {name}")
        vd.snapshot_space = size
    return vd


def get(session: Session, name: str) -> VirtualDisk:
    """Return the VD. Raises NotFound."""
    vd = session.scalar(select(VirtualDisk).where(VirtualDisk.name == name))
    if vd is None:
        raise NotFound(what="virtual disk", name=name, noun="vd")
    return vd


def listing(session: Session) -> list[VirtualDisk]:
    """Return all VDs by name."""
    return list(session.scalars(select(VirtualDisk).order_by(VirtualDisk.name)))


def used(driver: StorageDriver, vd: VirtualDisk) -> SpaceUsed:
    """Return the space that a VD and its snapshots use."""
    return driver.space_used(vd.raid_group_id, vd.id)
