"""The demo's schedule: a cycle that nobody starts."""

import time
from collections.abc import Callable
from typing import Any

from qreplica.lab.administration import CommandLine
from qreplica.lab.errors import LabStuck

_INTERVAL = "1m"
_PATIENCE, _POLL = 180.0, 0.5


def wait_for_cycle(qreplica: CommandLine, quietly: CommandLine, job: str, look: Callable[[], None]) -> dict[str, Any]:
    """Have the job run every minute until it has run once, and return what it is then.

    ``quietly`` asks how it goes; ``look`` is called meanwhile, and ends it by what it raises. Raises CommandFailed,
    LabStuck.
    """
    before = quietly("job", "show", job)["cycle"]["generation"]
    qreplica("job", "schedule", "set", job, "--every", _INTERVAL)
    _wait(quietly, job, look, lambda found: found["cycle"]["generation"] > before)
    qreplica("job", "schedule", "delete", job)
    return _wait(quietly, job, look, lambda found: found["state"] == "idle")


def _wait(
    qreplica: CommandLine, job: str, look: Callable[[], None], enough: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE
    while not enough(found := qreplica("job", "show", job)):
        look()
        if time.monotonic() > deadline:
            raise LabStuck(seconds=_PATIENCE, what=f"job {job} to run by its schedule")
        time.sleep(_POLL)
    return dict(found)
