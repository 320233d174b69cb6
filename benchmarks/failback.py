"""The way home: how much faster than the full copy the changes come back after hosts went on with the copy."""

import os
import random
from pathlib import Path
from typing import Any

from benchmarks import cycles, files
from benchmarks.world import SOURCE_NODE, World, make_job
from qreplica.lab.topology import Side
from qreplica.storage.driver import BLOCK

HOME = "home"


def measure(world: World, vd: str, lun: int, *, size: int, changes: int) -> dict[str, Any]:
    """Copy a VD in full, promote the copy, change it, and replicate back; the seconds are of the two cycles.

    ``lun`` is what the source's host knows the VD by; nobody uses it any more. Raises CycleFailed, CopyIsWrong.
    """
    full = cycles.run(world, vd)
    copy = f"{vd}-copy"
    world.target.post(f"/virtual-disks/{copy}/promote", {"confirm": copy})
    there = world.live(Side.TARGET, copy)
    _scatter(there, size, changes)
    world.source.delete(f"/luns/{SOURCE_NODE}/{lun}")
    world.source.post(f"/jobs/{vd}/start")
    cycles.wait_for(world, vd, "superseded")
    world.source.post(f"/jobs/{vd}/give-way", {"confirm": vd})
    make_job(world, HOME, copy, vd, Side.TARGET)
    back = cycles.run(world, HOME, Side.TARGET)
    files.check_equal(world.live(Side.SOURCE, vd), there, size)
    return {
        "speedup_vs_full": round(full.committed / back.committed, 2),
        "seconds": round(back.committed, 3),
        "full_seconds": round(full.committed, 3),
        "changed_blocks": changes,
    }


def _scatter(file: Path, size: int, changes: int) -> None:
    """Change blocks of a VD that no target daemon has open."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for block in random.Random(8).sample(range(size // BLOCK), changes):  # noqa: S311 - no secret
            os.pwrite(descriptor, os.urandom(BLOCK), block * BLOCK)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
