"""The recovery points of a backup VD, on the target: which there are, and which are let go (``retention`` says which).

A point is a row of ``recovery_points`` and the snapshot that it names. A snapshot of kind RECOVERY_POINT without a
point is a left-over of a commit or a clean-up that was cut off; it is dropped when the next one comes by.
"""

from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.peer.messages import Point
from qreplica.replication import configuration, retention
from qreplica.state.database import Database
from qreplica.state.models import Claim, HeldBack, Lun, RecoveryPoint, Severity, Snapshot, SnapshotKind, VirtualDisk
from qreplica.state.retention_models import RetentionPolicy
from qreplica.state.test_mount_models import TestMount
from qreplica.storage.driver import StorageDriver
from qreplica.units import format_size


def points_of_job(session: Session, vd_id: str, job_id: str) -> list[RecoveryPoint]:
    """Return the points that the job committed, ascending by generation."""
    chosen = select(RecoveryPoint).where(RecoveryPoint.vd_id == vd_id, RecoveryPoint.job_id == job_id)
    return list(session.scalars(chosen.order_by(RecoveryPoint.generation)))


def newest(session: Session, vd_id: str, job_id: str) -> RecoveryPoint | None:
    """Return the point that the live VD goes back to: the job's newest, or else what an earlier job left."""
    points = points_of_job(session, vd_id, job_id) or _all(session, vd_id)
    return points[-1] if points else None


def as_message(point: RecoveryPoint) -> Point:
    """Return the point as the peer conversation tells it."""
    return Point(
        generation=point.generation,
        source_snapshot=point.source_snapshot,
        size=point.size,
        manifest=point.manifest,
        committed_at=point.committed_at,
    )


def facts_of(session: Session, vd_id: str, job_id: str) -> list[retention.Fact]:
    """Return the VD's points as ``retention`` judges them, oldest first; those of earlier jobs are the older ones."""
    own = points_of_job(session, vd_id, job_id)
    earlier = [point for point in _all(session, vd_id) if point.job_id != job_id]
    needed = _needed(session, vd_id)
    return [
        retention.Fact(
            point.id, point.committed_at, locked=point.locked_at is not None, needed=point.snapshot_id in needed
        )
        for point in earlier + own
    ]


def policy_of(session: Session, vd_id: str, default: retention.Policy) -> retention.Policy:
    """Return the VD's retention, ``default`` unless it was set."""
    row = session.get(RetentionPolicy, vd_id)
    return default if row is None else retention.Policy(row.last, row.hourly, row.daily, row.weekly, row.monthly)


