"""Decides when a job is to begin by itself. Pure: no disk, no clock.

``considered_to`` is the last due time that was begun or need not be. It is raised in the transaction that begins a
run, so that a time is neither lost nor served twice, whoever looks next. Times that passed while nobody looked, and
those that passed while the job was at work, are served by one run.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from qreplica.replication.schedule import Schedule, previous_due
from qreplica.state.models import JobState

#: After which the job runs again whose snapshots were cleared (white paper: an hour).
RESTART_AFTER = timedelta(hours=1)
#: A clock that is put right by less than this does not serve a time twice; one that was further ahead of its time must
#: not hold everything up until then.
SET_BACK = timedelta(minutes=5)
#: A run that begins later than this after its time is told of as made up for.
LATE = timedelta(minutes=1)
#: What a due time may begin: what failed may go well now, and what was stopped was not told to stay so.
_MAY_BEGIN = (JobState.IDLE, JobState.STOPPED, JobState.FAILED)


class Cause(StrEnum):
    """Why a run begins by itself."""

    SCHEDULE = "schedule"
    RESTART = "restart"
    THRESHOLD = "threshold"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a job; ``schedule`` None when it has none in force."""

    state: JobState
    paused: bool
    schedule: Schedule | None
    considered_to: datetime
    restart_at: datetime | None


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin a run, which serves all that was due up to ``considered_to``; ``due`` is the last time of these."""

    cause: Cause
    due: datetime
    considered_to: datetime


@dataclass(frozen=True, slots=True)
class SetBack:
    """The clock was far ahead of its time: count from ``considered_to`` on again."""

    considered_to: datetime


def decide(facts: Facts, zone: ZoneInfo, now: datetime) -> Begin | SetBack | None:
    """Return what is to be done for the job at this moment, None for nothing."""
    if facts.schedule is None or facts.paused:
        return None
    if facts.considered_to - now > SET_BACK:
        return SetBack(now)
    if facts.state not in _MAY_BEGIN:
        return None
    due = previous_due(facts.schedule, zone, now)
    considered_to = max(due, facts.considered_to)
    if facts.restart_at is not None:
        # One too far ahead was set by a clock that was.
        if now < facts.restart_at <= now + RESTART_AFTER + SET_BACK:
            return None
        return Begin(Cause.RESTART, facts.restart_at, considered_to)
    return Begin(Cause.SCHEDULE, due, considered_to) if due > facts.considered_to else None


def watches_threshold(facts: Facts) -> bool:
    """Tell whether the threshold may begin a run of the job (white paper: only with a schedule)."""
    if facts.schedule is None or facts.paused or facts.restart_at is not None:
        return False
    # What failed for want of space would only fail again.
    return facts.state in {JobState.IDLE, JobState.STOPPED}
