"""Has it told in time that the license will expire, and that it has."""

import structlog

from qreplica.daemon.background import Background
from qreplica.errors import QReplicaError
from qreplica.license.licensing import Licensing

_EVERY = 60.0
_log = structlog.get_logger(__name__)


class LicenseWatch(Background):
    """The thread that looks once a minute."""

    def __init__(self, licensing: Licensing) -> None:
        super().__init__("license")
        self._licensing = licensing

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._licensing.tell()
            except QReplicaError as error:
                _log.warning("license not looked at", reason=error.sentence)
            self._ending.wait(_EVERY)
