"""The drill in which the source dies whole in a cycle, hosts go on with the copy, and the source comes back."""

import time
from pathlib import Path

from qreplica.drill import host_process, taker
from qreplica.drill.judge import digest
from qreplica.drill.stage import LUN, NAME, TAKER, Stage
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
    portals = [stage.lab.controller(Side.TARGET, number).ports[0].address for number in CONTROLLERS]
    with host_process.running(stage.lab, taker.__name__, taker.Request(portals=portals, node=node)) as host:
        began = time.monotonic()
        target("vd", "promote", NAME, "--yes")
        target("lun", "create", TAKER, NAME, "--lun", str(LUN))
        seconds = float(host.line()) - began
    # The host has written back what it read.
    wrong = _compared(live, base, "after the promotion")
    stage.restore()
    stage.until("the job to be superseded", lambda: stage.cycle().state == "superseded")
    return wrong + _compared(live, base, "after the source came back"), round(seconds, 2)


def _compared(live: Path, base: Path, when: str) -> list[str]:
    if digest(live) == digest(base):
        return []
    return [f"the promoted VD {live} differs {when} from the source's snapshot {base} of its last whole generation"]
