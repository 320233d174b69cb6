"""What a monitoring system reads: Prometheus text."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.access import certificate_pem, secret_files
from qreplica.api.access import Address, TheServices, TheSessions
from qreplica.api.gauges import gauge
from qreplica.api.job_metrics import of_jobs
from qreplica.api.operations import token_of
from qreplica.api.problems import problems
from qreplica.cluster import standing
from qreplica.cluster.leases import NOBODY
from qreplica.daemon.services import Services
from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.replication import jobs
from qreplica.state.models import Controller, ScrubOutcome
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
qreplica_job_lag_seconds{replication_job="nightly"} 1801.0
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
            yield _certificates(session)
            yield from of_jobs(jobs.listing(session))
            yield _controllers(session, self._services)
        yield _target_daemon(self._services)
        yield from _license(self._services)


def _raid_groups(session: Session, services: Services) -> Iterator[Metric]:
    usable = gauge("raid_group_usable_bytes", "Bytes that an RG's disks and level give", "raid_group")
    free = gauge("raid_group_free_bytes", "Bytes of an RG that are not promised", "raid_group")
    held = gauge("raid_group_held_bytes", "Bytes that an RG's data takes, near the limit hosts wait", "raid_group")
    limit = gauge("raid_group_limit_bytes", "Bytes that an RG's data may take", "raid_group")
    online = gauge("raid_group_online", "1 when all disks of the RG are there and it is open", "raid_group")
    health = gauge("raid_group_health", "1 for how the RG is", "raid_group", "health")
    rebuilt = gauge("raid_group_rebuilt_percent", "How much of a rebuild is done, while one goes on", "raid_group")
    errors = gauge("disk_errors", "Errors that a disk made since it joined its RG", "raid_group", "disk", "error")
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
    outcome = gauge("scrub_outcome", "1 for how the last scrub ended, none while it runs", "raid_group", "outcome")
    percent = gauge("scrub_percent", "How much of a scrub is done, while one runs", "raid_group")
    corrected = gauge("scrub_corrected_errors", "Errors that the last scrub mended", "raid_group")
    left = gauge("scrub_uncorrectable_errors", "Errors that the last scrub could not mend", "raid_group")
    started = gauge("scrub_started_timestamp_seconds", "When the last scrub began", "raid_group")
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


def _virtual_disks(session: Session, services: Services) -> Iterator[Metric]:
    size = gauge("vd_size_bytes", "Size of a VD", "vd", "type")
    space = gauge("vd_snapshot_space_bytes", "Bytes that a VD's snapshots may use", "vd", "type")
    used = gauge("vd_snapshot_used_bytes", "Bytes that a VD's snapshots use", "vd", "type")
    owner = gauge("vd_owner", "The controller that takes a VD's automatic snapshots; 0 for none", "vd", "type")
    for vd in virtual_disks.listing(session):
        labels = [vd.name, vd.type.value]
        size.add_metric(labels, vd.size)
        space.add_metric(labels, vd.snapshot_space)
        owner.add_metric(labels, raid_group_status.maintainer_of(session, vd.raid_group_id) or NOBODY)
        # As counted last: a scrape must not have the engine write out all that is dirty, for each VD.
        found = virtual_disks.used_by_snapshots(services.storage, vd, settled=False)
        if found is not None:
            used.add_metric(labels, found)
    yield from (size, space, used, owner)


def _events(session: Session) -> Iterator[Metric]:
    # The log forgets its oldest entries, so that the figure can fall.
    held = gauge("events", "Events that the log holds", "severity")
    for severity, count in log.counts(session).items():
        held.add_metric([severity.value], count)
    yield held


def _certificates(session: Session) -> Metric:
    ends = gauge("certificate_expiry_timestamp_seconds", "When a controller's TLS certificate expires", "controller")
    for one in session.scalars(select(Controller).where(Controller.certificate.is_not(None))):
        if one.certificate is not None:
            ends.add_metric([str(one.number)], certificate_pem.facts_of(one.certificate).ends_at.timestamp())
    return ends


def _controllers(session: Session, services: Services) -> Metric:
    up = gauge("controller_up", "1 when a controller shows that it lives", "controller")
    for one in standing.listing(session, services.config.controller):
        up.add_metric([str(one.number)], one.alive)
    return up


def _license(services: Services) -> Iterator[Metric]:
    in_force = gauge("license_in_force", "1 when a license is in force on a controller", "controller")
    expiry = gauge("license_expiry_timestamp_seconds", "When the license that was uploaded last expires, if it does")
    status = services.licensing.status()
    for one in status.controllers:
        in_force.add_metric([str(one.number)], one.in_force)
    if status.license is not None and status.license.expires_at is not None:
        expiry.add_metric([], status.license.expires_at.timestamp())
    yield from (in_force, expiry)


def _target_daemon(services: Services) -> Metric:
    up = gauge("target_daemon_up", "1 when this controller's iSCSI target daemon answers", "controller")
    try:
        services.target.nodes()
        answers = True
    except QReplicaError:
        answers = False
    up.add_metric([str(services.config.controller)], answers)
    return up
