"""Counts up in the controller's row while the daemon lives."""

import structlog

from qreplica.daemon.background import Background
from qreplica.daemon.lock_breaker import LockBreaker
from qreplica.errors import QReplicaError
from qreplica.state.database import Database
from qreplica.state.errors import StateBusy
from qreplica.state.models import Controller, now

_log = structlog.get_logger(__name__)


class Heartbeat(Background):
    """The thread that does so, ``every`` so many seconds; ``breaker`` is told when it can, and when others keep it."""

    def __init__(self, database: Database, controller: int, every: float, breaker: LockBreaker) -> None:
        super().__init__("heartbeat")
        self._database = database
        self._controller = controller
        self._every = every
        self._breaker = breaker

    def stop(self) -> None:
        """End, and write down that it was an orderly end: nobody need wait to see that it is silent. Idempotent."""
        super().stop()
        try:
            with self._database.session() as session:
                session.get_one(Controller, self._controller).heartbeat_at = None
        except QReplicaError as error:
            _log.warning("orderly end not written", reason=error.sentence)

    def _run(self) -> None:
        while not self._ending.wait(self._every):
            try:
                self._beat()
            except QReplicaError as error:
                _log.warning("heartbeat not written", reason=error.sentence)
                if isinstance(error, StateBusy):
                    self._breaker.locked()
            else:
                self._breaker.written()

    def _beat(self) -> None:
        with self._database.session() as session:
            row = session.get_one(Controller, self._controller)
            row.heartbeat += 1
            row.heartbeat_at = now()
