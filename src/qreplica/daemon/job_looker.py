"""Has the jobs that this controller runs looked at regularly."""

from qreplica.daemon.background import Regular
from qreplica.replication.job_looks import JobLooks


class JobLooker(Regular):
    """A thread that does so: one for each kind of look, so that none waits for another."""

    def __init__(self, name: str, every: float, looks: JobLooks) -> None:
        super().__init__(name, every, f"{name} not looked after")
        self._looks = looks

    def round(self) -> bool | None:
        """Look at each job once. Raises what the database does: what is due is still so at the next round."""
        return self._looks.round()
