"""Has it told in time that the license will expire, and that it has."""

from qreplica.daemon.background import Regular
from qreplica.license.licensing import Licensing

_EVERY = 60.0


class LicenseWatch(Regular):
    """The thread that looks once a minute."""

    def __init__(self, licensing: Licensing) -> None:
        super().__init__("license", _EVERY, "license not looked at", at_once=True)
        self._licensing = licensing

    def round(self) -> None:
        """Look once. Raises what the database does."""
        self._licensing.tell()
