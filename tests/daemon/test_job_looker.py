"""The thread goes on, whatever a round meets."""

import threading
from typing import Any

from qreplica.daemon.job_looker import JobLooker
from qreplica.state.errors import StateDiskFull


class Looks:
    def __init__(self) -> None:
        self.rounds = threading.Semaphore(0)

    def round(self) -> None:
        self.rounds.release()
        raise StateDiskFull(place="state.db", free=0)


def test_a_round_that_fails_is_followed_by_another() -> None:
    looks: Any = Looks()
    thread = JobLooker("schedules", 0.01, looks)
    thread.start()
    for _ in range(3):
        assert looks.rounds.acquire(timeout=60)
    thread.stop()
    thread.stop()
