"""Virtual disks."""

import contextlib
from collections.abc import Callable

from sqlalchemy import delete as delete_rows
from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.errors import NotFound, QReplicaError
from qreplica.names import check_name
from qreplica.state.database import Database
from qreplica.state.models import Claim, HeldBack, Job, RecoveryPoint, Snapshot, VdType, VirtualDisk, new_id
from qreplica.state.promotion_models import Promotion
from qreplica.state.retention_models import RetentionPolicy
from qreplica.state.test_mount_models import TestMount
from qreplica.storage import raid_groups
from qreplica.storage.driver import BLOCK, GroupHealth, SpaceUsed, StorageDriver
from qreplica.storage.errors import GroupClosed, GroupLocked
from qreplica.storage.service_errors import (
    CreationInterrupted,
    NameTaken,
    SnapshotSpaceInvalid,
    SnapshotSpaceTooSmall,
    VdHasLockedPoint,
    VdInUse,
    VdSizeInvalid,
)
from qreplica.units import MIB

MINIMUM_SIZE = MIB


def create(
    db: Database, driver: StorageDriver, *, name: str, raid_group: str, size: int, type_: VdType = VdType.RAID
) -> VirtualDisk:
    """Make a VD of ``size`` bytes; a BACKUP VD also gets as much snapshot space, for its recovery points.

    Raises NotAName, VdSizeInvalid, NotFound, NameTaken, GroupHasNoRoom; then nothing was made.
    """
    check_name(name, "virtual disk")
    check_size(size)
    snapshot_space = size if type_ is VdType.BACKUP else 0
    with db.session() as session:
        _refuse_taken(session, name)
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
            incomplete=True,
        )
        session.add(vd)
    _make(db, driver, vd, lambda: driver.create_vd(group.id, vd.id, size))
    return vd


def clone(
    db: Database,
    driver: StorageDriver,
    *,
    name: str,
    find: Callable[[Session], Snapshot],
    note: Callable[[Session, VirtualDisk], None],
) -> VirtualDisk:
    """Make a VD of type RAID of a snapshot's content, in the same RG. Its whole size is promised, as to any other.

    In the transaction that writes it down ``find`` returns the snapshot, and ``note`` has to see to it that this stays
    until the VD is made. Raises NotAName, NameTaken, GroupHasNoRoom, and what those two do; then nothing was made.
    """
    check_name(name, "virtual disk")
    with db.session() as session:
        _refuse_taken(session, name)
        snapshot = find(session)
        snapshot_id, origin, group = snapshot.id, snapshot.vd_id, snapshot.vd.raid_group
        raid_groups.refuse_beyond(session, group, snapshot.size, f"virtual disk {name}")
        vd = VirtualDisk(
            id=new_id(),
            name=name,
            type=VdType.RAID,
            size=snapshot.size,
            raid_group=group,
            serial=new_id(),
            incomplete=True,
        )
        session.add(vd)
        session.flush()
        note(session, vd)
    _make(db, driver, vd, lambda: driver.clone_vd(group.id, origin, snapshot_id, vd.id))
    return vd


def _make(db: Database, driver: StorageDriver, vd: VirtualDisk, make: Callable[[], None]) -> None:
    """Make a VD that was written down as incomplete, or leave nothing of it."""
    try:
        make()
        _complete(db, vd)
    except BaseException:
        # If this fails too, the row stays incomplete, for ``delete`` or the next start.
        with contextlib.suppress(QReplicaError):
            _remove(db, driver, vd.raid_group_id, vd.id)
        raise


def _refuse_taken(session: Session, name: str) -> None:
    if session.scalar(select(VirtualDisk).where(VirtualDisk.name == name)):
        raise NameTaken(what="virtual disk", name=name)


def check_size(size: int) -> None:
    """Raise VdSizeInvalid unless a VD can have ``size`` bytes."""
    if size < MINIMUM_SIZE or size % BLOCK:
        raise VdSizeInvalid(size=size, minimum=MINIMUM_SIZE)


def _complete(db: Database, vd: VirtualDisk) -> None:
    with db.session() as session:
        row = session.get(VirtualDisk, vd.id)
        if row is None:
            raise CreationInterrupted(name=vd.name)
        row.incomplete = vd.incomplete = False


def delete(db: Database, driver: StorageDriver, name: str) -> None:
    """Delete a VD and all its snapshots and recovery points.

    Raises NotFound, VdInUse (attached or replicated), VdHasLockedPoint, GroupClosed and GroupLocked; then nothing was
    deleted.
    From the first step on nobody finds the VD any more; the next call, or start, finishes a deletion that was cut off.
    """
    with db.session() as session:
        vd = _find(session, name)
        _refuse_used(session, vd)
        begun_before, vd.incomplete = vd.incomplete, True
    try:
        _remove(db, driver, vd.raid_group_id, vd.id)
    except (GroupClosed, GroupLocked):
        # Nothing was deleted yet: what the administrator is told has failed must not happen at the next start.
        with db.session() as session:
            session.get_one(VirtualDisk, vd.id).incomplete = begun_before
        raise


def _remove(db: Database, driver: StorageDriver, group_id: str, vd_id: str) -> None:
    driver.delete_vd(group_id, vd_id)
    with db.session() as session:
        # In the order of their references.
        for table in (HeldBack, Promotion, RecoveryPoint, RetentionPolicy, TestMount, Snapshot, Claim):
            session.execute(delete_rows(table).where(table.vd_id == vd_id))
        session.execute(delete_rows(VirtualDisk).where(VirtualDisk.id == vd_id))


