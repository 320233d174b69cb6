"""What a monitoring system reads: Prometheus text."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from qreplica.access import secret_files
from qreplica.api.access import Address, TheServices, TheSessions
from qreplica.api.operations import token_of
from qreplica.api.problems import problems
from qreplica.cluster.leases import NOBODY
from qreplica.daemon.services import Services
from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.replication import jobs
from qreplica.replication.status import JobStatus
from qreplica.state.models import JobState, PathState, ScrubOutcome
from qreplica.storage import raid_group_status, raid_groups, scrubs, virtual_disks
from qreplica.storage.driver import GroupHealth
from qreplica.storage.raid_group_status import shown_disks


def metrics_reader(
    services: TheServices, sessions: TheSessions, address: Address, token: Annotated[str, Depends(token_of)]
) -> None:
    """Let in whoever holds the metrics token or a user's. Raises TokenMissing, TokenInvalid."""
    if not secret_files.matches(services.config.state_dir / secret_files.METRICS, token):
        sessions.caller(token, address)


router = APIRouter(tags=["metrics"], dependencies=[Depends(metrics_reader)])

_EXAMPLE = """# HELP qreplica_job_lag_seconds Age of what the newest recovery point holds
# TYPE qreplica_job_lag_seconds gauge
qreplica_job_lag_seconds{job="nightly"} 1801.0
"""


@router.get(
    "/metrics",
    summary="Read the metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus text format 0.0.4",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}},
        },
        **problems(401),
    },
)
def read_metrics(services: TheServices) -> Response:
    """Read all metrics. The token is the one in `STATE_DIR/metrics-token`, which opens nothing else, or a login's."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Present(services))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Present(Collector):
    """The state of the subsystem, read when it is asked for."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        with self._services.database.session(read_only=True) as session:
            yield from _raid_groups(session, self._services)
            yield from _scrubs(session, self._services)
            yield from _virtual_disks(session, self._services)
            yield from _events(session)
            yield from _jobs(jobs.listing(session))
        yield _target_daemon(self._services)


def _raid_groups(session: Session, services: Services) -> Iterator[Metric]:
    usable = _gauge("raid_group_usable_bytes", "Bytes that an RG's disks and level give", "raid_group")
    free = _gauge("raid_group_free_bytes", "Bytes of an RG that are not promised", "raid_group")
    held = _gauge("raid_group_held_bytes", "Bytes that an RG's data takes, near the limit hosts wait", "raid_group")
    limit = _gauge("raid_group_limit_bytes", "Bytes that an RG's data may take", "raid_group")
    online = _gauge("raid_group_online", "1 when all disks of the RG are there and it is open", "raid_group")
    health = _gauge("raid_group_health", "1 for how the RG is", "raid_group", "health")
    rebuilt = _gauge("raid_group_rebuilt_percent", "How much of a rebuild is done, while one goes on", "raid_group")
    errors = _gauge("disk_errors", "Errors that a disk made since it joined its RG", "raid_group", "disk", "error")
    for group in raid_groups.listing(session):
        space = raid_groups.space(session, group)
        status = services.storage.group_status(group.id)
        usable.add_metric([group.name], space.usable)
        free.add_metric([group.name], space.free)
        held.add_metric([group.name], status.allocated)
        limit.add_metric([group.name], space.limit)
        online.add_metric([group.name], status.health is GroupHealth.ONLINE)
        for one in GroupHealth:
            health.add_metric([group.name, one.value], status.health is one)
        if status.rebuilt is not None:
            rebuilt.add_metric([group.name], 100 * status.rebuilt)
        for shown in shown_disks(group, status):
            for error, count in asdict(shown.errors).items() if shown.errors else ():
                errors.add_metric([group.name, shown.disk.name, error], count)
    yield from (usable, free, held, limit, online, health, rebuilt, errors)


