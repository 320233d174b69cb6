"""Whether a copy is as new as it is wanted, and whether its job moves on. Pure: no disk, no clock.

What was told before is given back with each judgement and kept in the state, so that each crossing is told once,
whoever looks next.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from qreplica.replication.errors import RpoWrong
from qreplica.state.models import JobState, Step

#: A job in one of these is to move on.
_AT_WORK = (JobState.RUNNING, JobState.WAITING)
#: What ends so did not move on: each has its own event.
_ENDED = (JobState.STOPPING, JobState.STOPPED, JobState.FAILED, JobState.SUPERSEDED)
_STEPS = tuple(Step)
_MOST_MINUTES = 366 * 24 * 60


class News(StrEnum):
    """What is to be told; the values are the kinds of the events."""

    RPO_MISSED = "rpo-missed"
    RPO_MET_AGAIN = "rpo-met-again"
    WITHOUT_PROGRESS = "job-without-progress"
    PROGRESSES_AGAIN = "job-progresses-again"


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a job has come: the generation that it carries, the furthest step of it, and its checkpoint in bytes."""

    generation: int
    step: Step
    checkpoint: int

    def after(self, before: "Mark | None") -> "Mark":
        """Return this mark, or with the furthest step when it was taken later of the same generation.

        An attempt that fails goes back by some steps, and the next goes through them again: that is no progress.
        """
        if before is None or before.generation != self.generation:
            return self
        return replace(self, step=max(self.step, before.step, key=_STEPS.index))

    def is_beyond(self, before: "Mark") -> bool:
        """Tell whether the checkpoint grew since, or a further step, or another generation, was begun."""
        return (
            self.generation != before.generation
            or self.checkpoint > before.checkpoint
            or _STEPS.index(self.step) > _STEPS.index(before.step)
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a job.

    ``point_at`` is when the snapshot was taken whose content the newest recovery point holds, None for no point.
    ``mark`` is None for a job that never ran; ``marked_at`` is when it came so far, at the latest that is known.
    ``rpo_minutes`` is the goal, None for none; ``progress_minutes`` is how long a job at work may stand still.
    """

    state: JobState
    created_at: datetime
    point_at: datetime | None
    mark: Mark | None
    marked_at: datetime | None
    rpo_minutes: int | None
    progress_minutes: int


@dataclass(frozen=True, slots=True)
class Noted:
    """What the last look found, and what was told since then; see ``state.lag_models.JobLag``."""

    missed_since: datetime | None = None
    mark: Mark | None = None
    progressed_at: datetime | None = None
    at_work_since: datetime | None = None
    stalled_since: datetime | None = None


def check_rpo(minutes: int | None) -> None:
    """Raise RpoWrong for what can be no RPO goal; None is none."""
    if minutes is not None and not 1 <= minutes <= _MOST_MINUTES:
        raise RpoWrong(minutes=minutes)


def missed_since(
    point_at: datetime | None, created_at: datetime, rpo_minutes: int | None, at: datetime
) -> datetime | None:
    """Return since when the goal is missed, None when it is met or there is none.

    The content of the newest recovery point may be as old as the goal says; a job without any is measured from its
    creation on.
    """
    if rpo_minutes is None:
        return None
    due = (point_at or created_at) + timedelta(minutes=rpo_minutes)
    return due if at > due else None


def judge(facts: Facts, noted: Noted, at: datetime) -> tuple[Noted, tuple[News, ...]]:
    """Return what is found now, and what of it is news."""
    moved = facts.mark is not None and noted.mark is not None and facts.mark.is_beyond(noted.mark)
    found = _rpo(facts, noted, at)
    found = _progressed(facts, found, at, moved=moved)
    found = _stalled(facts, found, at, moved=moved)
    news: list[News] = []
    if (found.missed_since is None) != (noted.missed_since is None):
        if found.missed_since is not None:
            news.append(News.RPO_MISSED)
        elif facts.rpo_minutes is not None:
            news.append(News.RPO_MET_AGAIN)
    if noted.stalled_since is None and found.stalled_since is not None:
        news.append(News.WITHOUT_PROGRESS)
    elif noted.stalled_since is not None and moved and facts.state not in _ENDED:
        news.append(News.PROGRESSES_AGAIN)
    return found, tuple(news)


def _rpo(facts: Facts, noted: Noted, at: datetime) -> Noted:
    missed = missed_since(facts.point_at, facts.created_at, facts.rpo_minutes, at)
    # A point that came meanwhile and is too old as well changes nothing of since when.
    return replace(noted, missed_since=missed and (noted.missed_since or missed))


def _progressed(facts: Facts, noted: Noted, at: datetime, *, moved: bool) -> Noted:
    if facts.mark is None:
        return replace(noted, mark=None, progressed_at=None)
    if noted.mark is None or noted.progressed_at is None:
        return replace(noted, mark=facts.mark, progressed_at=min(facts.marked_at or at, at))
    # A time to come is one of a clock that was set back since.
    since = at if moved else min(noted.progressed_at, at)
    return replace(noted, mark=facts.mark.after(noted.mark), progressed_at=since)


def _stalled(facts: Facts, noted: Noted, at: datetime, *, moved: bool) -> Noted:
    """Note since when the job stands still, if it is at work and that lasts too long: until it moves, whatever is set.

    One that was started again is not judged by how long it was not at work.
    """
    if facts.state not in _AT_WORK or noted.progressed_at is None:
        return replace(noted, at_work_since=None, stalled_since=None)
    at_work = min(noted.at_work_since or at, at)
    since = max(noted.progressed_at, at_work)
    told = None if moved else noted.stalled_since
    if told is None and at - since >= timedelta(minutes=facts.progress_minutes):
        told = since
    return replace(noted, at_work_since=at_work, stalled_since=told)
