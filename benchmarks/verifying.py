"""How fast a copy is verified, against reading the same two files at once, one after the other byte."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import cycles, files
from benchmarks.errors import NotVerified
from benchmarks.world import World
from qreplica.lab.ledger import Ledger
from qreplica.units import MIB

_POLL = 0.01


def measure(world: World, job: str, *, size: int, rounds: int) -> dict[str, Any]:
    """Copy a VD, then read both sides' files and verify them in turns. Raises CycleFailed, CopyIsWrong, NotVerified."""
    cycles.run(world, job)
    ledger = Ledger(world.lab)
    both = ledger.base_file(job), ledger.copies(f"{job}-copy")[0]
    files.check_equal(*both, size)
    read: list[float] = []
    verified: list[float] = []
    for _ in range(rounds):
        read.append(size / _seconds_to_read(both))
        verified.append(_rate_of_verifying(world, job))
    return {
        "ratio_to_read": round(median(verified) / median(read), 3),
        "mb_per_second": round(median(verified) / 1e6, 1),
        "read_mb_per_second": round(median(read) / 1e6, 1),
    }


def _seconds_to_read(paths: tuple[Path, Path]) -> float:
    """Read the files at once, as the two sides do, of which nothing is in the page cache."""
    files.forget(paths)
    began = time.perf_counter()
    with ThreadPoolExecutor(len(paths)) as pool:
        list(pool.map(_read, paths))
    return time.perf_counter() - began


def _read(path: Path) -> None:
    buffer = bytearray(MIB)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while os.readv(fd, [buffer]):
            pass
    finally:
        os.close(fd)


def _rate_of_verifying(world: World, job: str) -> float:
    """Verify; return the bytes a second from when its first bytes were compared to the end. Raises NotVerified."""
    place = f"/jobs/{job}/verification"
    began, first = time.perf_counter(), 0
    found = world.source.post(place, {})
    while found["state"] == "running":
        if not first and found["position"]:
            began, first = time.perf_counter(), found["position"]
        time.sleep(_POLL)
        found = world.source.get(place)
    seconds = time.perf_counter() - began
    if found["state"] != "passed":
        raise NotVerified(job=job, state=found["state"], reason=found["error"])
    return float((found["size"] - first) / seconds)
