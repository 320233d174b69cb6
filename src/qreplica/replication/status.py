"""What a job is doing, as API and CLI show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.replication import lags, plans
from qreplica.replication.lag import missed_since
from qreplica.replication.links import initiator_here
from qreplica.replication.plain_guarantees import guarantees_missing
from qreplica.replication.progress import seconds_left
from qreplica.replication.queue import Place, place_of
from qreplica.replication.schedule import describe
from qreplica.state.lag_models import JobLag
from qreplica.state.models import Cycle, CycleKind, Job, JobState, Outcome, Path, PathState, Step, now
from qreplica.state.plain_models import PlainTarget
from qreplica.state.schedule_models import JobPlan


@dataclass(frozen=True, slots=True)
class CycleStatus:
    """One run: sizes in bytes, ``rate`` in bytes a second (the mean once it has ended), ``percent`` of the delta.

    ``eta_seconds`` is None when nobody can tell; ``seconds`` is how long it took, None while it is not at its end.
    """

    generation: int
    kind: CycleKind | None
    base_generation: int | None
    step: Step
    total_bytes: int
    zero_bytes: int
    done_bytes: int
    sent_bytes: int
    compared_bytes: int
    checkpoint: int
    percent: float
    rate: float
    eta_seconds: float | None
    seconds: float | None
    resumes: int
    worker_peak_memory: int
    started_at: datetime
    progressed_at: datetime | None
    finished_at: datetime | None
    outcome: Outcome | None
    error: str | None


@dataclass(frozen=True, slots=True)
class PathStatus:
    """A way to the target; ``reason`` tells why it failed, ``since`` when it came to its state."""

    address: str
    port: int
    peer_port: int
    state: PathState
    reason: str | None
    since: datetime


@dataclass(frozen=True, slots=True)
class PlainStatus:
    """A target that is another maker's disk: its identity, and the initiator name that its administrator has to admit.

    ``fenced`` tells whether former owners are kept off by a persistent reservation; ``missing`` in words what a backup
    VD would guarantee and this one does not.
    """

    disk: str
    initiator: str
    fenced: bool
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job and its present or last cycle.

    The content of the newest recovery point is that of ``recovery_point_at``, ``lag_seconds`` ago; ``rpo_minutes`` is
    the goal, None for none, and ``rpo_met`` whether it is met now. ``backlog_bytes`` are to be sent at most, counted at
    ``backlog_at`` (see ``replication.backlog``). At ``last_progress_at`` it came as far as it is; it was told that it
    stands still since ``stalled_since``.

    ``schedule`` tells in words by which it runs; ``next_run_at`` is when it begins by itself next, None for never.
    ``plain`` is None for a target that is a backup VD.
    ``queued`` is its place in the queue, None when it is not there.
    """

    id: str
    name: str
    comment: str
    state: JobState
    queued: Place | None
    source_vd: str
    source_size: int
    target_subsystem: str
    target_node: str
    target_lun: int
    target_vd: str
    target_size: int
    plain: PlainStatus | None
    chap_user: str | None
    mutual_user: str | None
    paths: tuple[PathStatus, ...]
    controller: int
    epoch: int
    base_generation: int | None
    last_committed_at: datetime | None
    recovery_point_at: datetime | None
    lag_seconds: float | None
    rpo_minutes: int | None
    rpo_met: bool | None
    backlog_bytes: int | None
    backlog_at: datetime | None
    last_progress_at: datetime | None
    stalled_since: datetime | None
    cycle: CycleStatus | None
    error_kind: str | None
    error: str | None
    schedule: str | None
    next_run_at: datetime | None
    paused: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class _Beside:
    """What stands of jobs in other tables, by their ids: one question for each table, however many jobs there are."""

    present: Mapping[str, Cycle]
    committed: Mapping[str, Cycle]
    lags: Mapping[str, JobLag]
    plans: Mapping[str, JobPlan]
    plain: Mapping[str, PlainTarget]

    @classmethod
    def of(cls, session: Session, jobs: Sequence[str]) -> "_Beside":
        return cls(
            lags.present_cycles(session, jobs),
            lags.newest_points(session, jobs),
            {row.job_id: row for row in session.scalars(select(JobLag).where(JobLag.job_id.in_(jobs)))},
            {row.job_id: row for row in session.scalars(select(JobPlan).where(JobPlan.job_id.in_(jobs)))},
            {row.job_id: row for row in session.scalars(select(PlainTarget).where(PlainTarget.job_id.in_(jobs)))},
        )


