"""Has events told to the alert channels, by the controller that does the duty of controller 1."""

from collections.abc import Callable, Collection

import structlog

from qreplica.alerts.delivery import Delivery
from qreplica.daemon.background import Background
from qreplica.errors import QReplicaError

_EVERY = 2.0
_DUTY = 1
_log = structlog.get_logger(__name__)


class Alerter(Background):
    """The thread that does so; ``duties``: the controllers whose duties this one does now."""

    def __init__(self, delivery: Delivery, duties: Callable[[], Collection[int]]) -> None:
        super().__init__("alerts")
        self._delivery = delivery
        self._duties = duties

    def _run(self) -> None:
        more = False
        while not self._ending.wait(0 if more else _EVERY):
            try:
                more = _DUTY in self._duties() and self._delivery.round()
            except QReplicaError as error:
                more = False
                _log.warning("alerts not delivered", reason=error.sentence)
