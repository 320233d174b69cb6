"""Looks whether the copies of jobs are as new as they are wanted, and whether jobs move on, and tells when not."""

from collections.abc import Callable
from datetime import datetime
from typing import ClassVar

from sqlalchemy.orm import Session

from qreplica.cluster.leases import Leases
from qreplica.errors import QReplicaError
from qreplica.replication import lags
from qreplica.replication.job_looks import JobLooks
from qreplica.replication.lag import News, judge
from qreplica.replication.lag_sentences import sentence
from qreplica.state import models
from qreplica.state.database import Database
from qreplica.state.lag_models import JobLag
from qreplica.state.models import Job, Severity

_SEVERITIES = {
    News.RPO_MISSED: Severity.ERROR,
    News.RPO_MET_AGAIN: Severity.INFO,
    News.WITHOUT_PROGRESS: Severity.ERROR,
    News.PROGRESSES_AGAIN: Severity.INFO,
}


class LagWatch(JobLooks):
    """For every few seconds. It asks nothing but the state, so that an engine that hangs does not silence it.

    ``now`` is the wall clock. ``obstacle`` returns why no cycle may begin on this controller, None when one may.
    """

    failing: ClassVar = "How far its copy lags behind could not be looked at"

    def __init__(
        self,
        database: Database,
        leases: Leases,
        controller: int,
        *,
        obstacle: Callable[[], QReplicaError | None] = lambda: None,
        now: Callable[[], datetime] = models.now,
    ) -> None:
        super().__init__(database, leases, controller)
        self._obstacle = obstacle
        self._now = now

    def look(self, database: Database, job: str) -> None:
        """See JobLooks. Nothing is written while nothing is new."""
        at = self._now()
        with database.session(read_only=True) as session:
            row = session.get(Job, job)
            if row is None:
                return
            noted = lags.noted(session.get(JobLag, job))
            found, _ = judge(lags.facts_of(session, row), noted, at)
        if found != noted:
            obstacle = self._obstacle()
            with database.session() as session:
                self._write(session, job, at, obstacle)

    def _write(self, session: Session, job: str, at: datetime, obstacle: QReplicaError | None) -> None:
        """Judge again what may have changed meanwhile, and write it down with what is to be told."""
        row = session.get(Job, job)
        if row is None:
            return
        lag, facts = lags.row_of(session, row), lags.facts_of(session, row)
        found, news = judge(facts, lags.noted(lag), at)
        lags.note(lag, found)
        for one in news:
            message = sentence(session, row, facts, one, at, obstacle)
            self.record(session, row, _SEVERITIES[one], one.value, message)
