"""What administrators are told of a copy that lags behind: what, why, and what to do."""

from datetime import datetime

from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.replication import configuration, lags, plans
from qreplica.replication.lag import Facts, News
from qreplica.replication.plans import Plan
from qreplica.replication.schedule import describe
from qreplica.replication.status import of_cycle
from qreplica.state.models import Job, JobState, Step
from qreplica.units import format_duration, format_minutes


def sentence(  # noqa: PLR0917 - what a sentence consists of
    session: Session, job: Job, facts: Facts, news: News, at: datetime, obstacle: QReplicaError | None
) -> str:
    """Return the sentence of the event. ``obstacle`` is why no cycle may begin."""
    if news is News.RPO_MISSED:
        return f"{_age(facts, at)}, and its RPO goal is {_goal(facts)}: {_why_late(session, job, obstacle)}"
    if news is News.RPO_MET_AGAIN:
        return f"{_age(facts, at)}: its RPO goal of {_goal(facts)} is met again."
    if news is News.WITHOUT_PROGRESS:
        why = _why_waiting(job) if job.state is JobState.WAITING else _look_at(job)
        return f"For {facts.progress_minutes} min it made no progress, {_how_far(session, job)}: {why}"
    return f"It progresses again, {_how_far(session, job)}."


def _age(facts: Facts, at: datetime) -> str:
    if facts.point_at is None:
        return f"It has no recovery point {_between(facts.created_at, at)} after it was made"
    return f"Its newest recovery point holds what the source VD held {_between(facts.point_at, at)} ago"


def _between(first: datetime, then: datetime) -> str:
    return format_duration(max(0.0, (then - first).total_seconds()))


def _goal(facts: Facts) -> str:
    return format_minutes(facts.rpo_minutes or 0)


def _why_late(session: Session, job: Job, obstacle: QReplicaError | None) -> str:
    plan = plans.of(session, job.id)
    if plan.paused:
        return f"it is paused; let it go on with “qreplica job resume {job.name}”."
    if job.state is JobState.WAITING:
        return _why_waiting(job)
    if job.state is JobState.RUNNING:
        return f"its cycle is under way, {_how_far(session, job)}; {_look_at(job)}"
    if obstacle is not None:
        return f"no cycle begins. {obstacle.sentence}"
    return _why_none_began(session, job, plan)


def _why_none_began(session: Session, job: Job, plan: Plan) -> str:
    start = f"start it with “qreplica job start {job.name}”"
    schedule = f"“qreplica job schedule set {job.name}”"
    if job.state in {JobState.FAILED, JobState.SUPERSEDED} and job.error:
        return f"it {'failed' if job.state is JobState.FAILED else 'is superseded'}. {job.error}"
    if job.state is not JobState.IDLE:
        return f"it is {job.state}; {start}."
    if plan.in_force is None:
        return f"nothing starts it by itself; {start}, or give it a schedule with {schedule}."
    zone, due = configuration.time_zone(session), plans.next_run_of(session, plan)
    next_run = "" if due is None else f", next at {due.astimezone(zone):%Y-%m-%d %H:%M} ({zone.key})"
    return f"it runs {describe(plan.in_force)}{next_run}; have it run more often with {schedule}."


def _why_waiting(job: Job) -> str:
    return f"it waits. {job.error}" if job.error else _look_at(job)


def _look_at(job: Job) -> str:
    return (
        f"look at its paths and rate with “qreplica job show {job.name}”, and at its bandwidth limit; stopped and "
        "started again it goes on from its checkpoint."
    )


def _how_far(session: Session, job: Job) -> str:
    cycle = lags.present_cycle(session, job.id)
    if cycle is None:
        return "before its first cycle"
    if cycle.step is Step.DONE:
        return f"with generation {cycle.generation} committed"
    return f"at {of_cycle(cycle).percent:.1f} % of generation {cycle.generation} in step {cycle.step}"
