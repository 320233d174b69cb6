"""The disks of an RG over its life: replaced, added, kept as spares.

Each change is written down before the engine is asked for it, so that a crash in between leaves what the next round of
maintenance finishes: ``begin`` and ``join`` may be called again until they succeed, or are refused and undone.
"""

import contextlib
from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError, Unavailable
from qreplica.state.database import Database
from qreplica.state.models import Disk, RaidGroup
from qreplica.storage import disks as disk_service
from qreplica.storage import raid_groups
from qreplica.storage.capacity import Capacity, capacity
from qreplica.storage.disks import device_path
from qreplica.storage.driver import GroupHealth, StorageDriver
from qreplica.storage.errors import GroupClosed, RebuildRunning, RoomBeingMade
from qreplica.storage.service_errors import (
    DiskAddsNothing,
    DiskHasFailed,
    DiskNotOfGroup,
    DiskOfGroup,
    GroupNotWhole,
    ReplacementTooSmall,
)
from qreplica.storage.upkeep import smallest_sufficient


def replace(db: Database, driver: StorageDriver, *, group: str, old: str, new: str) -> None:
    """Begin to put the free disk ``new`` in the place of ``old``; goes on in the background. Idempotent while it does.

    A running scrub is ended. When room is made for it first, maintenance begins it. Raises NotFound, DiskNotOfGroup,
    DiskOfGroup, DiskHasFailed, ReplacementTooSmall, RebuildRunning, GroupClosed, and the driver's; then nothing was
    begun, but after GroupLocked and NoRoomForReplacement it is begun later.
    """
    with db.session(read_only=True) as session:
        row = raid_groups.get(session, group)
        going_on = _refuse_replacement(session, group, old, new)
    if not going_on:
        status = driver.group_status(row.id)
        if not status.spreading:
            _refuse_unready(row, status.health, {GroupHealth.ONLINE, GroupHealth.DEGRADED}, "given another disk")
        driver.stop_scrub(row.id)
        with db.session() as session:
            _refuse_replacement(session, group, old, new)
            incoming = _take(disk_service.get(session, new), raid_groups.get(session, group))
            incoming.replaces = disk_service.get(session, old)
    with contextlib.suppress(RoomBeingMade):
        begin(db, driver, new)


def _refuse_replacement(session: Session, group: str, old: str, new: str) -> bool:
    """Raise unless ``new`` may replace ``old``; return whether it does so already."""
    row = raid_groups.get(session, group)
    outgoing, incoming = disk_service.get(session, old), disk_service.get(session, new)
    _refuse_foreign(row, outgoing)
    if incoming.replaces_id == outgoing.id:
        return True
    _refuse_unfit(incoming)
    if incoming.size < outgoing.size:
        raise ReplacementTooSmall(disk=new, size=incoming.size, old=old, needed=outgoing.size)
    if any(disk.replaces_id is not None for disk in row.disks):
        raise RebuildRunning(group=group)
    return False


def _refuse_foreign(group: RaidGroup, disk: Disk) -> None:
    if disk.raid_group_id != group.id:
        members = ", ".join(one.name for one in group.disks)
        raise DiskNotOfGroup(disk=disk.name, group=group.name, members=members)


def _refuse_unfit(disk: Disk) -> None:
    if disk.raid_group is not None:
        raise DiskOfGroup(disk=disk.name, group=disk.raid_group.name)
    if disk.failed:
        raise DiskHasFailed(disk=disk.name)


def _refuse_unready(group: RaidGroup, health: GroupHealth, ready: set[GroupHealth], wanted: str) -> None:
    if health is GroupHealth.CLOSED:
        raise GroupClosed(group=group.name)
    if health is GroupHealth.REBUILDING:
        raise RebuildRunning(group=group.name)
    if health not in ready:
        raise GroupNotWhole(group=group.name, wanted=wanted, health=health)


def _take(disk: Disk, group: RaidGroup) -> Disk:
    """Make a free disk one of the RG's."""
    disk.raid_group, disk.spare, disk.errors = group, False, 0
    return disk


def replace_by_spare(db: Database, old_id: str) -> str | None:
    """Write down that the smallest sufficient spare replaces a disk, and return its name for ``begin``; None: no spare.

    Nobody else may take the spare meanwhile. Raises RebuildRunning.
    """
    with db.session() as session:
        old = session.get_one(Disk, old_id)
        group = session.get_one(RaidGroup, old.raid_group_id)
        if any(disk.replaces_id is not None for disk in group.disks):
            raise RebuildRunning(group=group.name)
        name = smallest_sufficient([(disk.name, disk.size) for disk in _spares(session)], old.size)
        if name is not None:
            _take(disk_service.get(session, name), group).replaces = old
        return name


