"""How fast a transfer is, smoothed, and how long it still takes."""

import math
from pathlib import Path

from qreplica.units import KIB

#: A rate seen this many seconds ago counts for about a third.
_MEMORY = 8.0


class Rate:
    """An exponentially smoothed rate in bytes a second, fed with times in seconds and running totals in bytes."""

    def __init__(self, at: float, total: int) -> None:
        self._at = at
        self._total = total
        self._rate: float | None = None

    def update(self, at: float, total: int) -> float:
        """Take in the total at a time, and return the rate."""
        passed = at - self._at
        if passed > 0:
            present = (total - self._total) / passed
            weight = 1 - math.exp(-passed / _MEMORY)
            self._rate = present if self._rate is None else self._rate + weight * (present - self._rate)
            self._at, self._total = at, total
        return self._rate or 0.0


def seconds_left(total: int, done: int, rate: float) -> float | None:
    """Return how long the rest takes, None when nobody can tell."""
    if done >= total:
        return 0.0
    return (total - done) / rate if rate > 0 else None


def peak_memory() -> int:
    """Return the most that this program ever had resident, in bytes (proc(5), VmHWM).

    Not ``ru_maxrss``: that begins with what the process was before it became this program.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) * KIB
    return 0
