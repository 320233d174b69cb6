"""The thread goes on, whatever a round meets."""

import threading
from typing import Any

from qreplica.daemon.job_scheduler import JobScheduler
from qreplica.state.errors import StateDiskFull


class Scheduler:
    def __init__(self) -> None:
        self.rounds = threading.Semaphore(0)

    def round(self) -> None:
        self.rounds.release()
        raise StateDiskFull(place="state.db", free=0)


def test_a_round_that_fails_is_followed_by_another() -> None:
    scheduler: Any = Scheduler()
    thread = JobScheduler(scheduler, every=0.01)
    thread.start()
    for _ in range(3):
        assert scheduler.rounds.acquire(timeout=60)
    thread.stop()
    thread.stop()
