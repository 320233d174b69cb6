"""RAID groups, and the accounting of what they promise."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete as delete_rows
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qreplica.errors import NotFound, QReplicaError
from qreplica.names import check_name
from qreplica.state.database import Database
from qreplica.state.models import Disk, MaintenanceLease, RaidGroup, ScrubRun, VirtualDisk, new_id
from qreplica.storage import disks as disk_service
from qreplica.storage.capacity import capacity
from qreplica.storage.driver import RaidLevel, StorageDriver
from qreplica.storage.errors import GroupBusy, GroupFailed, GroupLocked, GroupNotEmpty
from qreplica.storage.service_errors import (
    CreationInterrupted,
    DiskHasFailed,
    DiskOfGroup,
    DisksRepeated,
    GroupHasNoRoom,
    NameTaken,
)
from qreplica.storage.space_pressure import Limits


@dataclass(frozen=True, slots=True)
class Space:
    """An RG's bytes: what its level leaves, what is kept back, what is promised, and what is left."""

    usable: int
    reserve: int
    virtual_disks: int
    snapshot_space: int

    @property
    def free(self) -> int:
        """What may still be promised."""
        return self.usable - self.reserve - self.virtual_disks - self.snapshot_space

    @property
    def limit(self) -> int:
        """What its data may take: all that can be promised, and the working reserve."""
        return Limits.of(self.usable - self.reserve).limit


#: What whoever chooses one of these levels must know.
_WRITE_HOLE = (
    "RAID 5 and 6 have a write hole: a loss of power in the middle of a write can leave parity that no longer fits, so "
    "that a disk that fails later takes data with it; choose RAID 1, RAID 10 or a mirror for what must not be lost."
)


def warnings(level: RaidLevel) -> list[str]:
    """Return what an administrator has to know of an RG of this level, a sentence each."""
    return [_WRITE_HOLE] if level in {RaidLevel.RAID5, RaidLevel.RAID6} else []


def create(db: Database, driver: StorageDriver, *, name: str, level: RaidLevel, disks: Sequence[str]) -> RaidGroup:
    """Make an RG of the named disks. A failure leaves nothing; what a crash left, the next start undoes.

    Raises NotAName, NameTaken, DisksRepeated, NotFound, DiskOfGroup, DiskHasFailed, TooFewDisks, DiskTooSmall, and the
    driver's.
    """
    check_name(name, "RAID group")
    for disk in disks:
        if list(disks).count(disk) > 1:
            raise DisksRepeated(disk=disk)
    with db.session() as session:
        if session.scalar(select(RaidGroup).where(RaidGroup.name == name)):
            raise NameTaken(what="RAID group", name=name)
        members = _free_disks(session, disks)
        room = capacity(level, [disk.size for disk in members])
        group = RaidGroup(
            id=new_id(),
            name=name,
            level=level,
            usable=room.usable,
            reserve=room.reserve,
            incomplete=True,
            disks=members,
        )
        session.add(group)
        paths = [disk_service.device_path(disk) for disk in members]
    try:
        driver.create_group(group.id, paths, level)
        _complete(db, group)
    except BaseException:
        # If this fails too, the row stays incomplete, for ``delete`` or the next start.
        with contextlib.suppress(QReplicaError):
            _remove(db, driver, group.id, paths)
        raise
    return group


def _free_disks(session: Session, names: Sequence[str]) -> list[Disk]:
    members = [disk_service.get(session, name) for name in names]
    for disk in members:
        if disk.raid_group is not None:
            raise DiskOfGroup(disk=disk.name, group=disk.raid_group.name)
        if disk.failed:
            raise DiskHasFailed(disk=disk.name)
        disk.spare, disk.errors = False, 0
    return members


def _complete(db: Database, group: RaidGroup) -> None:
    with db.session() as session:
        row = session.get(RaidGroup, group.id)
        if row is None:
            raise CreationInterrupted(name=group.name)
        row.incomplete = group.incomplete = False


def delete(db: Database, driver: StorageDriver, name: str) -> None:
    """Delete an RG that holds no VD; its disks become free. Raises NotFound, GroupNotEmpty, GroupBusy, GroupLocked."""
    with db.session() as session:
        group = _find(session, name)
        if group.vds:
            raise GroupNotEmpty(group=name, count=len(group.vds))
        begun_before, group.incomplete = group.incomplete, True
        paths = [disk_service.device_path(disk) for disk in group.disks]
    try:
        _remove(db, driver, group.id, paths)
    except (GroupBusy, GroupLocked, GroupNotEmpty):
        with db.session() as session:
            session.get_one(RaidGroup, group.id).incomplete = begun_before
        raise


def _remove(db: Database, driver: StorageDriver, group_id: str, paths: Sequence[Path]) -> None:
    driver.delete_group(group_id, paths)
    with db.session() as session:
        group = session.get(RaidGroup, group_id)
        if group is not None:
            for disk in group.disks:
                disk.replaces = None
            group.disks.clear()
            for table in (ScrubRun, MaintenanceLease):
                session.execute(delete_rows(table).where(table.raid_group_id == group_id))
            session.flush()
            session.delete(group)


def undo_incomplete(db: Database, driver: StorageDriver) -> None:
    """Undo what a crash left of an RG being made, and finish what it left of a deletion.

    One that turns out to hold VDs after all is kept. Raises what the driver does.
    """
    with db.session(read_only=True) as session:
        half = session.scalars(select(RaidGroup).where(RaidGroup.incomplete)).all()
        left = [(group.id, [disk_service.device_path(disk) for disk in group.disks]) for group in half]
    for group_id, paths in left:
        with contextlib.suppress(GroupFailed):
            # The driver refuses to delete a group that holds VDs only if it is open.
            driver.open_group(group_id, paths)
        try:
            _remove(db, driver, group_id, paths)
        except GroupNotEmpty:
            with db.session() as session:
                session.get_one(RaidGroup, group_id).incomplete = False


def get(session: Session, name: str) -> RaidGroup:
    """Return the RG. Raises NotFound, also for one that is not yet made."""
    group = _find(session, name)
    if group.incomplete:
        raise NotFound(what="RAID group", name=name, noun="rg")
    return group


def _find(session: Session, name: str) -> RaidGroup:
    group = session.scalar(select(RaidGroup).where(RaidGroup.name == name))
    if group is None:
        raise NotFound(what="RAID group", name=name, noun="rg")
    return group


def listing(session: Session) -> list[RaidGroup]:
    """Return all RGs by name."""
    return list(session.scalars(select(RaidGroup).where(~RaidGroup.incomplete).order_by(RaidGroup.name)))


def space(session: Session, group: RaidGroup) -> Space:
    """Return the RG's accounting: every VD counts with its whole size and all of its snapshot space."""
    promised = select(func.sum(VirtualDisk.size), func.sum(VirtualDisk.snapshot_space)).where(
        VirtualDisk.raid_group_id == group.id
    )
    sizes, snapshots = session.execute(promised).one()
    return Space(group.usable, group.reserve, sizes or 0, snapshots or 0)


def refuse_beyond(session: Session, group: RaidGroup, needed: int, what: str) -> None:
    """Raise GroupHasNoRoom when the RG has less than ``needed`` bytes free; ``what`` needs them."""
    free = space(session, group).free
    if needed > free:
        raise GroupHasNoRoom(group=group.name, free=max(0, free), needed=needed, what=what)
