"""The drill in which the source dies whole in a cycle, hosts go on with the copy, and the source comes back."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from qreplica.drill.errors import HostFailed
from qreplica.drill.judge import digest
from qreplica.drill.stage import LUN, NAME, TAKER, Stage
from qreplica.drill.taker import Request
from qreplica.lab.administration import login_environment
from qreplica.lab.commands import inside
from qreplica.lab.host import INITIATOR
from qreplica.lab.parts import kill
from qreplica.lab.topology import CONTROLLERS, Side


def play(stage: Stage) -> tuple[list[str], float]:
    """Kill the source while a part of a generation has arrived and promote the copy, which has to be a whole one.

    Returns what is wrong, in sentences, and the seconds from the word to promote to a host's first durable write. A
    cycle must be under way whose predecessor is committed. The stage must be set up anew after it.
    """
    ledger, target = stage.parts.ledger, stage.side[Side.TARGET]
    base, (_, live) = ledger.base_file(NAME), ledger.copies(NAME)
    node = target("node", "create", TAKER, "--initiator", INITIATOR)["iqn"]
    kill(*(pid for number in CONTROLLERS for pid in stage.parts.daemon(Side.SOURCE, number)))
    with _taker(stage, node) as first_write:
        began = time.monotonic()
        target("vd", "promote", NAME, "--yes")
        target("lun", "create", TAKER, NAME, "--lun", str(LUN))
        seconds = first_write() - began
    # The host has written back what it read.
    wrong = _compared(live, base, "after the promotion")
    stage.restore()
    stage.until("the job to be superseded", lambda: stage.cycle().state == "superseded")
    return wrong + _compared(live, base, "after the source came back"), round(seconds, 2)


def _compared(live: Path, base: Path, when: str) -> list[str]:
    if digest(live) == digest(base):
        return []
    return [f"the promoted VD {live} differs {when} from the source's snapshot {base} of its last whole generation"]


class _FirstWrite:
    """Told by the host that takes over."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def __call__(self) -> float:
        """Return when it was durable (CLOCK_MONOTONIC). Raises HostFailed."""
        line = cast("IO[str]", self._process.stdout).readline()
        if not line:
            raise HostFailed(reason=cast("IO[str]", self._process.stderr).read().strip())
        return float(line)


@contextmanager
def _taker(stage: Stage, node: str) -> Iterator[_FirstWrite]:
    portals = [stage.lab.controller(Side.TARGET, number).ports[0].address for number in CONTROLLERS]
    argv = inside(stage.lab.host, sys.executable, "-m", "qreplica.drill.taker")
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=login_environment(stage.lab),
    ) as process:
        try:
            told = cast("IO[str]", process.stdin)
            told.write(Request(portals=portals, node=node).model_dump_json() + "\n")
            told.flush()
            yield _FirstWrite(process)
        finally:
            process.kill()
