"""The drill in which a recovery point is tried by a host that writes to it, while a cycle runs into its backup VD."""

from collections.abc import Iterator
from contextlib import contextmanager

from qreplica.drill import host, host_process, judge
from qreplica.drill.promotion import taker_place
from qreplica.drill.stage import LUN, NAME, PATTERN_BLOCKS, TAKER, Stage
from qreplica.lab.topology import Side


@contextmanager
def test_mounted(stage: Stage) -> Iterator[None]:
    """Have a host write to a test mount of the newest recovery point, which must stay as it is; end it afterwards.

    What is wrong is added to the stage's findings.
    """
    target, (point, _) = stage.side[Side.TARGET], stage.parts.ledger.copies(NAME)
    before = judge.digest(point)
    newest = target("recovery-point", "list", NAME)[-1]
    place = taker_place(stage)
    target("test-mount", "create", NAME, newest["name"], "--name", TAKER, "--node", TAKER, "--lun", str(LUN))
    # What it does not write anew is what the source's host wrote there.
    request = host.Request(portals=place.portals, node=place.node, fill=stage.fill, blocks=PATTERN_BLOCKS)
    with host_process.running(stage.lab, host.__name__, request) as process:
        process.line()
        yield
        process.hang_up()
        found = host.Found.model_validate_json(process.line())
    stage.findings += [f"on the test mount: {one}" for one in judge.of_host(found)]
    if judge.digest(point) != before:
        stage.findings.append(f"the recovery point {point} is no longer what it was before it was tried")
    target("test-mount", "end", TAKER, "--yes")
    target("node", "delete", TAKER, "--yes")
