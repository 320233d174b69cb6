"""The drill in which bits of a copy are flipped behind everybody's back, found by a verification, and repaired."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qreplica.cli.errors import CopyNotVerified
from qreplica.drill.stage import NAME, Stage
from qreplica.lab.commands import run
from qreplica.lab.errors import CommandFailed
from qreplica.lab.topology import Side
from qreplica.storage.driver import BLOCK

_COUNT = 5


def play(stage: Stage) -> list[str]:
    """Flip a bit in some blocks of the newest recovery point and of the live backup VD; return what is wrong.

    A verification must name just those blocks, a repair must send them again, and the next verification pass.
    """
    source, (point, live) = stage.side[Side.SOURCE], stage.parts.ledger.copies(NAME)
    chosen = random.SystemRandom().sample(range(stage.fill // BLOCK), _COUNT)
    with _writable(point):
        for file in (point, live):
            _flip(file, chosen)
    wrong: list[str] = []
    try:
        source("job", "verify", NAME)
    except CommandFailed as error:
        if CopyNotVerified.kind not in error.sentence:
            raise
    else:
        wrong.append("the verification passed though bits were flipped")
    found = source("job", "verify", NAME, "--show")
    named = {
        at // BLOCK for one in found["differing"] for at in range(one["offset"], one["offset"] + one["length"], BLOCK)
    }
    if named != set(chosen):
        wrong.append(f"bits of blocks {sorted(chosen)} were flipped, and blocks {sorted(named)} are said to differ")
    before = stage.cycle().generation
    source("job", "repair", NAME)
    stage.until("the repair to be committed", lambda: _is_committed(stage, before))
    # Raises unless it passes.
    source("job", "verify", NAME)
    return wrong


def _is_committed(stage: Stage, before: int) -> bool:
    cycle = stage.cycle()
    return cycle.generation > before and cycle.outcome == "committed" and cycle.state == "idle"


def _flip(file: Path, blocks: list[int]) -> None:
    with file.open("r+b") as content:
        for block in blocks:
            content.seek(block * BLOCK + 17)
            (byte,) = content.read(1)
            content.seek(-1, 1)
            content.write(bytes([byte ^ 0x10]))


@contextmanager
def _writable(file: Path) -> Iterator[None]:
    """Have a snapshot's file be written to, which nothing of ours ever does."""
    run(["btrfs", "property", "set", str(file.parent), "ro", "false"])
    try:
        yield
    finally:
        run(["btrfs", "property", "set", str(file.parent), "ro", "true"])
