"""Brings the controller's target daemon to what the database says: at start, when asked, and every few seconds."""

import threading
import time
from collections.abc import Container

import structlog
from sqlalchemy import select

from qreplica.daemon import asking
from qreplica.daemon.background import Background
from qreplica.daemon.config import Config
from qreplica.daemon.file_lock import holding
from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.iscsi import nodes, ports
from qreplica.iscsi.target.driver import NodeSpec, PortalSpec, TargetDriver
from qreplica.iscsi.target.errors import TargetDaemonDown, TargetDaemonSilent
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.state.database import Database
from qreplica.state.errors import StateBusy, StateDamaged, StateDiskFull
from qreplica.state.models import Node, Severity
from qreplica.storage.driver import StorageDriver

_EVERY, _LOOK = 5.0, 0.1
_log = structlog.get_logger(__name__)
#: After one of these it is not known what would have become of the rest.
_NOT_TRIED = (TargetDaemonDown, TargetDaemonSilent, StateBusy, StateDiskFull)
#: After one of these it is not known what the database says.
_NOT_READ = (StateBusy, StateDamaged)
#: What it is about, and what went wrong.
_Failure = tuple[str, QReplicaError]


class Reconciler(Background):
    """The loop. One node's or LUN's failure is an event, told once until it changes, and holds nothing else up."""

    def __init__(
        self, config: Config, database: Database, storage: StorageDriver, target: TargetDriver, locks: NodeLocks
    ) -> None:
        super().__init__("reconcile")
        self._config = config
        self._database = database
        self._storage = storage
        self._target = target
        self._locks = locks
        self._serving = asking.serving_lock(config.tgtd_pid_file)
        self._told: set[tuple[str, str]] = set()
        self._one_at_a_time = threading.Lock()
        self._woken = threading.Event()
        self._first = threading.Event()

    def stop(self) -> None:
        """End the loop. Idempotent."""
        self._ending.set()
        self._woken.set()
        super().stop()

    def wake(self) -> None:
        """Reconcile soon."""
        self._woken.set()

    @property
    def tried_once(self) -> bool:
        """Whether everything was tried once with a target daemon that answers."""
        return self._first.is_set()

    def reconcile_now(self) -> None:
        """Reconcile and return when done. Raises the first failure that is new, after everything was tried."""
        news = self._reconcile()
        if news:
            raise news[0]

    def _run(self) -> None:
        asking.forget(self._config.tgtd_pid_file)
        while not self._ending.is_set():
            self._woken.clear()
            request = asking.latest(self._config.tgtd_pid_file)
            try:
                self._reconcile()
                asking.answer(self._config.tgtd_pid_file, request)
            except QReplicaError as error:
                # The database is busy or its disk is full: nothing can be read, and the next round tries again.
                _log.warning("not reconciled", reason=error.sentence)
            deadline = time.monotonic() + _EVERY
            while not self._woken.wait(_LOOK) and self._not_asked_since(request) and time.monotonic() < deadline:
                pass

    def _not_asked_since(self, request: int) -> bool:
        return asking.latest(self._config.tgtd_pid_file) == request

    def _reconcile(self) -> list[QReplicaError]:
        """Try everything once; return the failures that were not told before."""
        with self._one_at_a_time:
            with self._database.session(read_only=True) as session:
                wanted = {node.iqn: node.name for node in nodes.listing(session)}
            failures = [(f"node {name}", error) for iqn, name in wanted.items() for error in self._bring_in_line(iqn)]
            failures += self._remove_others(wanted)
            # Portals last: nobody may log in before the present epochs are in force (rule 4), so not where it is not
            # known that what was applied is what the database says.
            if not any(isinstance(error, _NOT_READ) for _, error in failures):
                failures += self._listen()
            if not any(isinstance(error, _NOT_TRIED) for _, error in failures):
                self._first.set()
            return self._tell(failures)

    def _bring_in_line(self, iqn: str) -> list[QReplicaError]:
        left_out: list[QReplicaError] = []
        try:
            with self._locks.hold(iqn), holding(self._serving):
                spec = self._spec(iqn, left_out)
                self._apply(iqn, spec)
                # The other controller may have decided something meanwhile, and ended our target daemon for it: what
                # was read before must not be what the new one serves when its portals open.
                while (present := self._spec(iqn, left_out := [])) != spec:
                    spec = present
                    self._apply(iqn, spec)
        except QReplicaError as error:
            return [*left_out, error]
        return left_out

    def _apply(self, iqn: str, spec: NodeSpec | None) -> None:
        if spec is None:
            self._target.remove_node(iqn)
        else:
            self._target.apply_node(spec)

    def _spec(self, iqn: str, left_out: list[QReplicaError] | None = None) -> NodeSpec | None:
        """Return the node's desired state, None when the database no longer has it."""
        with self._database.session(read_only=True) as session:
            node = session.scalar(select(Node).where(Node.iqn == iqn))
            return None if node is None else nodes.spec(session, self._storage, node, left_out)

    def _remove_others(self, wanted: Container[str]) -> list[_Failure]:
        try:
            others = [iqn for iqn in self._target.nodes() if iqn not in wanted]
        except QReplicaError as error:
            return [("target daemon", error)]
        return [(f"node {iqn}", error) for iqn in others for error in self._bring_in_line(iqn)]

    def _listen(self) -> list[_Failure]:
        with self._database.session(read_only=True) as session:
            addresses = ports.open_to_hosts(session, self._config.controller)
        try:
            self._target.set_portals(frozenset(PortalSpec(one, self._config.iscsi_port) for one in addresses))
        except QReplicaError as error:
            return [("portals", error)]
        return []

    def _tell(self, failures: list[_Failure]) -> list[QReplicaError]:
        """Write down what the last round had not; return it. That the daemon is down is its supervisor's news."""
        news = [(subject, error) for subject, error in failures if (subject, error.sentence) not in self._told]
        try:
            if any(not isinstance(error, TargetDaemonDown) for _, error in news):
                self._record([one for one in news if not isinstance(one[1], TargetDaemonDown)])
            self._told = {(subject, error.sentence) for subject, error in failures}
        except QReplicaError as error:
            _log.warning("event not written", reason=error.sentence)
        return [error for _, error in news]

    def _record(self, failures: list[_Failure]) -> None:
        with self._database.session() as session:
            for subject, error in failures:
                log.record(
                    session, Severity.ERROR, error.kind, subject, error.sentence, controller=self._config.controller
                )
