"""Sixteen jobs at once beside one job of the same size: whether they get as much through, and each its share.

Each of them has its own source VD, iSCSI node, backup VD and worker. A limit holds all of them where their transfer
begins, until the last is there, so that what is measured is how they share, and not how long sixteen workers take to
start. How long that and the end of their cycles take is told beside.
"""

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import files
from benchmarks.errors import CycleFailed
from benchmarks.world import World
from qreplica.lab.topology import Side
from qreplica.units import KIB

COUNT = 16
#: The least limit there is, in bytes a second.
_HELD = 64 * KIB
_POLL, _PATIENCE = 0.02, 600.0
_PROGRESS = """
    SELECT jobs.name, jobs.state, jobs.error, cycles.step, cycles.sent_bytes, cycles.progressed_at FROM jobs
    JOIN cycles ON cycles.job_id = jobs.id
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a worker told: when (seconds, of the wall clock), and how many bytes it had sent by then."""

    at: float
    sent: int


@dataclass(frozen=True, slots=True)
class Run:
    """What each job's worker told at the end of its transfer, and what it had sent (bytes) when it was let go.

    That was at ``began``, of the wall clock, for all of them; ``seconds`` are those of the whole cycles.
    """

    began: float
    held: Mapping[str, int]
    ends: Mapping[str, Sample]
    seconds: float

    @property
    def rate(self) -> float:
        """What all got through together, in bytes a second."""
        return sum(self.ends[name].sent - held for name, held in self.held.items()) / self.span

    @property
    def span(self) -> float:
        """The seconds until the last one was at its end."""
        return max(end.at for end in self.ends.values()) - self.began

    @property
    def rates(self) -> list[float]:
        """What each got through, up to its own end."""
        return [(end.sent - self.held[name]) / (end.at - self.began) for name, end in self.ends.items()]


def measure(world: World, one: str, many: Sequence[str], size: int) -> dict[str, Any]:
    """Run the first cycles of ``many`` jobs at once, whose VDs hold ``size`` bytes each, and that of ``one`` as large.

    Raises CycleFailed, CopyIsWrong.
    """
    alone, together = _run(world, [one]), _run(world, many)
    for name, length in ((one, size * len(many)), *((name, size) for name in many)):
        copy = world.live(Side.TARGET, f"{name}-copy")
        files.check_equal(world.live(Side.SOURCE, name), copy, length)
    mean = sum(together.rates) / len(many)
    return {
        "aggregate_ratio_16": round(together.rate / alone.rate, 3),
        "slowest_over_mean": round(min(together.rates) / mean, 3),
        "mb_per_second": {"one": round(alone.rate / 1e6, 1), "sixteen": round(together.rate / 1e6, 1)},
        "seconds_of_transfers": {"one": round(alone.span, 2), "sixteen": round(together.span, 2)},
        "seconds_of_cycles": {"one": round(alone.seconds, 2), "sixteen": round(together.seconds, 2)},
    }


def _run(world: World, names: Sequence[str]) -> Run:
    """Start the jobs, hold them until all transfer, let go of them, and wait until all have committed."""
    file = world.lab.controller(Side.SOURCE).state_dir / "qreplica.db"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        watch = _Watch(world, database, names)
        began = time.monotonic()
        for name in names:
            world.source.call("PUT", f"/jobs/{name}/bandwidth", body={"limit": _HELD})
            world.source.post(f"/jobs/{name}/start")
        watch.until(lambda seen: all(one.step == "transfer" and one.sent for one in seen.values()))
        held = {name: sample.sent for name, sample in watch.latest.items()}
        _let_go(file, names)
        let_go = time.time()
        watch.until(lambda seen: all(one.state == "idle" for one in seen.values()))
        seconds = time.monotonic() - began
    return Run(let_go, held, dict(watch.latest), seconds)


@dataclass(frozen=True, slots=True)
class _Seen:
    state: str
    step: str
    sent: int


class _Watch:
    """Reads from the state what workers tell: it costs the daemon nothing, which requests would."""

    def __init__(self, world: World, database: sqlite3.Connection, names: Sequence[str]) -> None:
        self._world = world
        self._database = database
        self._names = names
        self._began = time.monotonic()
        self.latest: dict[str, Sample] = {}

    def until(self, done: Callable[[dict[str, _Seen]], bool]) -> None:
        """Return once it is so. Raises CycleFailed when a job fails, or nothing comes of it."""
        while True:
            seen = self._look()
            if len(seen) == len(self._names) and done(seen):
                return
            time.sleep(_POLL)

    def _look(self) -> dict[str, _Seen]:
        seen = {}
        for name, state, error, step, sent, at in self._database.execute(_PROGRESS):
            if name not in self._names:
                continue
            seconds = time.monotonic() - self._began
            if state not in {"running", "waiting", "idle"} or seconds > _PATIENCE:
                log = self._world.lab.controller(Side.SOURCE).log
                raise CycleFailed(job=name, state=state, seconds=seconds, reason=error, log=log)
            seen[name] = _Seen(state, step, sent)
            if sent and (name not in self.latest or sent > self.latest[name].sent):
                self.latest[name] = Sample(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp(), sent)
        return seen


def _let_go(state: Path, names: Sequence[str]) -> None:
    """Lift the limits of all jobs in one transaction: sixteen requests would let go of them one after the other."""
    marks = ", ".join("?" * len(names))
    lift = f"UPDATE job_plans SET bandwidth = NULL WHERE job_id IN (SELECT id FROM jobs WHERE name IN ({marks}))"  # noqa: S608
    with closing(sqlite3.connect(state, timeout=_PATIENCE)) as database, database:
        database.execute(lift, tuple(names))
