"""Sees to it that a job's snapshots do not hold more than the snapshot space of their source VD.

A job at work fails by name when they do. With "restart an hour later if failed", and a schedule, its snapshots are then
cleared, the base too: nothing else ever takes that (white paper, "Configure the snapshot space").
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
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
from qreplica.storage.making_room import limits_of, uses
from qreplica.storage.reclaiming import Reclaiming
from qreplica.storage.service_errors import NoSnapshotSpace
from qreplica.storage.space_pressure import NEWS
from qreplica.units import MIB

#: The engine is not made to count for less than this, in bytes.
_COUNT_AGAIN = 16 * MIB
#: How long (seconds) and how much (bytes) is given back at a look.
_SLICE, _BUDGET = 0.25, 64 * MIB


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

    def __init__(
        self,
        storage: StorageDriver,
        controller: int,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._controller = controller
        self._now = now
        self._clock = clock
        self._reclaiming: dict[str, Reclaiming] = {}
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
            used = self._used(job, source, surely=fails_or_clears)
            if used >= source.space and not (fails_or_clears and self._gives_back(database, source)):
                verdict = Verdict(exhausted=True, changed=fails_or_clears)
                left_over = self._act(database, job, used) if fails_or_clears else []
        for snapshot in left_over:
            qsnaps.delete(database, self._storage, source.vd, snapshot)
        return verdict

    def _used(self, job: str, source: _Source, *, surely: bool) -> int:
        """Return what the snapshots use, never much less than they do; and if ``surely``, all of the space only if so.

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
        elif used >= source.space and surely:
            used = self._storage.space_used(source.group, source.vd).snapshots
        return used

    def _gives_back(self, database: Database, source: _Source) -> bool:
        """Give back a little of what the VD holds for nothing; tell whether there may be more.

        As where a snapshot is let go of for want of room, nothing goes on a guess: that comes first, for a moment at
        each look, and what was deleted may still be on its way; unless hosts would have to wait for room meanwhile.
        """
        limits = limits_of(database, source.group)
        room = 0 if limits is None else limits.spare(self._storage.data_use(source.group))
        if room == 0:
            return False
        reclaiming = self._reclaiming.setdefault(source.group, Reclaiming(self._storage, source.group))
        until = self._clock() + _SLICE
        while (left := until - self._clock()) > 0:
            vds = [
                # Also by less than what is let be elsewhere the space may be exceeded.
                replace(use, snapshot_space=source.space - NEWS - 1)
                for use in uses(database, self._storage, source.group)
                if use.vd == source.vd
            ]
            if reclaiming.slice(vds, budget=min(room, _BUDGET), room=room, seconds=left) is None:
                return self._storage.freeing(source.group)
        return True

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
    at_rest = job.state in {JobState.IDLE, JobState.QUEUED, JobState.STOPPED, JobState.FAILED}
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
