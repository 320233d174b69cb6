"""Sees to it that a job's snapshots do not hold more than the snapshot space of their source VD.

A job at work fails by name when they do. With "restart an hour later if failed", and a schedule, its snapshots are then
cleared, the base too: nothing else ever takes that (white paper, "Configure the snapshot space").
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.replication import configuration, plans, qsnaps
from qreplica.replication.path_states import carried_by
from qreplica.replication.run_planner import RESTART_AFTER
from qreplica.replication.schedule_errors import RestartDropped, SnapshotsCleared, SnapshotSpaceExhausted
from qreplica.replication.store import ACTIVE, snapshots_of, unfinished, unpin
from qreplica.state.database import Database
from qreplica.state.models import Job, JobState, Outcome, Severity
from qreplica.storage.driver import StorageDriver
from qreplica.storage.service_errors import NoSnapshotSpace
from qreplica.units import MIB

#: The engine is not made to count for less than this, in bytes.
_COUNT_AGAIN = 16 * MIB


@dataclass(frozen=True, slots=True)
class _Source:
    """A job's source VD: its id, its RG, and its snapshot space in bytes."""

    vd: str
    group: str
    space: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether there is no space, so that nothing is to begin by itself now; and whether the job's state was changed."""

    exhausted: bool = False
    changed: bool = False


class SpaceWatch:
    """For the jobs of one controller; ``look`` is to be called every second for each. Raises what the driver does."""

    def __init__(self, storage: StorageDriver, controller: int, clock: Callable[[], datetime]) -> None:
        self._storage = storage
        self._controller = controller
        self._now = clock
        #: For each job what was used when it was counted last, and what its RG held then, in bytes.
        self._counted: dict[str, tuple[int, int]] = {}

    def look(self, database: Database, job: str) -> Verdict:
        """See whether the space has run out, and if so do what is to be done."""
        with database.session(read_only=True) as session:
            row = session.get(Job, job)
            if row is None:
                return Verdict()
            source = _Source(row.source_vd_id, row.source_vd.raid_group_id, row.source_vd.snapshot_space)
            fails_or_clears = _fails(session, row) or _is_to_be_cleared(session, row)
            waits, left_over = _waits_for_space(row), _left_over(session, row)
        verdict = Verdict()
        if fails_or_clears or waits:
            used = self._used(job, source)
            if used >= source.space:
                verdict = Verdict(exhausted=True, changed=fails_or_clears)
                left_over = self._act(database, job, used) if fails_or_clears else []
        for snapshot in left_over:
            qsnaps.delete(database, self._storage, source.vd, snapshot)
        return verdict

    def _used(self, job: str, source: _Source) -> int:
        """Return what the snapshots use, never much less than they do.

        What the engine counted last may be half a minute old, and to have it count anew each second would slow hosts
        down. So it does that when the RG has taken in as much since as the VD had left.
        """
        used = self._storage.space_used(source.group, source.vd, settled=False).snapshots
        use = self._storage.data_use(source.group)
        held = use.held + use.coming
        counted, then = self._counted.get(job, (source.space, -_COUNT_AGAIN))
        taken_in = held - then
        if used < source.space and taken_in >= _COUNT_AGAIN and counted + taken_in >= source.space:
            used = self._storage.space_used(source.group, source.vd).snapshots
            self._counted[job] = (used, held)
        return used

    def _act(self, database: Database, job: str, used: int) -> list[str]:
        """Have the job fail, or clear it; return the snapshots that are to be deleted."""
        with database.session() as session:
            row = session.get(Job, job)
            if row is not None and _fails(session, row):
                error = SnapshotSpaceExhausted(vd=row.source_vd.name, space=row.source_vd.snapshot_space, used=used)
                cycle = unfinished(session, job)
                if cycle is not None:
                    cycle.error = error.sentence
                self._fail(session, row, error, Severity.ERROR, "job-failed")
            elif row is not None and _is_to_be_cleared(session, row):
                return self._clear(session, row, used)
        return []

    def _clear(self, session: Session, job: Job, used: int) -> list[str]:
        zone, at = configuration.time_zone(session), self._now() + RESTART_AFTER
        error = SnapshotsCleared(
            vd=job.source_vd.name,
            space=job.source_vd.snapshot_space,
            used=used,
            at=f"{at.astimezone(zone):%Y-%m-%d %H:%M}",
            zone=zone.key,
        )
        # Whoever still works on it must not rely on what is deleted.
        job.epoch += 1
        cycle = unfinished(session, job.id)
        if cycle is not None:
            cycle.finished_at, cycle.outcome, cycle.error = self._now(), Outcome.ABANDONED, error.sentence
        snapshots = snapshots_of(session, job.id)
        unpin(session, snapshots)
        job.base_generation = None
        plans.row_of(session, job).restart_at = at
        self._fail(session, job, error, Severity.WARNING, error.kind)
        return snapshots

    def _fail(self, session: Session, job: Job, error: QReplicaError, severity: Severity, kind: str) -> None:
        job.state, job.error_kind, job.error = JobState.FAILED, error.kind, error.sentence
        carried_by(job, None)
        log.record(session, severity, kind, f"job {job.name}", error.sentence, controller=self._controller)


def _fails(session: Session, job: Job) -> bool:
    """Tell whether the job is at work with snapshots, so that it fails when there is no space for them."""
    return job.state in ACTIVE and _holds_snapshots(session, job)


def _is_to_be_cleared(session: Session, job: Job) -> bool:
    """Tell whether the job's snapshots are to be cleared when there is no space for them."""
    at_rest = job.state in {JobState.IDLE, JobState.STOPPED, JobState.FAILED}
    if not at_rest or not (_holds_snapshots(session, job) or _waits_for_space(job)):
        return False
    return plans.of(session, job.id).in_force is not None and configuration.get(session).restart_after_failure


def _waits_for_space(job: Job) -> bool:
    """Tell whether the job failed for want of snapshot space, so that it can only run once there is some."""
    return job.state is JobState.FAILED and job.error_kind in {SnapshotSpaceExhausted.kind, NoSnapshotSpace.kind}


def _holds_snapshots(session: Session, job: Job) -> bool:
    cycle = unfinished(session, job.id)
    return job.base_snapshot_id is not None or (cycle is not None and cycle.snapshot_id is not None)


def _left_over(session: Session, job: Job) -> list[str]:
    """Return what a crash, or the engine, kept from being deleted when the job was cleared."""
    cleared = job.state is JobState.FAILED and job.error_kind in {SnapshotsCleared.kind, RestartDropped.kind}
    return snapshots_of(session, job.id) if cleared else []
