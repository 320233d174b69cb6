"""Runs a job's cycle and tells how long its user waited."""

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass

from benchmarks.errors import CycleFailed
from benchmarks.world import World
from qreplica.lab.topology import Side

_POLL = 0.002
_PATIENCE = 3600.0
_LAST = """
    SELECT jobs.state, jobs.error, cycles.generation, cycles.outcome FROM jobs
    LEFT JOIN cycles ON cycles.job_id = jobs.id WHERE jobs.name = ? ORDER BY cycles.generation DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Cycle:
    """Seconds from the request to start until the recovery point is committed, and until the job is idle again.

    In between the source lets go of the snapshot that it no longer needs.
    """

    committed: float
    idle: float


def run(world: World, job: str, side: Side = Side.SOURCE) -> Cycle:
    """Start a job of a side through REST and wait until it is idle. Raises CycleFailed.

    How far it is is read from the database: it costs the daemon nothing, which a request every moment would.
    """
    with _state(world, side) as database:
        before = _last(database, job)[2] or 0
        began = time.perf_counter()
        world.api(side).post(f"/jobs/{job}/start")
        committed = None
        while True:
            state, error, generation, outcome = _last(database, job)
            seconds = time.perf_counter() - began
            if committed is None and generation > before and outcome == "committed":
                committed = seconds
            if committed is not None and state == "idle":
                return Cycle(committed, seconds)
            if state not in {"running", "waiting"} or seconds > _PATIENCE:
                log = world.lab.controller(side).log
                raise CycleFailed(job=job, state=state, seconds=seconds, reason=error, log=log)
            time.sleep(_POLL)


def wait_for(world: World, job: str, wanted: str) -> None:
    """Wait until a job of the source is in a state. Raises CycleFailed."""
    began = time.perf_counter()
    with _state(world, Side.SOURCE) as database:
        while (found := _last(database, job))[0] != wanted:
            seconds = time.perf_counter() - began
            if seconds > _PATIENCE:
                log = world.lab.controller(Side.SOURCE).log
                raise CycleFailed(job=job, state=found[0], seconds=seconds, reason=found[1], log=log)
            time.sleep(_POLL)


def _state(world: World, side: Side) -> "closing[sqlite3.Connection]":
    file = world.lab.controller(side).state_dir / "qreplica.db"
    return closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True))


def _last(database: sqlite3.Connection, job: str) -> tuple[str, str | None, int, str | None]:
    found: tuple[str, str | None, int, str | None] = database.execute(_LAST, (job,)).fetchone()
    return found
