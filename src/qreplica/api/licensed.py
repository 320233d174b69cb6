"""Which operations need a license: those that begin or change replication from here.

What shows, stops or deletes does not, so that nobody is left with what cannot be got rid of; nor does the target.
"""

from typing import Any, Final

from fastapi import Depends

from qreplica.api.access import TheServices


def _licensed(services: TheServices) -> None:
    """Raise NotLicensed unless a license is in force on this controller."""
    services.licensing.require()


#: The ``dependencies`` of an operation that needs a license.
LICENSED: Final[list[Any]] = [Depends(_licensed)]
