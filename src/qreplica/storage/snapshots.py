"""QSnap snapshots: taken while the target daemons stand still, and kept as long as something needs them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from qreplica.names import check_name
from qreplica.state.database import Database
from qreplica.state.models import (
    Cycle,
    Job,
    Lun,
    RecoveryPoint,
    Snapshot,
    SnapshotKind,
    VirtualDisk,
    new_id,
)
from qreplica.storage import virtual_disks
from qreplica.storage.driver import SnapshotInfo, StorageDriver
from qreplica.storage.service_errors import (
    NameTaken,
    NoSnapshotSpace,
    NoSuchSnapshot,
    SnapshotNotStill,
    SnapshotPinned,
)

_TRIES = 3


class Still(Protocol):
    """Target daemons that stand still."""

    def still_paused(self) -> bool:
        """Tell whether none has run since the pause began."""


#: Stops all target daemons that could write the subsystem's VDs, as long as the context lasts.
Pause = Callable[[], AbstractContextManager[Still]]


def take(
    db: Database,
    driver: StorageDriver,
    pause: Pause,
    *,
    vd_id: str,
    name: str,
    kind: SnapshotKind,
    snapshot_id: str | None = None,
) -> Snapshot:
    """Take a snapshot of a VD: it holds every write acknowledged before, and none that was begun after.

    The row is there first, without ``taken_at``, so that a crash leaves nothing unknown; ``snapshot_id`` makes a second
    call go on with the first one's. Raises NotAName, NameTaken, NoSnapshotSpace, SnapshotNotStill, PauseTimedOut.
    """
    check_name(name, "snapshot")
    snapshot_id = snapshot_id or new_id()
    with db.session(read_only=True) as session:
        known = session.get(Snapshot, snapshot_id)
        vd = session.get_one(VirtualDisk, vd_id)
        group = vd.raid_group_id
    if known is not None and known.taken_at is not None:
        return known
    if known is None:
        used = driver.space_used(group, vd_id).snapshots
        _begin(db, Snapshot(id=snapshot_id, vd_id=vd_id, name=name, kind=kind, size=vd.size, taken_at=None), used)
    else:
        # Whether the daemons stood still when a crash interrupted this call is not known.
        driver.delete_snapshot(group, vd_id, snapshot_id)
    try:
        info = _freeze(driver, pause, group, vd_id, snapshot_id)
    except BaseException:
        _forget(db, driver, group, vd_id, snapshot_id)
        raise
    with db.session() as session:
        snapshot = session.get_one(Snapshot, snapshot_id)
        snapshot.taken_at, snapshot.size = info.taken_at, info.size
    return snapshot


def _begin(db: Database, snapshot: Snapshot, used: int) -> None:
    with db.session() as session:
        vd = session.get_one(VirtualDisk, snapshot.vd_id)
        if used >= vd.snapshot_space:
            raise NoSnapshotSpace(vd=vd.name, space=vd.snapshot_space, used=used)
        if session.scalar(select(Snapshot).where(Snapshot.vd_id == vd.id, Snapshot.name == snapshot.name)):
            raise NameTaken(what=f"snapshot of {vd.name}", name=snapshot.name)
        session.add(snapshot)


def _freeze(driver: StorageDriver, pause: Pause, group: str, vd_id: str, snapshot_id: str) -> SnapshotInfo:
    for _ in range(_TRIES):
        driver.prepare_snapshot(group, vd_id)
        with pause() as paused:
            info = driver.take_snapshot(group, vd_id, snapshot_id)
            if paused.still_paused():
                return info
        driver.delete_snapshot(group, vd_id, snapshot_id)
    raise SnapshotNotStill(vd=vd_id, tries=_TRIES)


def _forget(db: Database, driver: StorageDriver, group: str, vd_id: str, snapshot_id: str) -> None:
    with db.session() as session:
        snapshot = session.get(Snapshot, snapshot_id)
        if snapshot is None or snapshot.taken_at is not None:
            return
        session.delete(snapshot)
    driver.delete_snapshot(group, vd_id, snapshot_id)


def delete(db: Database, driver: StorageDriver, vd_name: str, name: str) -> None:
    """Delete a snapshot that nothing needs. Raises NoSuchSnapshot, SnapshotPinned."""
    with db.session() as session:
        snapshot = get(session, vd_name, name)
        holders = pins(session, snapshot.id)
        if holders:
            raise SnapshotPinned(snapshot=name, vd=vd_name, pins=" and ".join(holders))
        group, vd_id, snapshot_id = snapshot.vd.raid_group_id, snapshot.vd_id, snapshot.id
        session.delete(snapshot)
    driver.delete_snapshot(group, vd_id, snapshot_id)


def pins(session: Session, snapshot_id: str) -> list[str]:
    """Return what needs the snapshot, in words; the one place that knows."""
    found = [
        f"the base of job {job.name}" for job in session.scalars(select(Job).where(Job.base_snapshot_id == snapshot_id))
    ]
    in_flight = select(Job.name).join(Cycle, Cycle.job_id == Job.id)
    in_flight = in_flight.where(
        Cycle.finished_at.is_(None), or_(Cycle.snapshot_id == snapshot_id, Cycle.base_snapshot_id == snapshot_id)
    )
    found += [f"the cycle of job {name}" for name in session.scalars(in_flight)]
    points = session.scalars(select(RecoveryPoint).where(RecoveryPoint.snapshot_id == snapshot_id))
    found += [f"recovery point {point.generation}" for point in points]
    for lun in session.scalars(select(Lun).where(Lun.snapshot_id == snapshot_id)):
        found.append(f"LUN {lun.number} of node {lun.node.name}")
    return found


def get(session: Session, vd_name: str, name: str) -> Snapshot:
    """Return a snapshot of the VD by name. Raises NotFound, NoSuchSnapshot."""
    vd = virtual_disks.get(session, vd_name)
    snapshot = session.scalar(select(Snapshot).where(Snapshot.vd_id == vd.id, Snapshot.name == name))
    if snapshot is None:
        raise NoSuchSnapshot(vd=vd_name, name=name)
    return snapshot


def listing(session: Session, vd_name: str | None = None) -> list[Snapshot]:
    """Return the snapshots that exist, of one VD or of all, oldest first."""
    chosen = select(Snapshot).where(Snapshot.taken_at.is_not(None)).order_by(Snapshot.taken_at)
    if vd_name is not None:
        chosen = chosen.join(VirtualDisk, VirtualDisk.id == Snapshot.vd_id).where(VirtualDisk.name == vd_name)
    return list(session.scalars(chosen))
