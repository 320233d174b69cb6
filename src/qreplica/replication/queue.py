"""The order in which jobs run when more are to run than may at once.

The limit is the subsystem's, so that it is the same whichever of the two controllers runs what. What stands in the
state decides: a job that is at work stays so over a takeover, and keeps its place among those that run.
"""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from qreplica.replication import configuration
from qreplica.state.models import Job, JobState

#: Each of them has a worker, or is to have one at once; whatever waits for its target has one too.
RUNNING = (JobState.RUNNING, JobState.WAITING, JobState.STOPPING)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job is in the queue, 1 for the next; ``running`` of at most ``limit`` jobs run."""

    place: int
    running: int
    limit: int

    @property
    def sentence(self) -> str:
        """What it waits for."""
        ends = self.running + self.place - self.limit
        if ends <= 0:
            return f"place {self.place}: its turn has come"
        what = "1 running job" if ends == 1 else f"{ends} running jobs" if ends <= self.running else f"{ends} jobs"
        return f"place {self.place}: waiting for {what}; limit {self.limit}"


def enter(session: Session, job: Job) -> None:
    """Put the job at the end of the queue."""
    last = session.scalar(select(func.max(Job.queued_as)).where(Job.state == JobState.QUEUED))
    job.state, job.queued_as = JobState.QUEUED, 1 + (last or 0)
    session.flush()


def is_anybody_in(session: Session) -> bool:
    """Tell whether a job waits for its turn."""
    return session.scalar(select(Job.id).where(Job.state == JobState.QUEUED).limit(1)) is not None


def due(session: Session) -> list[Job]:
    """Return the jobs whose turn has come, in order."""
    if not is_anybody_in(session):
        return []
    room = configuration.get(session).running_jobs - _running(session)
    queued = select(Job).where(Job.state == JobState.QUEUED).order_by(Job.queued_as)
    return list(session.scalars(queued.limit(max(0, room))))


def place_of(session: Session, job: Job) -> Place | None:
    """Return where the job is in the queue, None when it is not."""
    if job.state is not JobState.QUEUED:
        return None
    before = select(func.count()).where(Job.state == JobState.QUEUED, Job.queued_as < job.queued_as)
    limit = configuration.get(session).running_jobs
    return Place(1 + (session.scalar(before) or 0), _running(session), limit)


def _running(session: Session) -> int:
    return session.scalar(select(func.count()).where(Job.state.in_(RUNNING))) or 0
