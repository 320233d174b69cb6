"""Has jobs begin by themselves: by schedule, by the threshold, and again after their snapshot space ran out."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import ClassVar
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from qreplica.cluster.leases import Leases
from qreplica.replication import configuration, plans
from qreplica.replication.job_looks import JobLooks
from qreplica.replication.run_planner import LATE, Begin, Cause, Facts, SetBack, decide, watches_threshold
from qreplica.replication.space_watch import SpaceWatch
from qreplica.state import models
from qreplica.state.database import Database
from qreplica.state.models import Job, Severity
from qreplica.state.schedule_models import JobPlan
from qreplica.storage.driver import StorageDriver


class Scheduler(JobLooks):
    """For every second. ``now`` is the wall clock, ``clock`` is monotonic.

    ``begun`` is called when a job is to have a worker, or to lose it. While ``may_begin`` says no, as it does without a
    license, what is due waits.
    """

    failing: ClassVar = "What it is to do by itself could not be looked after"

    def __init__(
        self,
        database: Database,
        storage: StorageDriver,
        leases: Leases,
        controller: int,
        *,
        begun: Callable[[], None],
        may_begin: Callable[[], bool] = lambda: True,
        now: Callable[[], datetime] = models.now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(database, leases, controller)
        self._storage = storage
        self._begun = begun
        self._may_begin = may_begin
        self._now = now
        self._clock = clock
        self._space = SpaceWatch(storage, controller, now)
        self._checked: float | None = None
        self._checks = False

    def round(self) -> None:
        """See JobLooks. The threshold is checked in some rounds only."""
        self._checks = self._is_time_to_check()
        super().round()

    def _is_time_to_check(self) -> bool:
        """Tell whether the threshold is checked in this round; each process does so at its start too."""
        with self._database.session(read_only=True) as session:
            period = configuration.get(session).check_minutes * 60
        at = self._clock()
        if self._checked is not None and at - self._checked < period:
            return False
        self._checked = at
        return True

    def look(self, database: Database, job: str) -> None:
        """See JobLooks. Begin what is due."""
        verdict = self._space.look(database, job)
        changed = verdict.changed
        if not verdict.exhausted and self._may_begin():
            changed = self._begin_what_is_due(database, job) or (
                self._checks and self._begin_by_threshold(database, job)
            )
        if changed:
            self._begun()

    def _begin_what_is_due(self, database: Database, job: str) -> bool:
        at = self._now()
        with database.session(read_only=True) as session:
            if self._decision(session, job, at) is None:
                return False
        with database.session() as session:
            decision = self._decision(session, job, at)
            if decision is None:
                return False
            row = session.get_one(Job, job)
            session.get_one(JobPlan, job).considered_to = decision.considered_to
            if isinstance(decision, SetBack):
                told = "The clock was set back: what its schedule says counts from now on again."
                self.record(session, row, Severity.WARNING, "clock-set-back", told)
                return False
            self._begin(session, row, _why(decision, configuration.time_zone(session), at))
            return True

    def _decision(self, session: Session, job: str, at: datetime) -> Begin | SetBack | None:
        facts = self._facts(session, job)
        return None if facts is None else decide(facts, configuration.time_zone(session), at)

    def _facts(self, session: Session, job: str) -> Facts | None:
        row, plan = session.get(Job, job), plans.of(session, job)
        if row is None or plan.in_force is None:
            return None
        considered_to = session.get_one(JobPlan, job).considered_to
        return Facts(row.state, plan.paused, plan.in_force, considered_to, plan.restart_at)

    def _begin_by_threshold(self, database: Database, job: str) -> bool:
        with database.session(read_only=True) as session:
            facts, row = self._facts(session, job), session.get(Job, job)
            if facts is None or row is None or not watches_threshold(facts):
                return False
            vd, level = row.source_vd, plans.threshold_of(session, row)
        space = vd.snapshot_space
        used = self._storage.space_used(vd.raid_group_id, vd.id).snapshots
        if not space or used < level:
            return False
        with database.session() as session:
            facts, row = self._facts(session, job), session.get(Job, job)
            if facts is None or row is None or not watches_threshold(facts):
                return False
            shares = (
                f"{_percent(used, space)} of its snapshot space are used, of {_percent(level, space)} that set it off"
            )
            self._begin(session, row, f"by the threshold: {shares}")
            return True

    def _begin(self, session: Session, job: Job, why: str) -> None:
        plans.begin(session, job, why, self._controller)


def _why(begin: Begin, zone: ZoneInfo, at: datetime) -> str:
    due = f"{begin.due.astimezone(zone):%Y-%m-%d %H:%M} ({zone.key})"
    if begin.cause is Cause.RESTART:
        return "again, with a full copy, because its snapshots were cleared"
    late = " to make up for it" if at - begin.due > LATE else ""
    return f"by its schedule, which was due at {due}{late}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"
