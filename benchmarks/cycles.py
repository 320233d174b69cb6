"""Runs a job's cycle and tells how long its user waited."""

import time
from dataclasses import dataclass
from typing import Any

from benchmarks.errors import CycleFailed
from benchmarks.world import World
from qreplica.lab.topology import Side

_POLL = 0.01
_PATIENCE = 3600.0


@dataclass(frozen=True, slots=True)
class Cycle:
    """``seconds`` from the request to start until the job is idle again; what the job itself says of its last cycle."""

    seconds: float
    facts: dict[str, Any]


def run(world: World, job: str) -> Cycle:
    """Start a job through REST and wait until its generation is a recovery point. Raises CycleFailed."""
    began = time.perf_counter()
    world.source.post(f"/jobs/{job}/start")
    while True:
        now = world.source.get(f"/jobs/{job}")
        seconds = time.perf_counter() - began
        if now["state"] == "idle":
            return Cycle(seconds, now["cycle"])
        if now["state"] not in {"running", "waiting"} or seconds > _PATIENCE:
            log = world.lab.controller(Side.SOURCE).log
            raise CycleFailed(job=job, state=now["state"], seconds=seconds, reason=now["error"], log=log)
        time.sleep(_POLL)
