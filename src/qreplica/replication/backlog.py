"""How much of a job is still to be sent: the rest of its cycle, and what was written since that one's snapshot."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

import structlog
from sqlalchemy.orm import Session

from qreplica.cluster.leases import Leases
from qreplica.errors import QReplicaError
from qreplica.replication import lags
from qreplica.replication.job_looks import JobLooks
from qreplica.replication.store import unfinished
from qreplica.state import models
from qreplica.state.database import Database
from qreplica.state.lag_models import JobLag
from qreplica.state.models import Job
from qreplica.storage.driver import StorageDriver

#: What was written is counted so often (seconds), and no more often than in so many times as long as that takes.
_EVERY, _TIMES_AS_LONG = 60.0, 100.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Open:
    """What is open of a job: ``rest`` bytes of its cycle, and whatever was written after ``snapshot`` was taken.

    ``snapshot`` is None when nothing is held on both sides: then it is all that the VD holds.
    """

    group: str
    vd: str
    snapshot: str | None
    rest: int


@dataclass(frozen=True, slots=True)
class _Counted:
    """How much was written after ``snapshot``, in bytes, and when that was counted; again ``again`` by the clock."""

    snapshot: str | None
    written: int
    at: datetime
    again: float


class BacklogWatch(JobLooks):
    """For every few seconds. ``now`` is the wall clock, ``clock`` is monotonic.

    What it finds is an upper bound, for the reasons that ``StorageDriver.changed_since`` tells. While the RG does not
    answer nothing is known.
    """

    failing: ClassVar = "What of it is to be sent could not be counted"

    def __init__(
        self,
        database: Database,
        storage: StorageDriver,
        leases: Leases,
        controller: int,
        *,
        now: Callable[[], datetime] = models.now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(database, leases, controller)
        self._storage = storage
        self._now = now
        self._clock = clock
        self._counted: dict[str, _Counted] = {}

    def look(self, database: Database, job: str) -> None:
        """See JobLooks. Nothing is written while nothing is new."""
        with database.session(read_only=True) as session:
            row, lag = session.get(Job, job), session.get(JobLag, job)
            if row is None:
                return
            what = _what_is_open(session, row)
        known = (None, None) if lag is None else (lag.backlog, lag.counted_at)
        counted = self._written(job, what)
        found = (None, None) if counted is None else (what.rest + counted.written, counted.at)
        if found != known:
            with database.session() as session:
                row = session.get(Job, job)
                if row is not None:
                    lag = lags.row_of(session, row)
                    lag.backlog, lag.counted_at = found

    def _written(self, job: str, what: _Open) -> _Counted | None:
        """Return how much was written, counted now or a while ago; None while the RG does not tell."""
        began, known = self._clock(), self._counted.pop(job, None)
        if known is None or known.snapshot != what.snapshot or known.again <= began:
            try:
                at, written = self._now(), self._count(what)
            except QReplicaError as error:
                _log.info("backlog not counted", job=job, reason=error.sentence)
                return None
            pause = max(_EVERY, _TIMES_AS_LONG * (self._clock() - began))
            known = _Counted(what.snapshot, written, at, began + pause)
        self._counted[job] = known
        return known

    def _count(self, what: _Open) -> int:
        if what.snapshot is None:
            return self._storage.allocated(what.group, what.vd)
        return self._storage.changed_since(what.group, what.vd, what.snapshot)


def _what_is_open(session: Session, job: Job) -> _Open:
    """Return what is open of the job. Before a cycle knows what it sends, that is all since the base."""
    cycle, group = unfinished(session, job.id), job.source_vd.raid_group_id
    if cycle is None or cycle.manifest is None or cycle.snapshot_id is None:
        return _Open(group, job.source_vd_id, job.base_snapshot_id, rest=0)
    # Which of the zeros are done is not known; they are hardly sent.
    rest = min(cycle.total_bytes - cycle.done_bytes, cycle.total_bytes - cycle.zero_bytes)
    return _Open(group, job.source_vd_id, cycle.snapshot_id, max(0, rest))
