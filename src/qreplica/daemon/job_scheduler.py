"""Has the jobs that this controller runs begin by themselves."""

from qreplica.daemon.background import Regular
from qreplica.replication.scheduler import Scheduler

_EVERY = 1.0


class JobScheduler(Regular):
    """The thread that does so."""

    def __init__(self, scheduler: Scheduler, every: float = _EVERY) -> None:
        super().__init__("schedules", every, "schedules not looked after")
        self._scheduler = scheduler

    def round(self) -> None:
        """Look at each job once. Raises what the database does: what is due is still so at the next round."""
        self._scheduler.round()
