"""The drills in which hosts go on with the copy: because the source died whole in a cycle, or as it was planned."""

import time
from pathlib import Path

from qreplica.drill import host_process, taker
from qreplica.drill.host import Place
from qreplica.drill.judge import digest
from qreplica.drill.stage import LUN, NAME, TAKER, Stage
from qreplica.lab.host import INITIATOR
from qreplica.lab.parts import kill
from qreplica.lab.topology import CONTROLLERS, Side


def play(stage: Stage, *, source_dies: bool, changes: int = 0) -> tuple[list[str], float]:
    """Promote the copy while a part of a generation has arrived; it has to be a whole one. The source may die before.

    In the end the host changes so many blocks. Returns what is wrong, in sentences, and the seconds from the word to
    promote to a host's first durable write. A cycle must be under way whose predecessor is committed. The stage must be
    set up anew after it.
    """
    ledger, target = stage.parts.ledger, stage.side[Side.TARGET]
    base, (_, live) = ledger.base_file(NAME), ledger.copies(NAME)
    place = taker_place(stage)
    if source_dies:
        kill(*(pid for number in CONTROLLERS for pid in stage.parts.daemon(Side.SOURCE, number)))
    # A host writes back what it reads.
    with host_process.running(stage.lab, taker.__name__, taker.Request(**dict(place))) as host:
        began = time.monotonic()
        target("vd", "promote", NAME, "--yes")
        target("lun", "create", TAKER, NAME, "--lun", str(LUN))
        seconds = float(host.line()) - began
    wrong = compared(live, base, "after the promotion")
    if source_dies:
        stage.restore()
    stage.until("the job to be superseded", lambda: stage.cycle().state == "superseded")
    wrong += compared(live, base, "after the source came back")
    if changes:
        with host_process.running(stage.lab, taker.__name__, taker.Request(**dict(place), changes=changes)) as host:
            host.line()
    return wrong, round(seconds, 2)


def taker_place(stage: Stage) -> Place:
    """Make a node on the target for the host that will go on with the copy; return where that is."""
    node = stage.side[Side.TARGET]("node", "create", TAKER, "--initiator", INITIATOR)["iqn"]
    return Place(
        portals=[stage.lab.controller(Side.TARGET, number).ports[0].address for number in CONTROLLERS], node=node
    )


def play_planned(stage: Stage, host: host_process.HostProcess) -> float:
    """Fail over while the host writes, and give it the copy; return the seconds until it wrote to that."""
    began = time.monotonic()
    stage.side[Side.SOURCE]("job", "failover", NAME, "--yes")
    stage.side[Side.TARGET]("lun", "create", TAKER, NAME, "--lun", str(LUN))
    return round(float(host.line()) - began, 2)


def judge_planned(stage: Stage) -> list[str]:
    """Return what is wrong: the old source, its new recovery point and the promoted one must be the same."""
    ledger = stage.parts.ledger
    promoted, (point, live) = ledger.copies(NAME)[0], ledger.copies(NAME, Side.SOURCE)
    return compared(point, promoted, "after the failover") + compared(live, promoted, "after the failover")


def compared(live: Path, base: Path, when: str) -> list[str]:
    """Return what is wrong unless both files hold the same."""
    if digest(live) == digest(base):
        return []
    return [f"{live} differs {when} from {base}, which is its last whole generation"]
