"""Has events told to the alert channels, by the controller that does the duty of controller 1."""

from collections.abc import Callable, Collection

from qreplica.alerts.delivery import Delivery
from qreplica.daemon.background import Regular

_EVERY = 2.0
_DUTY = 1


class Alerter(Regular):
    """The thread that does so; ``duties``: the controllers whose duties this one does now."""

    def __init__(self, delivery: Delivery, duties: Callable[[], Collection[int]]) -> None:
        super().__init__("alerts", _EVERY, "alerts not delivered")
        self._delivery = delivery
        self._duties = duties

    def round(self) -> bool:
        """Tell each channel what is due to it, and whether there may be more. Raises what the database does."""
        return _DUTY in self._duties() and self._delivery.round()
