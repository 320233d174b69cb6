"""QSnap snapshots: taken while the target daemons stand still, and kept as long as something needs them."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from sqlalchemy import delete as delete_rows
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from qreplica.errors import NotFound, QReplicaError
from qreplica.names import check_name
from qreplica.state.database import Database
from qreplica.state.models import (
    Cycle,
    HeldBack,
    Job,
    Lun,
    RecoveryPoint,
    Snapshot,
    SnapshotKind,
    VirtualDisk,
    new_id,
)
from qreplica.state.test_mount_models import TestMount
from qreplica.storage import virtual_disks
from qreplica.storage.driver import SnapshotInfo, StorageDriver
from qreplica.storage.errors import GroupClosed, GroupLocked
from qreplica.storage.service_errors import (
    NameTaken,
    NoSnapshotSpace,
    NoSuchSnapshot,
    SnapshotInterrupted,
    SnapshotNotStill,
    SnapshotOfLockedPoint,
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
    call find, or begin anew, the first one's. A failure leaves nothing. Raises NotAName, NameTaken, NotFound,
    NoSnapshotSpace, SnapshotNotStill, SnapshotInterrupted, PauseBusy, PauseTimedOut, and what the driver does.
    """
    check_name(name, "snapshot")
    snapshot_id, attempt = snapshot_id or new_id(), new_id()
    with db.session(read_only=True) as session:
        known = session.get(Snapshot, snapshot_id)
        vd = _vd(session, vd_id)
    if known is not None and known.taken_at is not None:
        return known
    if known is None:
        used = driver.space_used(vd.raid_group_id, vd_id).snapshots
        made = Snapshot(id=snapshot_id, vd_id=vd_id, name=name, kind=kind, size=vd.size, taken_at=None, attempt=attempt)
        _begin(db, made, used)
    try:
        if known is not None:
            # Whether the daemons stood still when a crash interrupted the first call is not known.
            _discard(db, driver, vd, snapshot_id, attempt)
        info = _freeze(db, driver, pause, vd, snapshot_id=snapshot_id, attempt=attempt)
        return _complete(db, vd, name, info, attempt)
    except BaseException:
        # If this fails too, the row stays, for a second call or the next start.
        with contextlib.suppress(QReplicaError):
            _forget(db, driver, vd, snapshot_id, attempt)
        raise


@contextlib.contextmanager
def momentary(db: Database, driver: StorageDriver, vd: VirtualDisk) -> Iterator[str]:
    """Freeze the VD's present content as long as the context lasts; give the snapshot's id.

    Hosts may write meanwhile, so that it is no point in time; it needs no snapshot space. A start deletes what a crash
    leaves of it.
    """
    snapshot_id = new_id()
    name = f"momentary-{snapshot_id}"
    with db.session() as session:
        session.add(
            Snapshot(id=snapshot_id, vd_id=vd.id, name=name, kind=SnapshotKind.MANUAL, size=vd.size, taken_at=None)
        )
    try:
        driver.take_snapshot(vd.raid_group_id, vd.id, snapshot_id)
        yield snapshot_id
    finally:
        _forget(db, driver, vd, snapshot_id, new_id())


def _vd(session: Session, vd_id: str) -> VirtualDisk:
    vd = session.get(VirtualDisk, vd_id)
    if vd is None or vd.incomplete:
        raise NotFound(what="virtual disk", name=vd_id, noun="vd")
    return vd


def _begin(db: Database, snapshot: Snapshot, used: int) -> None:
    with db.session() as session:
        vd = _vd(session, snapshot.vd_id)
        if used >= vd.snapshot_space:
            raise NoSnapshotSpace(vd=vd.name, space=vd.snapshot_space, used=used)
        if session.scalar(select(Snapshot).where(Snapshot.vd_id == vd.id, Snapshot.name == snapshot.name)):
            raise NameTaken(what=f"snapshot of {vd.name}", name=snapshot.name)
        session.add(snapshot)


def _freeze(
    db: Database, driver: StorageDriver, pause: Pause, vd: VirtualDisk, *, snapshot_id: str, attempt: str
) -> SnapshotInfo:
    for _ in range(_TRIES):
        driver.prepare_snapshot(vd.raid_group_id, vd.id)
        with pause() as paused:
            info = driver.take_snapshot(vd.raid_group_id, vd.id, snapshot_id)
            if paused.still_paused():
                return info
        _discard(db, driver, vd, snapshot_id, attempt)
    raise SnapshotNotStill(vd=vd.name, tries=_TRIES)


def _complete(db: Database, vd: VirtualDisk, name: str, info: SnapshotInfo, attempt: str) -> Snapshot:
    with db.session() as session:
        snapshot = session.get(Snapshot, info.snapshot)
        if snapshot is None or snapshot.attempt != attempt:
            raise SnapshotInterrupted(snapshot=name, vd=vd.name)
        snapshot.taken_at, snapshot.size, snapshot.attempt = info.taken_at, info.size, None
    return snapshot


