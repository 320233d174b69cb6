"""``qreplicad``: one controller."""

import argparse
import os
import socket
import sys
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import structlog
from fastapi import FastAPI
from sqlalchemy.orm import Session

from qreplica.alerts.delivery import Delivery
from qreplica.api.app import create_app
from qreplica.cluster import restarts
from qreplica.cluster.duties import Duties
from qreplica.cluster.leases import Lease, Leases
from qreplica.daemon import certificate, certificate_watch, logs, port_start, restarter, servers
from qreplica.daemon.alerter import Alerter
from qreplica.daemon.alone import make_directories, only_one
from qreplica.daemon.certificate_watch import CertificateWatch
from qreplica.daemon.config import Config, load
from qreplica.daemon.heartbeat import Heartbeat
from qreplica.daemon.job_looker import JobLooker
from qreplica.daemon.lease_keeper import LeaseKeeper
from qreplica.daemon.letting_go import FinishingRollBacks, LettingGo
from qreplica.daemon.license_watch import LicenseWatch
from qreplica.daemon.lock_breaker import LockBreaker
from qreplica.daemon.maintainer import Maintainer
from qreplica.daemon.other_controller import OtherController
from qreplica.daemon.path_prober import PathProber
from qreplica.daemon.port_watcher import PortWatcher
from qreplica.daemon.reconcile import Reconciler
from qreplica.daemon.restarter import Restarter
from qreplica.daemon.services import Services, pause_all
from qreplica.daemon.space_keeper import SpaceKeeper, hold_hosts
from qreplica.daemon.state import open_state
from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.iscsi import nodes, ports
from qreplica.iscsi.interfaces import KernelInterfaces
from qreplica.iscsi.target.driver import NodeSpec
from qreplica.iscsi.target.mgmt import Management
from qreplica.iscsi.target.supervisor import Events, Supervisor
from qreplica.iscsi.target.tgt import TgtDriver
from qreplica.license.licensing import Licensing
from qreplica.peer.server import peer_app
from qreplica.replication import test_mounting
from qreplica.replication.backlog import BacklogWatch
from qreplica.replication.failing_over import FailingOver
from qreplica.replication.failover_looks import FailoverLooks
from qreplica.replication.giving_way import GivingWay
from qreplica.replication.lag_watch import LagWatch
from qreplica.replication.links import NetworkLinks
from qreplica.replication.promotion import Promoter
from qreplica.replication.recovery import Recovery
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.replication.recovery_serving import Serving
from qreplica.replication.scheduler import Scheduler
from qreplica.replication.verification_looks import VerificationLooks
from qreplica.replication.workers import Workers
from qreplica.replication.write_protection import WriteProtection
from qreplica.state.database import Database
from qreplica.state.models import Base, Controller, Node, Severity, now
from qreplica.storage.automatic_snapshots import AutomaticSnapshots
from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.startup import open_storage
from qreplica.ui.lazily import WithPages

_log = structlog.get_logger(__name__)


def main() -> None:
    """Run a controller until SIGTERM or SIGINT; a failure to start is told in one sentence."""
    parser = argparse.ArgumentParser(prog="qreplicad", description="One controller of a QReplica subsystem.")
    parser.add_argument("--config", type=Path, required=True, help="the configuration file (TOML)")
    arguments = parser.parse_args()
    try:
        config = load(arguments.config)
        logs.configure(config.log_format, subsystem=config.subsystem, controller=config.controller)
        kept = run(arguments.config, config)
    except QReplicaError as error:
        print(error.sentence, file=sys.stderr)
        sys.exit(error.exit_code)
    if kept is not None:
        restarter.start_again(kept)


def _make_pages(rest: FastAPI) -> FastAPI:
    from qreplica.ui.site import make_pages  # noqa: PLC0415 - takes a second, and memory, that only pages need

    return make_pages(rest)


def run(file: Path, config: Config) -> list[int] | None:
    """Start all parts, serve, and end them in the opposite order. ``file`` is what ``config`` was loaded from.

    Return None, or the listening sockets to start again with.
    """
    threading.excepthook = _end_with
    os.umask(0o077)
    make_directories(config)
    with only_one(config):
        return _run(file, config)


