"""How long a host waits because a snapshot is taken: the longest of its writes that were under way meanwhile."""

import math
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.errors import HostWroteNothing
from benchmarks.host import Host
from benchmarks.world import World

#: Between two snapshots; the first ones meet a host that has only begun to write.
_BETWEEN = 0.25
_KEPT = 2


def measure(world: World, host: Host, vd: str, lun: int, *, size: int, count: int) -> dict[str, Any]:
    """Take ``count`` snapshots of a VD that its host writes all the while, and return the figures."""
    host.begin_watching(lun, size)
    windows = []
    try:
        for number in range(count):
            time.sleep(_BETWEEN)
            began = time.monotonic()
            world.source.post("/snapshots", {"vd": vd, "name": f"pause-{number}"})
            windows.append((began, time.monotonic()))
            if number >= _KEPT:
                world.source.delete(f"/snapshots/{vd}/pause-{number - _KEPT}")
    finally:
        writes = host.watched()
    for number in range(max(0, count - _KEPT), count):
        world.source.delete(f"/snapshots/{vd}/pause-{number}")
    pauses = [longest(writes, window) for window in windows]
    others = [1000 * (answered - sent) for sent, answered in writes if not _meets_any((sent, answered), windows)]
    return {
        "host_pause_ms": round(percentile(pauses, 99), 1),
        "host_pause_ms_median": round(percentile(pauses, 50), 1),
        "write_ms_otherwise_p99": round(percentile(others, 99), 1) if others else None,
        "snapshots": count,
        "writes": len(writes),
    }


def longest(writes: Sequence[tuple[float, float]], window: tuple[float, float]) -> float:
    """Return how long (ms) the slowest of the writes took that were under way in the window; both are (from, to).

    Raises HostWroteNothing.
    """
    met = [answered - sent for sent, answered in writes if _meet((sent, answered), window)]
    if not met:
        raise HostWroteNothing(seconds=window[1] - window[0])
    return 1000 * max(met)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile: a value that was seen, and with few of them the largest."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def _meet(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _meets_any(write: tuple[float, float], windows: Sequence[tuple[float, float]]) -> bool:
    return any(_meet(write, window) for window in windows)
