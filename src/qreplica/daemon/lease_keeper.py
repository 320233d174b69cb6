"""Renews the leases that this controller holds, and takes those that are free, while the daemon lives."""

from collections.abc import Callable, Iterable

import structlog

from qreplica.cluster.leases import Lease, Leases
from qreplica.daemon.background import Background
from qreplica.errors import QReplicaError

_log = structlog.get_logger(__name__)


class LeaseKeeper(Background):
    """The thread that does so, apart from the work done under the leases, which may take long."""

    def __init__(
        self, leases: Leases, keys: Callable[[], Iterable[str]], every: float, taken: Callable[[Lease], None]
    ) -> None:
        """Keep the leases of ``keys``, asked for anew each time; ``taken`` is told of each that became ours."""
        super().__init__("leases")
        self._leases = leases
        self._keys = keys
        self._every = every
        self._taken = taken

    def stop(self) -> None:
        """End, and give up what is held. Idempotent."""
        super().stop()
        try:
            self._leases.give_up()
        except QReplicaError as error:
            _log.warning("leases not given up", reason=error.sentence)

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                for lease in self._leases.keep(self._keys()):
                    self._taken(lease)
            except QReplicaError as error:
                _log.warning("leases not kept", reason=error.sentence)
            self._ending.wait(self._every)
