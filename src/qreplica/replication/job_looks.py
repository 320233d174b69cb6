"""Looks at each job now and then, on the controller that has its duty."""

from abc import ABC, abstractmethod
from typing import ClassVar

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.cluster.errors import LeaseLost
from qreplica.cluster.leases import Lease, Leases
from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.state.database import Database
from qreplica.state.models import Job, Severity

_log = structlog.get_logger(__name__)


class JobLooks(ABC):
    """One controller's; ``round`` is to be called regularly, by one thread.

    It looks at the jobs of those controllers whose duties (``leases``) this one holds, and every transaction in which
    it changes something first confirms that.
    """

    #: Begins the sentence that tells that it failed.
    failing: ClassVar[str]

    def __init__(self, database: Database, leases: Leases, controller: int) -> None:
        self._database = database
        self._leases = leases
        self._controller = controller
        self._told: dict[str, str] = {}

    @abstractmethod
    def look(self, database: Database, job: str) -> None:
        """Look at the job with that id; what it changes it changes by ``database``, which is fenced."""

    def round(self) -> bool | None:
        """Look at each job once. What fails with one is told once, and holds no other up. Raises what reading does.

        Returns True when another round is to follow at once.
        """
        for job, owner in self._jobs():
            lease = self._leases.held(str(owner))
            if lease is None:
                continue
            try:
                self.look(self._fenced(lease), job)
            except LeaseLost:
                _log.info("job left to the other controller", job=job)
            except QReplicaError as error:
                self._tell(job, error)
            else:
                self._told.pop(job, None)
        return None

    def _fenced(self, lease: Lease) -> Database:
        return self._database.fenced(lambda session: self._leases.confirm(session, lease))

    def _jobs(self) -> list[tuple[str, int]]:
        with self._database.session(read_only=True) as session:
            return [(job, owner) for job, owner in session.execute(select(Job.id, Job.controller).order_by(Job.name))]

    def record(self, session: Session, job: Job, severity: Severity, kind: str, message: str) -> None:
        """Write down an event about the job."""
        log.record(session, severity, kind, f"job {job.name}", message, controller=self._controller)

    def _tell(self, job: str, error: QReplicaError) -> None:
        if self._told.get(job) == error.sentence:
            return
        self._told[job] = error.sentence
        _log.warning("job not looked at", job=job, sentence=error.sentence)
        with self._database.session() as session:
            row = session.get(Job, job)
            if row is not None:
                self.record(session, row, Severity.WARNING, error.kind, f"{self.failing}: {error.sentence}")