def _scrubs(session: Session, services: Services) -> Iterator[Metric]:
    """Yield figures of each RG's last scrub."""
    outcome = _gauge("scrub_outcome", "1 for how the last scrub ended, none while it runs", "raid_group", "outcome")
    percent = _gauge("scrub_percent", "How much of a scrub is done, while one runs", "raid_group")
    corrected = _gauge("scrub_corrected_errors", "Errors that the last scrub mended", "raid_group")
    left = _gauge("scrub_uncorrectable_errors", "Errors that the last scrub could not mend", "raid_group")
    started = _gauge("scrub_started_timestamp_seconds", "When the last scrub began", "raid_group")
    for group in raid_groups.listing(session):
        last = scrubs.last(session, services.storage, group.id)
        if last is not None:
            for one in ScrubOutcome:
                outcome.add_metric([group.name, one.value], last.run.outcome is one)
            if last.progress is not None:
                percent.add_metric([group.name], 100 * last.progress)
            corrected.add_metric([group.name], last.run.corrected)
            left.add_metric([group.name], last.run.uncorrectable)
            started.add_metric([group.name], last.run.started_at.timestamp())
    yield from (outcome, percent, corrected, left, started)


_READABLE = {GroupHealth.ONLINE, GroupHealth.DEGRADED, GroupHealth.REBUILDING}


def _virtual_disks(session: Session, services: Services) -> Iterator[Metric]:
    size = _gauge("vd_size_bytes", "Size of a VD", "vd", "type")
    space = _gauge("vd_snapshot_space_bytes", "Bytes that a VD's snapshots may use", "vd", "type")
    used = _gauge("vd_snapshot_used_bytes", "Bytes that a VD's snapshots use", "vd", "type")
    owner = _gauge("vd_owner", "The controller that takes a VD's automatic snapshots; 0 for none", "vd", "type")
    for vd in virtual_disks.listing(session):
        labels = [vd.name, vd.type.value]
        size.add_metric(labels, vd.size)
        space.add_metric(labels, vd.snapshot_space)
        owner.add_metric(labels, raid_group_status.maintainer_of(session, vd.raid_group_id) or NOBODY)
        if services.storage.group_status(vd.raid_group_id).health in _READABLE:
            used.add_metric(labels, virtual_disks.used(services.storage, vd).snapshots)
    yield from (size, space, used, owner)


def _jobs(found: list[JobStatus]) -> Iterator[Metric]:
    state = _gauge("job_state", "1 for the state that a job is in", "job", "state")
    lag = _gauge("job_lag_seconds", "Age of what the newest recovery point holds", "job")
    paths = _gauge("path_state", "1 for the state that a path of a job is in", "job", "path", "state")
    committed = _gauge("job_last_committed_timestamp_seconds", "When the newest recovery point was committed", "job")
    for job in found:
        for one in JobState:
            state.add_metric([job.name, one.value], job.state is one)
        if job.lag_seconds is not None:
            lag.add_metric([job.name], job.lag_seconds)
        if job.last_committed_at is not None:
            committed.add_metric([job.name], job.last_committed_at.timestamp())
        for path in job.paths:
            for each in PathState:
                paths.add_metric([job.name, f"{path.address}:{path.port}", each.value], path.state is each)
    yield from (state, lag, committed, paths)
    yield from _cycles(found)


def _cycles(found: list[JobStatus]) -> Iterator[Metric]:
    """Yield figures of each job's present or last cycle; they begin anew with the next one, so they are gauges."""
    total = _gauge("cycle_total_bytes", "Bytes that the cycle's delta holds", "job")
    done = _gauge("cycle_done_bytes", "Bytes of the delta that are durable on the target", "job")
    sent = _gauge("cycle_sent_bytes", "Bytes sent as data, those sent again among them", "job")
    compared = _gauge("cycle_compared_bytes", "Bytes compared with what the target held", "job")
    rate = _gauge("cycle_rate_bytes_per_second", "Rate of the cycle", "job")
    percent = _gauge("cycle_percent", "How much of the delta is done", "job")
    memory = _gauge("cycle_worker_peak_memory_bytes", "The most memory that the cycle's worker used", "job")
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


def _events(session: Session) -> Iterator[Metric]:
    # The log forgets its oldest entries, so that the figure can fall.
    held = _gauge("events", "Events that the log holds", "severity")
    for severity, count in log.counts(session).items():
        held.add_metric([severity.value], count)
    yield held


def _target_daemon(services: Services) -> Metric:
    up = _gauge("target_daemon_up", "1 when this controller's iSCSI target daemon answers", "controller")
    try:
        services.target.nodes()
        answers = True
    except QReplicaError:
        answers = False
    up.add_metric([str(services.config.controller)], answers)
    return up


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"qreplica_{name}", meaning, labels=labels)
