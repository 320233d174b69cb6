"""How well a job keeps to its bandwidth limit, also to one that is changed while it runs."""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from typing import Any

from benchmarks.errors import CycleFailed
from benchmarks.world import World
from qreplica.lab.topology import Side

#: Seconds in which the whole VD would be sent under the first limit, after which the second one is set, and within
#: which that must hold.
_WHOLE, _FIRST, _SOON = 9, 3.0, 2.0
_POLL, _PATIENCE = 0.02, 600.0
_PROGRESS = """
    SELECT cycles.sent_bytes, cycles.progressed_at, cycles.step, jobs.state, jobs.error FROM jobs
    JOIN cycles ON cycles.job_id = jobs.id WHERE jobs.name = ? ORDER BY cycles.generation DESC LIMIT 1
"""
#: When so much was sent: seconds, bytes.
Sample = tuple[float, int]


def measure(world: World, job: str, size: int) -> dict[str, Any]:
    """Run the first cycle of a job, whose VD of ``size`` bytes holds data throughout, under two limits in turn."""
    limits = (size // _WHOLE, size // _WHOLE // 2)
    _limit(world, job, limits[0])
    file = world.lab.controller(Side.SOURCE).state_dir / "qreplica.db"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        world.source.post(f"/jobs/{job}/start")
        samples, changed = _watch(world, database, job, limits[1])
    _limit(world, job, None)
    rates = (
        rate([one for one in samples if one[0] < changed]),
        rate([one for one in samples if one[0] >= changed + _SOON]),
    )
    errors = [100 * abs(found / limit - 1) for found, limit in zip(rates, limits, strict=True)]
    return {
        "error_percent": round(max(errors), 2),
        "limits_mb_per_second": [round(limit / 1e6, 2) for limit in limits],
        "mb_per_second": [round(found / 1e6, 2) for found in rates],
    }


def rate(samples: Sequence[Sample]) -> float:
    """Return the bytes a second from the first to the last sample; 0 of fewer than two."""
    if len(samples) < 2:  # noqa: PLR2004 - a rate is between two
        return 0.0
    (begin, before), (end, after) = samples[0], samples[-1]
    return (after - before) / (end - begin)


def _watch(world: World, database: sqlite3.Connection, job: str, second: int) -> tuple[list[Sample], float]:
    """Return what the worker told while it sent, and when the limit was changed to ``second``. Raises CycleFailed."""
    samples: list[Sample] = []
    began, changed = time.monotonic(), None
    while True:
        sent, at, step, state, error = database.execute(_PROGRESS, (job,)).fetchone()
        if state == "idle":
            return samples, changed or 0.0
        if state not in {"running", "waiting"} or time.monotonic() - began > _PATIENCE:
            log = world.lab.controller(Side.SOURCE).log
            raise CycleFailed(job=job, state=state, seconds=time.monotonic() - began, reason=error, log=log)
        if step == "transfer" and sent and (not samples or sent > samples[-1][1]):
            samples.append((datetime.fromisoformat(at).timestamp(), sent))
            if changed is None and samples[-1][0] - samples[0][0] >= _FIRST:
                changed = samples[-1][0]
                _limit(world, job, second)
        time.sleep(_POLL)


def _limit(world: World, job: str, limit: int | None) -> None:
    world.source.call("PUT", f"/jobs/{job}/bandwidth", body={"limit": limit})