def _discard(db: Database, driver: StorageDriver, vd: VirtualDisk, snapshot_id: str, attempt: str) -> bool:
    """Delete what was taken, unless somebody who took the work over has it complete; tell whether it was deleted.

    The work becomes ``attempt``'s first, so that nobody completes what is being deleted. The engine, which may have to
    wait, is asked afterwards, when no transaction keeps others from the state.
    """
    with db.session() as session:
        snapshot = session.get(Snapshot, snapshot_id)
        if snapshot is not None:
            if snapshot.taken_at is not None:
                return False
            snapshot.attempt = attempt
    driver.delete_snapshot(vd.raid_group_id, vd.id, snapshot_id)
    return True


def _forget(db: Database, driver: StorageDriver, vd: VirtualDisk, snapshot_id: str, attempt: str) -> None:
    if _discard(db, driver, vd, snapshot_id, attempt):
        with db.session() as session:
            # Who took the work over meanwhile goes on with the row.
            chosen = delete_rows(Snapshot).where(Snapshot.id == snapshot_id, Snapshot.attempt == attempt)
            session.execute(chosen)


def delete(db: Database, driver: StorageDriver, vd_name: str, name: str) -> None:
    """Delete a snapshot that nothing needs.

    Raises NotFound, NoSuchSnapshot, SnapshotPinned (a recovery point's always is), SnapshotOfLockedPoint, GroupClosed
    and GroupLocked; then nothing was deleted.

    From the first step on nobody relies on it; the next call, or start, finishes a deletion that was cut off.
    """
    attempt = new_id()
    with db.session() as session:
        snapshot = _find(session, vd_name, name)
        _refuse_locked(session, snapshot, vd_name)
        holders = pins(session, snapshot.id)
        if holders:
            raise SnapshotPinned(snapshot=name, vd=vd_name, pins=" and ".join(holders))
        vd = snapshot.vd
        taken_at, snapshot.taken_at, snapshot.attempt = snapshot.taken_at, None, attempt
    try:
        _forget(db, driver, vd, snapshot.id, attempt)
    except (GroupClosed, GroupLocked):
        # Nothing was deleted: what the administrator is told has failed must not happen at the next start.
        _take_back(db, snapshot.id, attempt, taken_at)
        raise


def _refuse_locked(session: Session, snapshot: Snapshot, vd_name: str) -> None:
    chosen = select(RecoveryPoint).where(RecoveryPoint.snapshot_id == snapshot.id, RecoveryPoint.locked_at.is_not(None))
    point = session.scalar(chosen)
    if point is not None:
        raise SnapshotOfLockedPoint(snapshot=snapshot.name, vd=vd_name, generation=point.generation, by=point.locked_by)


def _take_back(db: Database, snapshot_id: str, attempt: str, taken_at: datetime | None) -> None:
    """Make a snapshot that was to be deleted one to rely upon again, unless somebody else goes on with deleting it."""
    with db.session() as session:
        snapshot = session.get(Snapshot, snapshot_id)
        if snapshot is not None and snapshot.attempt == attempt and taken_at is not None:
            snapshot.taken_at, snapshot.attempt = taken_at, None


def undo_incomplete(db: Database, driver: StorageDriver, group_id: str) -> None:
    """Undo what a crash left of snapshots being taken in an open RG, and finish what it left of deletions.

    Those that something needs are gone on with by it, and recovery points' by the next commit.
    """
    with db.session(read_only=True) as session:
        half = select(Snapshot).join(VirtualDisk, VirtualDisk.id == Snapshot.vd_id)
        half = half.where(VirtualDisk.raid_group_id == group_id, ~VirtualDisk.incomplete)
        half = half.where(Snapshot.taken_at.is_(None), Snapshot.kind != SnapshotKind.RECOVERY_POINT)
        left = [(snapshot.vd, snapshot.id) for snapshot in session.scalars(half) if not pins(session, snapshot.id)]
    for vd, snapshot_id in left:
        _forget(db, driver, vd, snapshot_id, new_id())


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
    for held in session.scalars(select(HeldBack).where(HeldBack.snapshot_id == snapshot_id)):
        found.append(f"the roll-back of {held.vd.name}")
    for lun in session.scalars(select(Lun).where(Lun.snapshot_id == snapshot_id)):
        found.append(f"LUN {lun.number} of node {lun.node.name}")
    for mount in session.scalars(select(TestMount).where(TestMount.snapshot_id == snapshot_id)):
        found.append(f"test mount {mount.vd.name}")
    return found


def get(session: Session, vd_name: str, name: str) -> Snapshot:
    """Return a snapshot of the VD by name. Raises NotFound, NoSuchSnapshot, also for one that is not yet taken."""
    snapshot = _find(session, vd_name, name)
    if snapshot.taken_at is None:
        raise NoSuchSnapshot(vd=vd_name, name=name)
    return snapshot


def _find(session: Session, vd_name: str, name: str) -> Snapshot:
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
