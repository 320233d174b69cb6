"""Has the jobs that this controller runs begin by themselves."""

import structlog

from qreplica.daemon.background import Background
from qreplica.errors import QReplicaError
from qreplica.replication.scheduler import Scheduler

_EVERY = 1.0
_log = structlog.get_logger(__name__)


class JobScheduler(Background):
    """The thread that does so."""

    def __init__(self, scheduler: Scheduler, every: float = _EVERY) -> None:
        super().__init__("schedules")
        self._scheduler = scheduler
        self._every = every

    def _run(self) -> None:
        while not self._ending.wait(self._every):
            try:
                self._scheduler.round()
            except QReplicaError as error:
                # The database is busy or its disk is full: what is due is still so at the next round.
                _log.warning("schedules not looked after", reason=error.sentence)