def _spares(session: Session) -> Sequence[Disk]:
    free = select(Disk).where(Disk.spare, ~Disk.failed, Disk.raid_group_id.is_(None)).with_for_update()
    return [disk for disk in session.scalars(free) if device_path(disk).exists()]


def begin(db: Database, driver: StorageDriver, new: str) -> None:
    """Have the engine begin, or go on with, the replacement that is written down for ``new``; idempotent.

    What it refuses is undone, unless it is possible later (Unavailable): somebody else may have begun it by then.
    Raises what the driver does.
    """
    with db.session(read_only=True) as session:
        disk = disk_service.get(session, new)
        if disk.replaces is None or disk.raid_group_id is None:
            return
        group_id, old_path, new_path = disk.raid_group_id, device_path(disk.replaces), device_path(disk)
    try:
        driver.replace_disk(group_id, old_path, new_path)
    except Unavailable:
        raise
    except QReplicaError:
        let_go(db, new)
        raise


def let_go(db: Database, name: str, *, failed: bool = False) -> None:
    """Undo that a disk was to join an RG, which the engine did not let it, or in which it ``failed``. Idempotent."""
    with db.session() as session:
        disk = disk_service.get(session, name)
        disk.raid_group, disk.replaces, disk.failed = None, None, failed


def finish(db: Database, new: str) -> str | None:
    """Write down that the replacement by ``new`` has ended: the old disk is free. Return its name. Idempotent."""
    with db.session() as session:
        disk = disk_service.get(session, new)
        old = disk.replaces
        if old is None:
            return None
        disk.replaces, old.raid_group, old.spare = None, None, False
        return old.name


def grow(db: Database, driver: StorageDriver, *, group: str, disk: str) -> None:
    """Add a free disk to an RG; what it holds is spread over all disks in the background. Idempotent while it is.

    Its space is there to promise when that is done. Raises NotFound, DiskOfGroup, DiskHasFailed, DiskAddsNothing,
    GroupNotWhole, RebuildRunning, GroupClosed, and the driver's; then nothing was added. GroupLocked: see ``replace``.
    """
    with db.session(read_only=True) as session:
        row, added = raid_groups.get(session, group), disk_service.get(session, disk)
        health = driver.group_status(row.id).health
        if added.raid_group_id == row.id and added.replaces_id is None and health is GroupHealth.REBUILDING:
            return
        _refuse_growth(row, added)
    _refuse_unready(row, health, {GroupHealth.ONLINE}, "grown")
    with db.session() as session:
        row, added = raid_groups.get(session, group), disk_service.get(session, disk)
        _refuse_growth(row, added)
        _take(added, row)
    join(db, driver, disk)


def _refuse_growth(group: RaidGroup, disk: Disk) -> None:
    _refuse_unfit(disk)
    sizes = [one.size for one in group.disks]
    before, after = capacity(group.level, sizes).promisable, capacity(group.level, [*sizes, disk.size]).promisable
    if after <= before:
        raise DiskAddsNothing(group=group.name, disk=disk.name, size=disk.size, before=before, after=after)


def join(db: Database, driver: StorageDriver, name: str) -> None:
    """Have the engine add a disk that is written down as the RG's; idempotent. As ``begin`` for what it refuses."""
    with db.session(read_only=True) as session:
        disk = disk_service.get(session, name)
        group_id, path = disk.raid_group_id, device_path(disk)
    if group_id is None:
        return
    try:
        driver.add_disk(group_id, path)
    except Unavailable:
        raise
    except QReplicaError:
        let_go(db, name)
        raise


def adopt_capacity(db: Database, group_id: str, disk_ids: Collection[str]) -> int:
    """Promise from now on what the RG's disks hold, if they are those that the engine was seen to have, all at rest.

    Return by how many bytes that is more; never less than before. Idempotent.
    """
    with db.session(read_only=True) as session:
        if _growth(session, group_id, disk_ids) is None:
            return 0
    with db.session() as session:
        room = _growth(session, group_id, disk_ids)
        if room is None:
            return 0
        group = session.get_one(RaidGroup, group_id)
        before = group.usable - group.reserve
        group.usable, group.reserve = room.usable, room.reserve
        return room.promisable - before


def _growth(session: Session, group_id: str, disk_ids: Collection[str]) -> Capacity | None:
    group = session.get(RaidGroup, group_id)
    if group is None or {disk.id for disk in group.disks} != set(disk_ids):
        return None
    room = capacity(group.level, [disk.size for disk in group.disks])
    return room if room.promisable > group.usable - group.reserve else None


def set_spare(db: Database, name: str, *, spare: bool) -> Disk:
    """Keep a free disk as a spare, for whichever RG loses a disk first, or no longer. Idempotent.

    Raises NotFound, DiskOfGroup, DiskHasFailed.
    """
    with db.session() as session:
        disk = disk_service.get(session, name)
        if spare:
            _refuse_unfit(disk)
        disk.spare = spare
    return disk
