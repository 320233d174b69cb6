"""Extends virtual disks: first the promise, then the engine. A start finishes what a crash left between."""

import contextlib

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.state.database import Database
from qreplica.state.models import VdType, VirtualDisk
from qreplica.storage import raid_groups, virtual_disks
from qreplica.storage.driver import StorageDriver
from qreplica.storage.service_errors import VdCannotShrink


def extend(db: Database, driver: StorageDriver, name: str, size: int) -> VirtualDisk:
    """Let a VD grow to ``size`` bytes, attached or not; what is new reads as zeros. Idempotent.

    The snapshot space of a BACKUP VD grows by as much. Its LUNs show the new size when target daemons were brought to
    it. Raises NotFound, VdSizeInvalid, VdCannotShrink, GroupHasNoRoom, and what the driver does; then it is as before,
    but for a VD whose size the engine cannot tell: what was promised stands, and the next start has it kept.
    """
    virtual_disks.check_size(size)
    with db.session() as session:
        vd = virtual_disks.get(session, name)
        before = vd.size
        promise(session, vd, size)
    try:
        driver.resize_vd(vd.raid_group_id, vd.id, size)
    except BaseException:
        with contextlib.suppress(QReplicaError):
            _take_back(db, driver, vd.id, size, before)
        raise
    return vd


def promise(session: Session, vd: VirtualDisk, size: int) -> None:
    """Promise the VD ``size`` bytes, and a BACKUP VD as much more snapshot space as it grows by.

    The engine is to follow (``finish``). Raises VdCannotShrink, GroupHasNoRoom.
    """
    more = size - vd.size
    if more < 0:
        raise VdCannotShrink(vd=vd.name, size=vd.size, asked=size)
    beside = more if vd.type is VdType.BACKUP else 0
    with_points = " with its recovery points" if beside else ""
    raid_groups.refuse_beyond(session, vd.raid_group, more + beside, f"extending virtual disk {vd.name}{with_points}")
    vd.size += more
    vd.snapshot_space += beside


def _take_back(db: Database, driver: StorageDriver, vd_id: str, size: int, before: int) -> None:
    """Take a promise back that the engine did not follow, unless a further one was made since.

    Where it cannot be told whether it followed the promise stands, and a start has it kept.
    """
    with db.session() as session:
        vd = session.get(VirtualDisk, vd_id)
        if vd is None or vd.size != size:
            return
        length = _length(driver, vd)
        if length is None or length > before:
            return
        vd.size = before
        vd.snapshot_space -= size - before if vd.type is VdType.BACKUP else 0


def _length(driver: StorageDriver, vd: VirtualDisk) -> int | None:
    """Return the size that the engine has given the VD, None where that cannot be told."""
    try:
        return driver.vd_path(vd.raid_group_id, vd.id).stat().st_size
    except (QReplicaError, OSError):
        return None


def finish(db: Database, driver: StorageDriver, group_id: str) -> None:
    """Let the VDs of an open RG have the sizes that they were promised: whatever cut that off before. Idempotent."""
    with db.session(read_only=True) as session:
        chosen = select(VirtualDisk).where(VirtualDisk.raid_group_id == group_id, ~VirtualDisk.incomplete)
        vds = list(session.scalars(chosen))
    short = [vd.id for vd in vds if (length := _length(driver, vd)) is not None and length < vd.size]
    for vd_id in short:
        follow(db, driver, vd_id)


def follow(db: Database, driver: StorageDriver, vd_id: str) -> bool:
    """Let the VD have the size that it was promised; return whether it grew for that. Raises what the driver does."""
    with db.session(read_only=True) as session:
        vd = session.get(VirtualDisk, vd_id)
    if vd is None:
        return False
    length = _length(driver, vd)
    if length is not None and length >= vd.size:
        return False
    driver.resize_vd(vd.raid_group_id, vd.id, vd.size)
    return True
