"""Metrics of replication jobs."""

from collections.abc import Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric

from qreplica.api.gauges import gauge
from qreplica.replication.status import JobStatus
from qreplica.state.models import JobState, PathState

_JOB = "replication_job"


def of_jobs(found: list[JobStatus]) -> Iterator[Metric]:
    """Yield the metrics of jobs."""
    state = gauge("job_state", "1 for the state that a job is in", _JOB, "state")
    fenced = gauge("job_fenced", "0 for a plain target that cannot keep a stopped controller from writing", _JOB)
    paused = gauge("job_paused", "1 when a job begins nothing until it is resumed", _JOB)
    paths = gauge("path_state", "1 for the state that a path of a job is in", _JOB, "path", "state")
    for job in found:
        for one in JobState:
            state.add_metric([job.name, one.value], job.state is one)
        paused.add_metric([job.name], job.paused)
        fenced.add_metric([job.name], job.plain is None or job.plain.fenced)
        for path in job.paths:
            for each in PathState:
                paths.add_metric([job.name, f"{path.address}:{path.port}", each.value], path.state is each)
    yield from (state, paused, fenced, paths)
    yield from _recovery_points(found)
    yield from _progress(found)
    yield from _cycles(found)


def _recovery_points(found: list[JobStatus]) -> Iterator[Metric]:
    lag = gauge("job_lag_seconds", "Age of what the newest recovery point holds", _JOB)
    taken = gauge("job_recovery_point_timestamp_seconds", "When the source held what the newest point holds", _JOB)
    committed = gauge("job_last_committed_timestamp_seconds", "When the newest recovery point was committed", _JOB)
    goal = gauge("job_rpo_seconds", "How old the newest recovery point may become, where there is a goal", _JOB)
    missed = gauge("job_rpo_missed", "1 when the newest recovery point is older than the goal", _JOB)
    for job in found:
        if job.lag_seconds is not None:
            lag.add_metric([job.name], job.lag_seconds)
        _add(taken, job, job.recovery_point_at)
        _add(committed, job, job.last_committed_at)
        if job.rpo_minutes is not None:
            goal.add_metric([job.name], job.rpo_minutes * 60)
            missed.add_metric([job.name], not job.rpo_met)
    yield from (lag, taken, committed, goal, missed)


def _progress(found: list[JobStatus]) -> Iterator[Metric]:
    backlog = gauge("job_backlog_bytes", "Bytes that are still to be sent, at most", _JOB)
    counted = gauge("job_backlog_counted_timestamp_seconds", "When the backlog was counted last", _JOB)
    progressed = gauge("job_last_progress_timestamp_seconds", "When a job last came further than it was", _JOB)
    stalled = gauge("job_stalled", "1 when a job at work makes no progress for as long as is configured", _JOB)
    for job in found:
        if job.backlog_bytes is not None:
            backlog.add_metric([job.name], job.backlog_bytes)
        _add(counted, job, job.backlog_at)
        _add(progressed, job, job.last_progress_at)
        stalled.add_metric([job.name], job.stalled_since is not None)
    yield from (backlog, counted, progressed, stalled)


def _cycles(found: list[JobStatus]) -> Iterator[Metric]:
    """Yield figures of each job's present or last cycle; they begin anew with the next one, so they are gauges."""
    total = gauge("cycle_total_bytes", "Bytes that the cycle's delta holds", _JOB)
    done = gauge("cycle_done_bytes", "Bytes of the delta that are durable on the target", _JOB)
    sent = gauge("cycle_sent_bytes", "Bytes sent as data, those sent again among them", _JOB)
    compared = gauge("cycle_compared_bytes", "Bytes compared with what the target held", _JOB)
    rate = gauge("cycle_rate_bytes_per_second", "Rate of the cycle", _JOB)
    percent = gauge("cycle_percent", "How much of the delta is done", _JOB)
    memory = gauge("cycle_worker_peak_memory_bytes", "The most memory that the cycle's worker used", _JOB)
    for job in found:
        cycle = job.cycle
        if cycle is not None:
            total.add_metric([job.name], cycle.total_bytes)
            done.add_metric([job.name], cycle.done_bytes)
            sent.add_metric([job.name], cycle.sent_bytes)
            compared.add_metric([job.name], cycle.compared_bytes)
            rate.add_metric([job.name], cycle.rate)
            percent.add_metric([job.name], cycle.percent)
            memory.add_metric([job.name], cycle.worker_peak_memory)
    yield from (total, done, sent, compared, rate, percent, memory)


def _add(metric: GaugeMetricFamily, job: JobStatus, at: datetime | None) -> None:
    if at is not None:
        metric.add_metric([job.name], at.timestamp())
