"""Looks now and then whether paths that failed work again, so that they can stand by."""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import structlog
from sqlalchemy import select

from qreplica.daemon.background import Regular
from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.replication.links import Target, Way, target_of
from qreplica.replication.path_states import revive
from qreplica.replication.probing import probe
from qreplica.state.database import Database
from qreplica.state.models import Job, Path, PathState, Severity

EVERY = 10.0
_AT_ONCE = 8
_log = structlog.get_logger(__name__)


class PathProber(Regular):
    """The thread that does so, for the jobs of ``owners``: the controllers whose jobs this one runs now."""

    def __init__(
        self,
        database: Database,
        controller: int,
        owners: Callable[[], Collection[int]],
        *,
        every: float = EVERY,
        probe: Callable[[Target, Way], None] = probe,
    ) -> None:
        super().__init__("paths", every, "paths not probed")
        self._database = database
        self._controller = controller
        self._owners = owners
        self._probe = probe

    def round(self) -> None:
        """Probe every path that failed, once. Raises what the database does."""
        with self._database.session(read_only=True) as session:
            of_ours = select(Path.id, Path.job_id, Path.since).join(Job, Job.id == Path.job_id)
            chosen = of_ours.where(Job.controller.in_(self._owners()), Path.state == PathState.FAILED)
            failed = [(path, job, since) for path, job, since in session.execute(chosen)]
        if failed:
            with ThreadPoolExecutor(min(_AT_ONCE, len(failed))) as pool:
                list(pool.map(lambda one: self._look(*one), failed))

    def _look(self, path: str, job: str, since: datetime) -> None:
        if self._ending.is_set():
            return
        try:
            target = target_of(self._database, job, self._controller)
            way = next((one for one in target.ways if one.path == path), None)
            if way is None:
                return
            self._probe(target, way)
        except QReplicaError as error:
            _log.info("path still fails", job=job, sentence=error.sentence)
            return
        with self._database.session() as session:
            if revive(session, path, since):
                message = f"Path {way.portal} works again and stands by."
                subject = f"job {target.job_name}"
                log.record(session, Severity.INFO, "path-standby", subject, message, controller=self._controller)