def undo_incomplete(db: Database, driver: StorageDriver, group_id: str) -> None:
    """Undo what a crash left of VDs being made in an open RG, and finish what it left of deletions."""
    with db.session(read_only=True) as session:
        left = session.scalars(
            select(VirtualDisk.id).where(VirtualDisk.raid_group_id == group_id, VirtualDisk.incomplete)
        ).all()
    for vd_id in left:
        _remove(db, driver, group_id, vd_id)


def _refuse_used(session: Session, vd: VirtualDisk) -> None:
    for lun in vd.luns:
        raise VdInUse(vd=vd.name, user=f"LUN {lun.number} of node {lun.node.name}", remedy="detach it")
    mounts = select(TestMount).join(Snapshot, Snapshot.id == TestMount.snapshot_id).where(Snapshot.vd_id == vd.id)
    for mount in session.scalars(mounts):
        raise VdInUse(vd=vd.name, user=f"test mount {mount.vd.name}", remedy="end that")
    job = session.scalar(select(Job).where(Job.source_vd_id == vd.id))
    if job is not None:
        raise VdInUse(vd=vd.name, user=f"replication job {job.name}", remedy="delete the job")
    claim = session.get(Claim, vd.id)
    if claim is not None and claim.job_id:
        raise VdInUse(vd=vd.name, user=f"replication job {claim.job_id} of another subsystem", remedy="delete the job")
    if session.get(HeldBack, vd.id) is not None:
        raise VdInUse(vd=vd.name, user="its roll-back", remedy="wait for the end of that")
    locked = select(RecoveryPoint).where(RecoveryPoint.vd_id == vd.id, RecoveryPoint.locked_at.is_not(None))
    for point in session.scalars(locked.order_by(RecoveryPoint.committed_at)):
        raise VdHasLockedPoint(vd=vd.name, generation=point.generation, by=point.locked_by, point=point.snapshot.name)


def rename(db: Database, name: str, new: str) -> VirtualDisk:
    """Give a VD another name; everything else of it, its serial number too, stays. Idempotent for the same name.

    Raises NotFound, NotAName, NameTaken.
    """
    check_name(new, "virtual disk")
    with db.session() as session:
        vd = get(session, name)
        if new != name:
            _refuse_taken(session, new)
            vd.name = new
    return vd


def set_snapshot_space(db: Database, driver: StorageDriver, name: str, size: int) -> VirtualDisk:
    """Set how much a VD's snapshots may use, in bytes; no less than its size for a BACKUP VD's recovery points.

    Raises NotFound, SnapshotSpaceInvalid, SnapshotSpaceTooSmall, GroupHasNoRoom.
    """
    with db.session(read_only=True) as session:
        vd = get(session, name)
    _check_snapshot_space(vd, size, driver.space_used(vd.raid_group_id, vd.id))
    with db.session() as session:
        vd = get(session, name)
        # The VD may have grown since, or a snapshot been taken.
        _check_snapshot_space(vd, size, driver.space_used(vd.raid_group_id, vd.id, settled=False))
        more = size - vd.snapshot_space
        raid_groups.refuse_beyond(session, vd.raid_group, max(0, more), f"more snapshot space for {name}")
        vd.snapshot_space = size
    return vd


def _check_snapshot_space(vd: VirtualDisk, size: int, use: SpaceUsed) -> None:
    least = vd.size if vd.type is VdType.BACKUP else 0
    if size < least:
        raise SnapshotSpaceInvalid(vd=vd.name, type=vd.type, least=least, asked=size)
    if use.snapshots > size:
        raise SnapshotSpaceTooSmall(vd=vd.name, used=use.snapshots, asked=size)


def get(session: Session, name: str) -> VirtualDisk:
    """Return the VD. Raises NotFound, also for one that is not yet made."""
    vd = _find(session, name)
    if vd.incomplete:
        raise NotFound(what="virtual disk", name=name, noun="vd")
    return vd


def _find(session: Session, name: str) -> VirtualDisk:
    vd = session.scalar(select(VirtualDisk).where(VirtualDisk.name == name))
    if vd is None:
        raise NotFound(what="virtual disk", name=name, noun="vd")
    return vd


def listing(session: Session) -> list[VirtualDisk]:
    """Return all VDs by name."""
    return list(session.scalars(select(VirtualDisk).where(~VirtualDisk.incomplete).order_by(VirtualDisk.name)))


def used(driver: StorageDriver, vd: VirtualDisk, *, settled: bool = True) -> SpaceUsed:
    """Return the space that a VD and its snapshots use; without ``settled`` as it was counted last, which is cheap."""
    return driver.space_used(vd.raid_group_id, vd.id, settled=settled)


def used_if_open(driver: StorageDriver, vd: VirtualDisk, *, settled: bool) -> SpaceUsed | None:
    """Return what ``used`` does, None while the VD's RG is not open."""
    opened = {GroupHealth.ONLINE, GroupHealth.DEGRADED, GroupHealth.REBUILDING}
    if driver.group_status(vd.raid_group_id).health not in opened:
        return None
    return used(driver, vd, settled=settled)


def used_by_snapshots(driver: StorageDriver, vd: VirtualDisk, *, settled: bool) -> int | None:
    """Return the bytes that the snapshots of a VD use, None while its RG is not open; see ``used``."""
    found = used_if_open(driver, vd, settled=settled)
    return None if found is None else found.snapshots
