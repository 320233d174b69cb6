"""Maintains the RGs whose leases this controller holds, every few seconds and when woken."""

import threading
from collections.abc import Callable, Sequence

import structlog

from qreplica.cluster.errors import LeaseLost
from qreplica.cluster.leases import Lease, Leases
from qreplica.daemon.background import Background
from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.state.database import Database
from qreplica.state.models import Severity
from qreplica.storage import raid_groups
from qreplica.storage.driver import GroupHealth, StorageDriver
from qreplica.storage.maintenance import Maintenance

_EVERY = 3.0
_log = structlog.get_logger(__name__)

#: Further work on an open RG, given its id: done each round under the same lease. It returns within seconds, to go on
#: in the next round; its database refuses to write once the lease is lost; what it raises of ours is told of once.
Step = Callable[[Database, StorageDriver, str], None]


class Maintainer(Background):
    """The thread that does so. One RG's failure is an event, told once until it changes, and holds nothing else up."""

    def __init__(
        self,
        database: Database,
        storage: StorageDriver,
        leases: Leases,
        controller: int,
        *,
        steps: Sequence[Step],
        opened: Callable[[], None],
    ) -> None:
        """Do ``steps`` after the care for the disks, in their order; call ``opened`` when an RG became usable."""
        super().__init__("maintenance")
        self._database = database
        self._storage = storage
        self._leases = leases
        self._controller = controller
        self._steps = steps
        self._opened = opened
        self._maintenance: dict[str, tuple[Lease, Maintenance]] = {}
        self._told: dict[str, set[str]] = {}
        self._woken = threading.Event()

    def stop(self) -> None:
        """End after the step that is under way. Idempotent."""
        self._ending.set()
        self._woken.set()
        super().stop()

    def wake(self) -> None:
        """Look soon."""
        self._woken.set()

    def groups(self) -> list[str]:
        """Return the ids of the RGs that there are; whose leases are to be kept."""
        with self._database.session(read_only=True) as session:
            return [group.id for group in raid_groups.listing(session)]

    def taken(self, lease: Lease) -> None:
        """Note that the lease of an RG became this controller's, which begins with it at once."""
        _log.info("maintenance taken", raid_group=lease.key, term=lease.term)
        self.wake()

    def round(self) -> None:
        """Maintain every RG whose lease is held, once. Raises what the database does."""
        with self._database.session(read_only=True) as session:
            groups = {group.id: group.name for group in raid_groups.listing(session)}
        for group, name in groups.items():
            if self._ending.is_set():
                return
            lease = self._leases.held(group)
            if lease is not None:
                self._tell(name, self._maintain(lease))
        for gone in self._maintenance.keys() - groups.keys():
            del self._maintenance[gone]

    def _run(self) -> None:
        while not self._ending.is_set():
            self._woken.clear()
            try:
                self.round()
            except QReplicaError as error:
                # The database is busy or its disk is full: the next round tries again.
                _log.warning("not maintained", reason=error.sentence)
            self._woken.wait(_EVERY)

    def _maintain(self, lease: Lease) -> list[QReplicaError]:
        """Do all for one RG as long as the lease lasts; return what failed."""
        database = self._database.fenced(lambda session: self._leases.confirm(session, lease))
        known, maintenance = self._maintenance.get(lease.key, (None, None))
        if maintenance is None or known != lease:
            maintenance = Maintenance(database, self._storage, lease.key, self._controller)
            self._maintenance[lease.key] = (lease, maintenance)
        failures: list[QReplicaError] = []
        try:
            if maintenance.reopen():
                self._opened()
        except QReplicaError as error:
            failures.append(error)
        work = [maintenance.round, *(self._bound(step, database, lease.key) for step in self._steps)]
        for one in work:
            if self._ending.is_set() or self._leases.held(lease.key) != lease or not self._is_open(lease.key):
                break
            try:
                one()
            except QReplicaError as error:
                failures.append(error)
        return failures

    def _bound(self, step: Step, database: Database, group: str) -> Callable[[], None]:
        return lambda: step(database, self._storage, group)

    def _is_open(self, group: str) -> bool:
        health = self._storage.group_status(group).health
        return health not in {GroupHealth.CLOSED, GroupHealth.FAILED}

    def _tell(self, group: str, failures: list[QReplicaError]) -> None:
        """Write down what the last round of the RG had not. That another controller goes on is no failure."""
        failures = [error for error in failures if not isinstance(error, LeaseLost)]
        news = [error for error in failures if error.sentence not in self._told.get(group, set())]
        if news:
            with self._database.session() as session:
                for error in news:
                    message = error.sentence
                    log.record(session, Severity.ERROR, error.kind, f"rg {group}", message, controller=self._controller)
        self._told[group] = {error.sentence for error in failures}
