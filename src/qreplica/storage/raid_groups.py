"""RAID groups, and the accounting of what they promise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qreplica.errors import NotFound
from qreplica.names import check_name
from qreplica.state.database import Database
from qreplica.state.models import Disk, RaidGroup, VirtualDisk, new_id
from qreplica.storage import disks as disk_service
from qreplica.storage.capacity import capacity
from qreplica.storage.driver import RaidLevel, StorageDriver
from qreplica.storage.errors import GroupNotEmpty
from qreplica.storage.service_errors import DiskOfGroup, DisksRepeated, GroupHasNoRoom, NameTaken


@dataclass(frozen=True, slots=True)
class Space:
    """An RG's bytes: what its level leaves, what is kept for metadata, what is promised, and what is left."""

    usable: int
    reserve: int
    virtual_disks: int
    snapshot_space: int

    @property
    def free(self) -> int:
        """What may still be promised."""
        return self.usable - self.reserve - self.virtual_disks - self.snapshot_space


def create(db: Database, driver: StorageDriver, *, name: str, level: RaidLevel, disks: Sequence[str]) -> RaidGroup:
    """Make an RG of the named disks. Raises what the checks of name, disks and level raise."""
    check_name(name, "RAID group")
    for disk in disks:
        if list(disks).count(disk) > 1:
            raise DisksRepeated(disk=disk)
    with db.session(read_only=True) as session:
        paths, sizes = _free_disks(session, name, disks)
    room = capacity(level, sizes)
    group = RaidGroup(id=new_id(), name=name, level=level, usable=room.usable, reserve=room.reserve)
    driver.create_group(group.id, paths, level)
    try:
        with db.session() as session:
            _free_disks(session, name, disks)
            session.add(group)
            for disk in disks:
                disk_service.get(session, disk).raid_group_id = group.id
    except BaseException:
        driver.delete_group(group.id, paths)
        raise
    return group


def _free_disks(session: Session, name: str, disks: Sequence[str]) -> tuple[list[Path], list[int]]:
    if session.scalar(select(RaidGroup).where(RaidGroup.name == name)):
        raise NameTaken(what="RAID group", name=name)
    found: list[Disk] = [disk_service.get(session, disk) for disk in disks]
    for disk in found:
        if disk.raid_group is not None:
            raise DiskOfGroup(disk=disk.name, group=disk.raid_group.name)
    return [disk_service.device_path(disk) for disk in found], [disk.size for disk in found]


def delete(db: Database, driver: StorageDriver, name: str) -> None:
    """Delete an RG that holds no VD; its disks become free. Raises NotFound, GroupNotEmpty, GroupBusy."""
    with db.session(read_only=True) as session:
        group = get(session, name)
        if group.vds:
            raise GroupNotEmpty(group=name, count=len(group.vds))
        group_id, paths = group.id, [disk_service.device_path(disk) for disk in group.disks]
    driver.delete_group(group_id, paths)
    with db.session() as session:
        group = get(session, name)
        for disk in list(group.disks):
            disk.raid_group_id = None
        session.flush()
        session.expire(group)
        session.delete(group)


def get(session: Session, name: str) -> RaidGroup:
    """Return the RG. Raises NotFound."""
    group = session.scalar(select(RaidGroup).where(RaidGroup.name == name))
    if group is None:
        raise NotFound(what="RAID group", name=name, noun="rg")
    return group


def listing(session: Session) -> list[RaidGroup]:
    """Return all RGs by name."""
    return list(session.scalars(select(RaidGroup).order_by(RaidGroup.name)))


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
