"""The recovery points of a backup VD, on the target: which there are, and which are let go.

A point is a row of ``recovery_points`` and the snapshot that it names. A snapshot of kind RECOVERY_POINT without a
point is a left-over of a commit or a clean-up that was cut off; it is dropped when the next one comes by.
"""

from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.peer.messages import Point
from qreplica.state.database import Database
from qreplica.state.models import Claim, Lun, RecoveryPoint, Severity, Snapshot, SnapshotKind, VirtualDisk
from qreplica.storage.driver import StorageDriver
from qreplica.units import format_size

#: How many recovery points a backup VD keeps.
KEEP = 8


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


@dataclass(frozen=True, slots=True)
class Points:
    """Lets points of a VD go. Never the newest, and never one that a LUN shows."""

    database: Database
    storage: StorageDriver
    keep: int = KEEP

    def tidy(self, vd_id: str, job_id: str, epoch: int) -> None:
        """Drop left-overs, points beyond ``keep``, and the oldest while snapshots use more than the snapshot space.

        For the owner of that epoch, after whatever it has to do first.

        Space comes back in the background: when dropping a point has not lowered the figure yet, the next call goes
        on, so that no point is dropped whose space was not needed. An engine's failure is an event, and raises
        nothing: no cycle fails because an old point could not be let go.
        """
        try:
            self._drop_left_overs(vd_id, epoch)
            droppable = self._droppable(vd_id, job_id)
            surplus = max(0, self._count(vd_id) - self.keep)
            for point in droppable[:surplus]:
                self._drop(point)
            self._make_room(vd_id, droppable[surplus:])
        except QReplicaError as error:
            self._warn(
                vd_id, "recovery-points-not-tidied", f"Old recovery points could not be let go: {error.sentence}"
            )

    def drop_oldest(self, vd_id: str, job_id: str) -> bool:
        """Drop the oldest point that may go; return whether there was one."""
        droppable = self._droppable(vd_id, job_id)
        if droppable:
            self._drop(droppable[0])
        return bool(droppable)

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
            self._warn(
                vd_id,
                "recovery-points-exceed-space",
                f"The recovery points that must be kept use {format_size(used)} of snapshot space, and "
                f"{format_size(space)} are set: enlarge the snapshot space of the backup VD.",
            )

    def _droppable(self, vd_id: str, job_id: str) -> list[str]:
        """Return the ids of points that may go, oldest first; those of earlier jobs are the older ones."""
        with self.database.session(read_only=True) as session:
            own = points_of_job(session, vd_id, job_id)
            earlier = [point for point in _all(session, vd_id) if point.job_id != job_id]
            shown = _shown(session, vd_id)
            return [point.id for point in (earlier + own)[:-1] if point.snapshot_id not in shown]

    def _count(self, vd_id: str) -> int:
        with self.database.session(read_only=True) as session:
            return len(_all(session, vd_id))

    def _drop(self, point_id: str) -> None:
        with self.database.session() as session:
            point = session.get(RecoveryPoint, point_id)
            if point is None:
                return
            snapshot_id = point.snapshot_id
            session.delete(point)
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
            shown = _shown(session, vd_id)
            left_over = [snapshot for snapshot in session.scalars(chosen) if snapshot not in shown]
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


def _shown(session: Session, vd_id: str) -> set[str]:
    """Return the snapshots of the VD that LUNs show."""
    chosen = select(Lun.snapshot_id).where(Lun.vd_id == vd_id, Lun.snapshot_id.is_not(None))
    return {snapshot for snapshot in session.scalars(chosen) if snapshot is not None}