def of_jobs(session: Session, jobs: Sequence[Job]) -> list[JobStatus]:
    """Return what the jobs are doing."""
    beside = _Beside.of(session, [job.id for job in jobs])
    return [_of_job(session, job, beside) for job in jobs]


def _of_job(session: Session, job: Job, beside: _Beside) -> JobStatus:
    present, committed = beside.present.get(job.id), beside.committed.get(job.id)
    plan, at = plans.of_row(beside.plans.get(job.id)), now()
    lag = beside.lags.get(job.id) or JobLag()
    point_at = None if committed is None else lags.taken_at(committed)
    missed = missed_since(point_at, job.created_at, lag.rpo_minutes, at)
    return JobStatus(
        id=job.id,
        name=job.name,
        comment=job.comment,
        state=job.state,
        queued=place_of(session, job),
        source_vd=job.source_vd.name,
        source_size=job.source_vd.size,
        target_subsystem=job.target_subsystem_name,
        target_node=job.target_node,
        target_lun=job.target_lun,
        target_vd=job.target_vd_name,
        target_size=job.target_size,
        plain=_plain(session, beside.plain.get(job.id)),
        chap_user=job.chap_user,
        mutual_user=job.mutual_user,
        paths=tuple(_of_path(path) for path in job.paths),
        controller=job.controller,
        epoch=job.epoch,
        base_generation=job.base_generation,
        last_committed_at=None if committed is None else committed.finished_at or committed.progressed_at,
        recovery_point_at=point_at,
        lag_seconds=None if point_at is None else _between(point_at, at),
        rpo_minutes=lag.rpo_minutes,
        rpo_met=None if lag.rpo_minutes is None else missed is None,
        backlog_bytes=lag.backlog,
        backlog_at=lag.counted_at,
        last_progress_at=lag.progressed_at,
        stalled_since=lag.stalled_since,
        cycle=None if present is None else of_cycle(present),
        error_kind=job.error_kind,
        error=job.error,
        schedule=None if plan.in_force is None else describe(plan.in_force),
        next_run_at=plans.next_run_of(session, plan),
        paused=plan.paused,
        created_at=job.created_at,
    )


def _plain(session: Session, row: PlainTarget | None) -> PlainStatus | None:
    if row is None:
        return None
    return PlainStatus(row.disk, initiator_here(session), row.fenced, guarantees_missing(fenced=row.fenced))


def _of_path(path: Path) -> PathStatus:
    return PathStatus(path.address, path.port, path.peer_port, path.state, path.reason, path.since)


def of_cycle(cycle: Cycle) -> CycleStatus:
    """Return one run."""
    seconds = None if cycle.finished_at is None else _between(cycle.started_at, cycle.finished_at)
    is_done = cycle.outcome is Outcome.COMMITTED
    rate = cycle.total_bytes / seconds if seconds and is_done else cycle.rate
    return CycleStatus(
        generation=cycle.generation,
        kind=cycle.kind,
        base_generation=cycle.base_generation,
        step=cycle.step,
        total_bytes=cycle.total_bytes,
        zero_bytes=cycle.zero_bytes,
        done_bytes=cycle.done_bytes,
        sent_bytes=cycle.sent_bytes,
        compared_bytes=cycle.compared_bytes,
        checkpoint=cycle.checkpoint,
        percent=_percent(cycle, is_done=is_done),
        rate=rate,
        eta_seconds=None if seconds is not None else _seconds_left(cycle),
        seconds=seconds,
        resumes=cycle.resumes,
        worker_peak_memory=cycle.worker_peak_memory,
        started_at=cycle.started_at,
        progressed_at=cycle.progressed_at,
        finished_at=cycle.finished_at,
        outcome=cycle.outcome,
        error=cycle.error,
    )


def _percent(cycle: Cycle, *, is_done: bool) -> float:
    if is_done:
        return 100.0
    return min(100.0, 100.0 * cycle.done_bytes / cycle.total_bytes) if cycle.total_bytes else 0.0


def _seconds_left(cycle: Cycle) -> float | None:
    """Return None too before the size of the delta is known."""
    return None if cycle.kind is None else seconds_left(cycle.total_bytes, cycle.done_bytes, cycle.rate)


def _between(first: datetime, then: datetime) -> float:
    """Return the seconds, none when a clock was set back meanwhile."""
    return max(0.0, (then - first).total_seconds())
