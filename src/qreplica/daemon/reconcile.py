"""Brings the controller's target daemon to what the database says: at start, when woken, and every few seconds."""

import threading

from qreplica.daemon.config import Config
from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.iscsi import nodes
from qreplica.iscsi.target.driver import PortalSpec, TargetDriver
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.state.database import Database
from qreplica.state.models import Node, Severity
from qreplica.storage.driver import StorageDriver

_EVERY = 5.0
_PORTALS = "portals"


class Reconciler:
    """The loop. One node's failure is an event, told once until it changes, and holds no other node up."""

    def __init__(
        self, config: Config, database: Database, storage: StorageDriver, target: TargetDriver, locks: NodeLocks
    ) -> None:
        self._config = config
        self._database = database
        self._storage = storage
        self._target = target
        self._locks = locks
        self._told: dict[str, str] = {}
        self._one_at_a_time = threading.Lock()
        self._woken = threading.Event()
        self._ending = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconcile", daemon=True)

    def start(self) -> None:
        """Begin; the target daemon may still be starting."""
        self._thread.start()

    def stop(self) -> None:
        """End the loop. Idempotent."""
        self._ending.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """Reconcile soon."""
        self._woken.set()

    def wait_until_ready(self, timeout: float) -> bool:
        """Wait until all was brought in line once; tell whether it was within ``timeout`` seconds."""
        return self._ready.wait(timeout)

    def reconcile_now(self) -> None:
        """Reconcile and return when done. Raises the first node's failure, after all were tried."""
        failures = self._reconcile()
        if failures:
            raise failures[0]

    def _run(self) -> None:
        while not self._ending.is_set():
            self._woken.clear()
            try:
                if not self._reconcile():
                    self._ready.set()
            except QReplicaError:
                # The database is busy or its disk is full: nothing can be read or told, and the next round tries again.
                self._ready.clear()
            self._woken.wait(_EVERY)

    def _reconcile(self) -> list[QReplicaError]:
        with self._one_at_a_time:
            with self._database.session(read_only=True) as session:
                wanted = {node.iqn for node in nodes.listing(session)}
            failures = {iqn: error for iqn in sorted(wanted) if (error := self._bring_in_line(iqn)) is not None}
            failures |= self._remove_others(wanted)
            # Portals last: nobody may log in before the present epochs are in force (rule 4).
            if error := self._attempt_portals():
                failures[_PORTALS] = error
            self._tell(failures)
            return list(failures.values())

    def _bring_in_line(self, iqn: str) -> QReplicaError | None:
        try:
            with self._locks.hold(iqn):
                with self._database.session(read_only=True) as session:
                    node = session.query(Node).filter_by(iqn=iqn).one_or_none()
                    spec = nodes.spec(session, self._storage, node) if node is not None else None
                if spec is not None:
                    self._target.apply_node(spec)
        except QReplicaError as error:
            return error
        return None

    def _remove_others(self, wanted: set[str]) -> dict[str, QReplicaError]:
        failures: dict[str, QReplicaError] = {}
        try:
            for iqn in set(self._target.nodes()) - wanted:
                with self._locks.hold(iqn):
                    self._target.remove_node(iqn)
        except QReplicaError as error:
            failures["removal"] = error
        return failures

    def _attempt_portals(self) -> QReplicaError | None:
        ports = self._config.ports
        try:
            self._target.set_portals(frozenset(PortalSpec(port.address, self._config.iscsi_port) for port in ports))
        except QReplicaError as error:
            return error
        return None

    def _tell(self, failures: dict[str, QReplicaError]) -> None:
        news = {place: error for place, error in failures.items() if self._told.get(place) != error.sentence}
        if news:
            with self._database.session() as session:
                for place, error in news.items():
                    log.record(
                        session,
                        Severity.ERROR,
                        error.kind,
                        place if place == _PORTALS else f"node {place}",
                        error.sentence,
                        controller=self._config.controller,
                    )
        self._told = {place: error.sentence for place, error in failures.items()}
