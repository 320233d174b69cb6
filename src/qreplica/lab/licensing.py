"""The vendor of a lab: makes a key pair of its own, which the lab's subsystems trust, and licenses for them."""

import os
from pathlib import Path

from qreplica.daemon.config import Config
from qreplica.daemon.state import open_state
from qreplica.license import keys
from qreplica.license.issuing import issue
from qreplica.license.licensing import Licensing
from qreplica.state.models import now

LICENSEE = "The lab"


class Vendor:
    """A vendor; ``public`` is the file of the public key, beside which that of the private one is."""

    def __init__(self, public: Path) -> None:
        self.public = public
        self.private = public.with_suffix("")

    def make_keys(self) -> None:
        """Make the key pair. Raises FileNotWritten when it is there."""
        keys.make_pair(self.private, self.public, None)

    def license(self, serial: str, *, days: int | None = None) -> bytes:
        """Return the file of a license for a subsystem; without ``days`` it does not expire."""
        key = keys.private(self.private, str)
        return issue(key, serial=serial, licensee=LICENSEE, now=now(), days=days)

    def license_state(self, config: Config) -> None:
        """License a subsystem none of whose controllers has started yet: its state is made, with a license in it."""
        mask = os.umask(0o077)
        try:
            database = open_state(config)
            licensing = Licensing(database, [self.public], config.controller)
            licensing.upload(self.license(licensing.status().serial))
            database.dispose()
        finally:
            os.umask(mask)