def _run(file: Path, config: Config) -> list[int] | None:
    config, database, kept, management_sockets, peer_sockets, shown = _begin(config)
    licensing = Licensing(database, config.license_keys, config.controller)
    licensing.begin()
    storage = BtrfsDriver(config.raid_group_mounts)
    open_storage(database, storage, controller=config.controller)
    management = Management(config.tgt_control_port)
    target, locks = TgtDriver(management), NodeLocks()
    reconciler = Reconciler(config, database, storage, target, locks)
    supervisor = Supervisor(management, config.tgtd_pid_file, _TargetEvents(config, database, reconciler))
    duty_leases = Leases(
        database, Base.metadata.tables["duties"], config.controller, takeover=config.cluster.takeover_seconds
    )
    duties = Duties(
        database,
        duty_leases,
        config.controller,
        takeover=config.cluster.takeover_seconds,
        automatic=config.cluster.failback == "automatic",
    )
    workers = Workers(file, config, database, duties.mine, may_begin=lambda: licensing.obstacle() is None)
    other = 3 - config.controller
    beside = OtherController(database, other, config.tgtd_pid_files[other - 1])

    def spec_of(session: Session, node: Node) -> NodeSpec:
        return nodes.spec(session, storage, node)

    roll_backs = config.state_dir / "roll-back.lock"
    serving = Serving(database, storage, {config.controller: target, other: beside}, spec_of, locks)
    recovery = Recovery(database, storage, serving)
    promoter, pause = Promoter(database, serving), pause_all(config)
    let_go = LettingGo(database, storage, (target, [beside]), locks, lock=roll_backs)
    giving_way = GivingWay(database, storage, pause, let_go, config.controller, NetworkLinks().peer)
    services = Services(
        config,
        database,
        storage,
        target,
        locks,
        pause,
        recovery,
        promoter,
        giving_way,
        FailingOver(database, serving),
        WriteProtection(database, serving),
        let_go=let_go,
        workers=workers,
        reconciler=reconciler,
        licensing=licensing,
    )
    apps = [
        servers.Served(WithPages(create_app(services), _make_pages), management_sockets, shown),
        servers.Served(peer_app(database, config.controller, recovery, promoter), peer_sockets),
    ]
    failovers = FailoverLooks(
        database, duty_leases, config.controller, serving, giving_way, NetworkLinks().peer, workers.wake
    )
    leases = Leases(
        database,
        Base.metadata.tables["maintenance_leases"],
        config.controller,
        takeover=config.cluster.takeover_seconds,
    )

    def duty_taken(lease: Lease) -> None:
        duties.taken(lease.key)
        workers.wake()

    steps = (
        FinishingRollBacks(roll_backs, reconciler.wake),
        AutomaticSnapshots(services.pause),
        test_mounting.remind,
    )
    maintainer = Maintainer(database, storage, leases, config.controller, steps=steps, opened=reconciler.wake)
    parts = (
        # The first to begin is the last to end: a probe that waits holds nothing up.
        PathProber(database, config.controller, duties.mine),
        PortWatcher(database, config.controller, target, config.iscsi_port),
        Heartbeat(
            database,
            config.controller,
            config.cluster.heartbeat_seconds,
            LockBreaker(database, config.controller, config.state_dir),
        ),
        LeaseKeeper(leases, maintainer.groups, config.cluster.heartbeat_seconds, maintainer.taken),
        reconciler,
        maintainer,
        SpaceKeeper(database, storage, leases, hold_hosts(config.tgtd_pid_files)),
        Alerter(Delivery(database, config.controller), duties.mine),
        JobLooker(
            "schedules",
            1.0,
            Scheduler(
                database,
                storage,
                duty_leases,
                config.controller,
                begun=workers.wake,
                may_begin=lambda: licensing.obstacle() is None,
            ),
        ),
        JobLooker("failovers", 1.0, failovers),
        JobLooker(
            "verifications",
            1.0,
            VerificationLooks(
                database,
                storage,
                duty_leases,
                config.controller,
                NetworkLinks().peer,
                may_begin=lambda: licensing.obstacle() is None,
            ),
        ),
        JobLooker("lag", 5.0, LagWatch(database, duty_leases, config.controller, obstacle=licensing.obstacle)),
        JobLooker("backlog", 5.0, BacklogWatch(database, storage, duty_leases, config.controller)),
        LeaseKeeper(duty_leases, duties.wanted, config.cluster.heartbeat_seconds, duty_taken),
        workers,
        LicenseWatch(licensing),
        CertificateWatch(database, config.controller),
    )
    restarting = Restarter(database, config.controller, config.cluster.restart_pause_seconds)
    ready = config.runtime_dir / "ready"
    supervisor.start()
    for part in parts:
        part.start()
    _log.info(
        "started",
        version=version("qreplica"),
        management=servers.url_of(management_sockets[0], tls=config.tls),
        certificate=None if shown is None else shown.fingerprint,
    )

    def on_ready(end: Callable[[], None]) -> None:
        ready.touch()
        restarting.ready(end)

    try:
        told_to_end = servers.serve(apps, others_ready=lambda: reconciler.tried_once, on_ready=on_ready)
    finally:
        ready.unlink(missing_ok=True)
        restarting.stop()
        for part in reversed(parts):
            part.stop()
        supervisor.close()
        database.dispose()
        _log.info("ended")
    return kept if restarting.restarts and not told_to_end else None


