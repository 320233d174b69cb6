"""Full copies: ours, what the target could take at most, and what one would use in its place."""

import random
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import files, tcp
from benchmarks.contenders import CONVERT, Contenders, timed
from benchmarks.ledger import open_ledger
from benchmarks.lun import served
from benchmarks.ours import Engine, without_checkpoints
from benchmarks.rounds import Run, interleave, medians
from qreplica.storage.driver import BLOCK

OURS, PLAIN, QEMU, TCP = "QReplica", "libiscsi, one buffer", "qemu-img bench -w", "raw TCP"
NO_CHECKPOINTS = "QReplica without checkpoints"
SCATTERED = "QReplica, scattered blocks"
Tell = Callable[[str], None]


def measure(
    source: Path, target: Path, size: int, *, place: Path, rounds: int, tell: Tell, scattered: int = 0
) -> dict[str, Any]:
    """Copy ``source`` onto a LUN over the file ``target`` in every way, and return the figures.

    ``place`` is for what is made meanwhile. ``scattered`` blocks are copied too, and then the path itself and what
    checkpoints cost are measured as well.
    """
    with tempfile.TemporaryDirectory(dir=place) as folder, served(target, Path(folder)) as lun:
        database, store = open_ledger(Path(folder, "state.db"), size)
        try:
            ours = Engine(lun, source, size, store)
            others = Contenders(lun, source, size)
            runs: dict[str, Run] = {
                OURS: partial(timed, ours.copy),
                QEMU: others.qemu_bench,
                PLAIN: others.plain_writer,
            }
            runs |= {name: partial(others.convert, *options) for name, options in CONVERT.items()}
            if scattered:
                bare = Engine(lun, source, size, store, without_checkpoints())
                few = Engine(lun, source, size, store, blocks=_some_blocks(size, scattered))
                runs |= {NO_CHECKPOINTS: partial(timed, bare.copy), TCP: partial(tcp.seconds_for, size)}
                runs[SCATTERED] = partial(timed, few.copy)
            seconds = interleave(runs, rounds, tell, before=lambda: files.forget([source, target]))
            _check_copies({OURS: runs[OURS], **{name: runs[name] for name in CONVERT}}, source, target, size, tell)
        finally:
            database.dispose()
    return _figures(seconds, size, scattered)


def _some_blocks(size: int, count: int) -> tuple[int, ...]:
    blocks = range(size // BLOCK)
    return tuple(random.Random(1).sample(blocks, min(count, len(blocks))))  # noqa: S311 - the same ones every time


def _check_copies(copies: dict[str, Run], source: Path, target: Path, size: int, tell: Tell) -> None:
    """See that each copies what it is to copy."""
    for name, run in copies.items():
        files.empty(target, size)
        run()
        files.check_equal(source, target, size)
        tell(f"  compared: {name} copies byte for byte")


def _figures(seconds: dict[str, list[float]], size: int, scattered: int) -> dict[str, Any]:
    middle = medians(seconds)
    few = middle.pop(SCATTERED, None)
    ceiling = min(middle[PLAIN], middle[QEMU])
    figures: dict[str, Any] = {
        "bytes": size,
        "mb_per_second": {name: round(size / took / 1e6, 1) for name, took in middle.items()},
        "runs": {name: [round(one, 4) for one in each] for name, each in seconds.items()},
        "ratio_to_ceiling": round(ceiling / middle[OURS], 3),
        "speedup_vs_qemu_img": round(min(middle[name] for name in CONVERT) / middle[OURS], 3),
    }
    if few is not None:
        figures["scattered_blocks_per_second"] = round(scattered / few)
        figures["checkpoint_cost_percent"] = round(100 * (middle[OURS] / middle[NO_CHECKPOINTS] - 1), 2)
    return figures
