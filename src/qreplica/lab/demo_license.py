"""The demo's first steps: a license key is issued, uploaded, and takes effect by a restart of both controllers."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from qreplica.lab.administration import CommandLine, login_environment
from qreplica.lab.commands import run
from qreplica.lab.errors import CommandFailed, LicenseMatterless
from qreplica.lab.licensing import LICENSEE, Vendor
from qreplica.lab.topology import Lab, Side
from qreplica.license.errors import NotLicensed
from qreplica.units import format_duration


@dataclass(frozen=True, slots=True)
class Step:
    """What was done, and how long it took (seconds)."""

    name: str
    seconds: float

    def as_json(self) -> dict[str, object]:
        """Return it under the names that scripts know."""
        return {"step": self.name, "seconds": round(self.seconds, 2)}


def activate(lab: Lab, qreplica: CommandLine, tell: Callable[[str], None]) -> list[Step]:
    """License the source, which must have none yet; return the steps. Raises CommandFailed, LicenseMatterless."""
    steps = []

    def timed(name: str, do: Callable[[], None]) -> None:
        began = time.monotonic()
        do()
        steps.append(Step(name, time.monotonic() - began))

    timed("refused-without-license", lambda: _check_refused(lab, qreplica))
    timed("license-uploaded", lambda: _upload(lab, qreplica, tell))
    timed("subsystem-restarted", lambda: _restart(qreplica))
    tell(f"Both controllers restarted, one after the other, in {format_duration(steps[-1].seconds)}")
    return steps


def _check_refused(lab: Lab, qreplica: CommandLine) -> None:
    try:
        qreplica("job", "discover", lab.controller(Side.TARGET).ports[0].address)
    except CommandFailed as error:
        if NotLicensed.kind in error.sentence:
            return
        raise
    raise LicenseMatterless(what="a job could be prepared without one")


def _upload(lab: Lab, qreplica: CommandLine, tell: Callable[[str], None]) -> None:
    serial = qreplica("subsystem", "show")["serial"]
    file = lab.directory / f"{serial}.license"
    key = Vendor(lab.vendor_public_key).private
    words = ("issue", str(key), "--serial", serial, "--licensee", LICENSEE, "--days", "365", "--out", str(file))
    tell(f"The vendor: qreplica-license {' '.join(words)}")
    run([sys.executable, "-m", "qreplica.license.vendor", *words], env=login_environment(lab))
    tell(qreplica("license", "upload", str(file))["message"])


def _restart(qreplica: CommandLine) -> None:
    qreplica("subsystem", "restart", "--follow", "--yes")
    found = qreplica("license", "show")
    if not all(one["in_force"] for one in found["controllers"]):
        raise LicenseMatterless(what=f"it is not in force after the restart: {found['message']}")