class _Beginning(NamedTuple):
    """What a daemon has before it does anything: see ``_run``."""

    config: Config
    database: Database
    kept: list[int]
    management_sockets: list[socket.socket]
    peer_sockets: list[socket.socket]
    shown: certificate.Identity | None


def _begin(config: Config) -> _Beginning:
    """Listen, open the state, and bring the ports to what was set for them."""
    # First of all: a descriptor that is opened later could take an inherited one's place, and an address that is in
    # use is to be told of before anything changes.
    inherited = servers.inherited_sockets()
    kept = restarter.keep(inherited)
    management_sockets = servers.management_sockets(config, inherited)
    (config.runtime_dir / "ready").unlink(missing_ok=True)
    database = open_state(config)
    config = port_start.in_force(config, database, KernelInterfaces())
    peer_sockets = servers.peer_sockets(config)
    shown = certificate.choose(config, database, [one.getsockname()[0] for one in management_sockets])
    prepare(database, config, servers.url_of(management_sockets[0], tls=config.tls), shown)
    return _Beginning(config, database, kept, management_sockets, peer_sockets, shown)


def prepare(
    database: Database, config: Config, url: str | None = None, shown: certificate.Identity | None = None
) -> None:
    """Write down who this controller is, managed at ``url`` under the certificate. Idempotent."""
    with database.session() as session:
        ports.note(session, config.controller, config.ports)
        controller = session.get_one(Controller, config.controller)
        controller.started_at = controller.heartbeat_at = now()
        controller.version, controller.management = version("qreplica"), url
        certificate_watch.note(controller, shown)
        restarts.started(session, config.controller)
        log.record(
            session,
            Severity.INFO,
            "controller-started",
            f"controller {config.controller}",
            f"Controller {config.controller} started.",
            controller=config.controller,
        )


class _TargetEvents(Events):
    """Has the target daemon configured whenever it is new, and writes down what befell it."""

    def __init__(self, config: Config, database: Database, reconciler: Reconciler) -> None:
        self._config = config
        self._database = database
        self._reconciler = reconciler

    def started(self) -> None:
        """See Events."""
        self._reconciler.wake()

    def ended(self, error: QReplicaError | None) -> None:
        """See Events."""
        by_itself = "The target daemon ended by itself, and its sessions with it: it is started again."
        self._record("target-daemon-ended", by_itself if error is None else error.sentence)

    def woken(self, seconds: float) -> None:
        """See Events."""
        self._record(
            "target-daemon-woken", f"The target daemon was stopped for {seconds:.1f} s and forgotten: it was woken."
        )

    def said(self, line: str) -> None:
        """See Events."""
        _log.info("tgtd", line=line)

    def _record(self, kind: str, message: str) -> None:
        _log.warning(kind, message=message)
        try:
            with self._database.session() as session:
                log.record(
                    session, Severity.WARNING, kind, "target daemon", message, controller=self._config.controller
                )
        except QReplicaError as error:
            _log.warning("event not written", reason=error.sentence)


def _end_with(failure: threading.ExceptHookArgs) -> None:
    """End the daemon: one that lost a part would look alive. tgtd and workers end with it, by the kernel."""
    trouble = failure.exc_value if failure.exc_value is not None else failure.exc_type()
    _log.critical("a part failed", thread=getattr(failure.thread, "name", "?"), exc_info=trouble)
    os._exit(1)
