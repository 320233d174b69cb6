"""A job from a VD that was promoted to the side that gave way to it goes on from a generation that both hold.

It is the job of before in the other direction, with the same id: what the new backup VD holds of it is the base, so
that only what has changed since is sent.
"""

from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from qreplica.peer.messages import BackupVd
from qreplica.state.models import Cycle, CycleKind, Job, Outcome, RecoveryPoint, Snapshot, SnapshotKind, Step
from qreplica.state.promotion_models import Promotion


@dataclass(frozen=True, slots=True)
class Continued:
    """The ``job`` that goes on, above ``epoch``, from ``generation``, whose snapshot here is ``snapshot``."""

    job: str
    epoch: int
    generation: int
    snapshot: str


def continued(session: Session, vd_id: str, offered: BackupVd) -> Continued | None:
    """Return what a job from the VD to the backup VD offered goes on with; None if it begins with a full copy."""
    row, held = session.get(Promotion, vd_id), offered.held
    if row is None or row.promoted_at is None or held is None or offered.held_of != row.job_id:
        return None
    point = session.scalar(
        select(RecoveryPoint).where(
            RecoveryPoint.vd_id == vd_id,
            RecoveryPoint.job_id == row.job_id,
            RecoveryPoint.generation == held.generation,
            RecoveryPoint.snapshot_id == held.source_snapshot,
        )
    )
    return None if point is None else Continued(row.job_id, row.epoch, held.generation, held.source_snapshot)


def go_on(session: Session, job: Job, since: Continued) -> None:
    """Give the new job its base: the recovery point becomes a snapshot of a cycle of its own that is committed."""
    known = select(func.max(RecoveryPoint.generation)).where(RecoveryPoint.job_id == since.job)
    latest = session.scalar(known) or since.generation
    snapshot = session.get_one(Snapshot, since.snapshot)
    point = session.scalars(select(RecoveryPoint).where(RecoveryPoint.snapshot_id == since.snapshot)).one()
    at = point.committed_at
    session.add(
        Cycle(
            id=since.snapshot,
            job_id=job.id,
            generation=since.generation,
            kind=CycleKind.FULL,
            snapshot_id=since.snapshot,
            taken_at=snapshot.taken_at,
            step=Step.DONE,
            outcome=Outcome.COMMITTED,
            started_at=at,
            progressed_at=at,
            finished_at=at,
        )
    )
    session.flush()
    snapshot.kind = SnapshotKind.REPLICATION
    job.base_generation, job.base_snapshot_id, job.generation = since.generation, since.snapshot, latest
    session.execute(delete(RecoveryPoint).where(RecoveryPoint.snapshot_id == since.snapshot))
    session.execute(delete(Promotion).where(Promotion.vd_id == job.source_vd_id))
