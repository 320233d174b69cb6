"""Rolls a virtual disk back to one of its snapshots, once the administrator knows what that loses."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError, Unavailable
from qreplica.state.database import Database
from qreplica.state.models import Claim, HeldBack, Job, JobState, SnapshotKind, VirtualDisk, now
from qreplica.storage import extending, holding_back, snapshots
from qreplica.storage.driver import StorageDriver
from qreplica.storage.errors import GroupClosed
from qreplica.storage.service_errors import NoSnapshotSpace, RollBackNotConfirmed, VdClaimed, VdReplicating
from qreplica.units import format_duration, format_size

#: Has every target daemon let go of a VD's file, which is held back as long as the context lasts. Refuses while a host
#: could use it. Gives a list, to which its end adds what could not be served again.
LetGo = Callable[[str], AbstractContextManager[list[QReplicaError]]]

_BUSY = (JobState.QUEUED, JobState.RUNNING, JobState.WAITING, JobState.STOPPING)


@dataclass(frozen=True, slots=True)
class Loss:
    """What a roll-back loses: everything ``since`` a time (UTC), ``changed`` bytes in whole blocks."""

    since: datetime
    changed: int

    @property
    def sentence(self) -> str:
        """It in words, without an end."""
        age = format_duration((now() - self.since).total_seconds())
        return f"everything written since {self.since:%Y-%m-%d %H:%M:%S} UTC ({age} ago), {format_size(self.changed)}"


def loss(db: Database, driver: StorageDriver, vd: str, snapshot: str) -> Loss:
    """Return what rolling the VD back to the snapshot would lose now. Raises NotFound, NoSuchSnapshot."""
    with db.session(read_only=True) as session:
        to = snapshots.get(session, vd, snapshot)
        disk, taken_at = to.vd, to.taken_at or now()
    with snapshots.momentary(db, driver, disk) as present:
        extents = driver.delta(disk.raid_group_id, disk.id, to.id, present)
    return Loss(taken_at, sum(extent.length for extent in extents))


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What came of a roll-back.

    ``kept`` is the snapshot that has what was there before, if one was taken. ``problems`` are failures after the
    content had changed: what is served of it yet, or not.
    """

    kept: str | None
    problems: tuple[QReplicaError, ...]


def roll_back(
    db: Database,
    driver: StorageDriver,
    pause: snapshots.Pause,
    let_go: LetGo,
    *,
    vd: str,
    snapshot: str,
    confirmed: str | None,
    keep_present: bool | None = None,
) -> RolledBack:
    """Give the VD the content of its snapshot.

    ``confirmed`` is the VD's name, which stands for having read what will be lost. ``keep_present``: a snapshot is
    taken before, or nothing is done; None takes one if there is snapshot space. The VD keeps its size: beyond that of
    the snapshot it reads as zeros. A crash leaves it as it was before or as it is to be, and is followed by ``finish``.

    Raises NotFound, NoSuchSnapshot, RollBackNotConfirmed, VdReplicating, VdClaimed, NoSnapshotSpace, and what
    ``let_go``, ``snapshots.take`` and the driver do; then the VD is as it was.
    """
    with db.session(read_only=True) as session:
        to = snapshots.get(session, vd, snapshot)
        disk = to.vd
        _refuse_used(session, disk)
    if confirmed != vd:
        raise RollBackNotConfirmed(vd=vd, snapshot=snapshot, loss=loss(db, driver, vd, snapshot).sentence)
    with let_go(disk.id) as problems:
        # Measured now that nobody writes any more.
        what = loss(db, driver, vd, snapshot)
        kept = _keep_present(db, driver, pause, disk, wanted=keep_present)
        told = f"It was rolled back to snapshot {snapshot}, which loses {what.sentence}"
        told += f"; snapshot {kept} has that still." if kept else "."
        with db.session() as session:
            _refuse_used(session, disk)
            to = snapshots.get(session, vd, snapshot)
            _mark_unknown(session, disk)
            holding_back.decide(session, disk.id, to.id, told)
        try:
            problems.extend(_exchange(driver, disk.raid_group_id, disk.id, to.id))
        except QReplicaError:
            holding_back.undecide(db, disk.id)
            raise
        try:
            _complete(db, driver, disk.id)
        except QReplicaError as error:
            # It is done, and must not be told as a failure; the rest is tried again until it succeeds.
            problems.append(error)
    return RolledBack(kept, tuple(problems))


def finish(db: Database, driver: StorageDriver, vd_id: str) -> None:
    """Finish what a crash cut off of a VD's roll-back, so that the VD can be served again; idempotent.

    Nobody has written the VD since, so that rolling it back once more loses nothing. What the engine refuses for good
    is given up and told of. Raises what may succeed later.
    """
    with db.session(read_only=True) as session:
        held = session.get(HeldBack, vd_id)
        if held is None:
            return
        group_id = held.vd.raid_group_id
    if held.snapshot_id is not None and held.told is not None:
        try:
            _exchange(driver, group_id, vd_id, held.snapshot_id)
        except (GroupClosed, Unavailable):
            raise
        except QReplicaError as error:
            holding_back.undecide(db, vd_id, error.sentence)
    _complete(db, driver, vd_id)
    holding_back.serve_again(db, vd_id)


def _exchange(driver: StorageDriver, group_id: str, vd_id: str, snapshot_id: str) -> list[QReplicaError]:
    """Give the VD the snapshot's content; return what failed when that was done. Raises what failed before."""
    before = _file(driver, group_id, vd_id)
    try:
        driver.roll_back(group_id, vd_id, snapshot_id)
    except QReplicaError as error:
        if _file(driver, group_id, vd_id) == before:
            raise
        return [error]
    return []


def _file(driver: StorageDriver, group_id: str, vd_id: str) -> tuple[int, int]:
    """Return which file it is that stands for the VD: a roll-back makes it another one."""
    found = driver.vd_path(group_id, vd_id).stat()
    return found.st_dev, found.st_ino


def _complete(db: Database, driver: StorageDriver, vd_id: str) -> None:
    """Tell of a VD that has the content of its snapshot, and give it the size that it was promised."""
    holding_back.tell(db, vd_id)
    extending.follow(db, driver, vd_id)
    holding_back.settle(db, vd_id)


def _refuse_used(session: Session, vd: VirtualDisk) -> None:
    for job in session.scalars(select(Job).where(Job.source_vd_id == vd.id, Job.state.in_(_BUSY))):
        raise VdReplicating(vd=vd.name, job=job.name, state=job.state)
    claim = session.get(Claim, vd.id)
    if claim is not None and claim.job_id:
        raise VdClaimed(vd=vd.name, job=claim.job_id)


def _mark_unknown(session: Session, vd: VirtualDisk) -> None:
    """Note that a backup VD is no longer its newest recovery point: who claims it next has it rolled back to that."""
    claim = session.get(Claim, vd.id)
    if claim is not None:
        claim.generation, claim.manifest = claim.generation or 0, None


def _keep_present(
    db: Database, driver: StorageDriver, pause: snapshots.Pause, vd: VirtualDisk, *, wanted: bool | None
) -> str | None:
    if wanted is False:
        return None
    name = f"before-rollback-{now():%Y%m%d-%H%M%S-%f}"
    try:
        return snapshots.take(db, driver, pause, vd_id=vd.id, name=name, kind=SnapshotKind.MANUAL).name
    except NoSnapshotSpace:
        if wanted:
            raise
    return None