@dataclass(frozen=True, slots=True)
class Points:
    """Lets points of a VD go. Never the newest, and never one that is locked or that a LUN shows.

    ``default`` is the retention of a VD whose own was not set.
    """

    database: Database
    storage: StorageDriver
    default: retention.Policy = retention.DEFAULT

    def tidy(self, vd_id: str, job_id: str, epoch: int) -> None:
        """Drop left-overs, what no rule of the retention keeps, and the oldest while they exceed the snapshot space.

        For the owner of that epoch, after whatever it has to do first.

        Space comes back in the background: when dropping a point has not lowered the figure yet, the next call goes
        on, so that no point is dropped whose space was not needed. An engine's failure is an event, and raises
        nothing: no cycle fails because an old point could not be let go.
        """
        try:
            self._drop_left_overs(vd_id, epoch)
            for point in self._surplus(vd_id, job_id):
                self._drop(point)
            self._make_room(vd_id, self._expendable(vd_id, job_id))
        except QReplicaError as error:
            self._warn(
                vd_id, "recovery-points-not-tidied", f"Old recovery points could not be let go: {error.sentence}"
            )

    def drop_oldest(self, vd_id: str, job_id: str) -> bool:
        """Drop the oldest point that may go; return whether there was one, and tell of those that are locked."""
        expendable = self._expendable(vd_id, job_id)
        if expendable:
            self._drop(expendable[0])
        elif locked := self._locked(vd_id):
            self._warn(
                vd_id,
                "locked-points-leave-no-space",
                f"There is no space for a new recovery point, and old ones that are locked ({locked}) are not let go: "
                "unlock some with “qreplica recovery-point unlock”, or add disks to the RAID group.",
            )
        return bool(expendable)

    def drop_forgotten(self, group: str, vd_id: str, snapshot_id: str) -> None:
        """Delete a snapshot that was taken so slowly that a newer owner has dropped its row already; no other one."""
        with self.database.session(read_only=True) as session:
            if session.get(Snapshot, snapshot_id) is not None:
                return
        self.storage.delete_snapshot(group, vd_id, snapshot_id)

    def _make_room(self, vd_id: str, oldest_first: list[str]) -> None:
        used, space = self._space(vd_id)
        for point in oldest_first:
            if used <= space:
                return
            self._drop(point)
            before, (used, space) = used, self._space(vd_id)
            if used >= before:
                return
        if used > space:
            locked = self._locked(vd_id)
            which = f" ({locked} of them locked)" if locked else ""
            remedy = "unlock some with “qreplica recovery-point unlock”, or " if locked else ""
            self._warn(
                vd_id,
                "recovery-points-exceed-space",
                f"The recovery points that must be kept{which} use {format_size(used)} of snapshot space, and "
                f"{format_size(space)} are set: {remedy}enlarge the snapshot space of the backup VD.",
            )

    def _surplus(self, vd_id: str, job_id: str) -> list[str]:
        with self.database.session(read_only=True) as session:
            policy, zone = policy_of(session, vd_id, self.default), configuration.time_zone(session)
            return retention.to_let_go(facts_of(session, vd_id, job_id), policy, zone)

    def _expendable(self, vd_id: str, job_id: str) -> list[str]:
        with self.database.session(read_only=True) as session:
            return retention.expendable(facts_of(session, vd_id, job_id))

    def _locked(self, vd_id: str) -> int:
        with self.database.session(read_only=True) as session:
            return sum(point.locked_at is not None for point in _all(session, vd_id))

    def _drop(self, point_id: str) -> None:
        """Drop the point, unless it has been locked or shown since it was found that it may go."""
        with self.database.session() as session:
            point = session.get(RecoveryPoint, point_id)
            if point is None or point.snapshot_id in _needed(session, point.vd_id):
                return
            snapshot_id = point.snapshot_id
            # As a condition of the statement: with PostgreSQL somebody may be locking it at this moment.
            unlocked = delete(RecoveryPoint).where(RecoveryPoint.id == point_id, RecoveryPoint.locked_at.is_(None))
            if session.execute(unlocked).rowcount != 1:  # type: ignore[attr-defined] # every DELETE's result has it
                return
        self._drop_snapshot(snapshot_id)

    def _drop_left_overs(self, vd_id: str, epoch: int) -> None:
        """Drop what no commit will make a point: those of earlier owners are too late, and the owner makes none now."""
        with self.database.session(read_only=True) as session:
            if session.scalar(select(Claim.epoch).where(Claim.vd_id == vd_id)) != epoch:
                return
            kept = select(RecoveryPoint.snapshot_id)
            chosen = select(Snapshot.id).where(
                Snapshot.vd_id == vd_id, Snapshot.kind == SnapshotKind.RECOVERY_POINT, Snapshot.id.not_in(kept)
            )
            needed = _needed(session, vd_id)
            left_over = [snapshot for snapshot in session.scalars(chosen) if snapshot not in needed]
        for snapshot in left_over:
            self._drop_snapshot(snapshot)

    def _drop_snapshot(self, snapshot_id: str) -> None:
        with self.database.session() as session:
            snapshot = session.get(Snapshot, snapshot_id)
            if snapshot is None:
                return
            place = snapshot.vd.raid_group_id, snapshot.vd_id
        self.storage.delete_snapshot(*place, snapshot_id)
        with self.database.session() as session:
            session.execute(delete(Snapshot).where(Snapshot.id == snapshot_id))

    def _space(self, vd_id: str) -> tuple[int, int]:
        with self.database.session(read_only=True) as session:
            vd = session.get_one(VirtualDisk, vd_id)
            group, space = vd.raid_group_id, vd.snapshot_space
        return self.storage.space_used(group, vd_id).snapshots, space

    def _warn(self, vd_id: str, kind: str, message: str) -> None:
        with self.database.session() as session:
            vd = session.get_one(VirtualDisk, vd_id)
            log.record(session, Severity.WARNING, kind, f"vd {vd.name}", message)


def _all(session: Session, vd_id: str) -> list[RecoveryPoint]:
    chosen = select(RecoveryPoint).where(RecoveryPoint.vd_id == vd_id)
    return list(session.scalars(chosen.order_by(RecoveryPoint.committed_at, RecoveryPoint.generation)))


def _needed(session: Session, vd_id: str) -> set[str]:
    """Return the snapshots of the VD that LUNs or test mounts show, and the one that it is being rolled back to."""
    shown = select(Lun.snapshot_id).where(Lun.vd_id == vd_id)
    held_back = select(HeldBack.snapshot_id).where(HeldBack.vd_id == vd_id)
    mounted = select(TestMount.snapshot_id).join(Snapshot).where(Snapshot.vd_id == vd_id)
    return {one for chosen in (shown, held_back, mounted) for one in session.scalars(chosen) if one is not None}
