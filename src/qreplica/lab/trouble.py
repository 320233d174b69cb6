"""What the demo does to its lab in the middle of its full cycle: one controller of each side is killed.

The administrator does nothing about it while the cycle lasts. What has arrived is asked of the target daemons, so that
each kill comes while data is on its way.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from qreplica.lab.errors import LabStuck, TroubleTooLate
from qreplica.lab.parts import Parts, kill
from qreplica.lab.topology import CONTROLLERS, Lab, Side
from qreplica.units import format_duration

_PATIENCE, _POLL = 120.0, 0.05


@dataclass(frozen=True, slots=True)
class Interruption:
    """A controller that was killed, and the seconds until data was on its way again."""

    side: Side
    number: int
    resume_seconds: float

    def as_json(self) -> dict[str, object]:
        """Return it under the names that scripts know."""
        return {"killed": f"{self.side} controller {self.number}", "resume_seconds": round(self.resume_seconds, 2)}


class Trouble:
    """Kills the source's controller 1, and once data flows again, the target's.

    Each comes when ``part`` bytes of ``job`` have reached ``lun`` of the target's ``node`` since the last one.
    """

    def __init__(self, lab: Lab, tell: Callable[[str], None], *, job: str, node: str, lun: int, part: int) -> None:
        self._parts = Parts(lab)
        self._tell = tell
        self._job = job
        self._lun = node, lun
        self._part = part
        self._acts = self._play()
        self.interruptions: list[Interruption] = []

    def look(self) -> None:
        """Do what is due. To be called many times a second while the cycle lasts."""
        next(self._acts, None)

    def _play(self) -> Iterator[None]:
        for side in Side:
            pids = self._parts.daemon(side, 1)
            while self._written() < self._part:
                yield
            before = self._resumes()
            kill(*pids)
            killed = time.monotonic()
            self._tell(f"Controller 1 of “{side}” was killed (kill -9) in the middle of the cycle")
            while self._resumes() == before or not self._written():
                yield
            seconds = time.monotonic() - killed
            self._tell(f"Data is on its way again after {format_duration(seconds)}")
            self.interruptions.append(Interruption(side, 1, seconds))

    def _written(self) -> int:
        return max(self._parts.written(*self._lun, number) for number in CONTROLLERS)

    def _resumes(self) -> int:
        cycle = self._parts.ledger.cycle(self._job)
        return 0 if cycle is None else cycle.resumes

    def mend(self) -> None:
        """Start both again, and wait until each runs its own jobs. Raises TroubleTooLate, LabStuck, DaemonNotReady."""
        if len(self.interruptions) < len(Side):
            raise TroubleTooLate(job=self._job)
        self._tell("Starting both again")
        self._parts.start_ended()
        deadline = time.monotonic() + _PATIENCE
        while not all(map(self._parts.at_home, Side)):
            if time.monotonic() > deadline:
                raise LabStuck(what="both controllers of both sides to run their own jobs", seconds=_PATIENCE)
            time.sleep(_POLL)
