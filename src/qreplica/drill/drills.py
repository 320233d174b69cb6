"""The drills: a name, what it does, and the fault. How each is played is in ``play``."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from qreplica.drill import faults, rehearsal
from qreplica.drill.errors import NeedsOwnLab, NoSuchDrill
from qreplica.drill.stage import Stage
from qreplica.lab.topology import CONTROLLERS, Side

_AWAY = 8.0


@dataclass(frozen=True, slots=True)
class Drill:
    """``fault`` is done in the middle of a cycle; the cycle ends within it (``mended_first``: after it).

    One in an ``own_lab`` needs a lab that was made for drills; before one that is ``for_copies`` a cycle is run.
    """

    name: str
    what: str
    fault: Callable[[Stage, int], AbstractContextManager[None]]
    mended_first: bool = False
    interrupts: bool = True
    own_lab: bool = False
    for_copies: bool = False


@contextmanager
def _all_paths_down(stage: Stage) -> Iterator[None]:
    with faults.cables_pulled(stage, Side.TARGET, *CONTROLLERS):
        stage.until("the job to wait for a path", lambda: stage.cycle().state == "waiting")
        time.sleep(_AWAY)
        yield


@contextmanager
def _double(stage: Stage, active: int) -> Iterator[None]:
    with faults.cables_pulled(stage, Side.TARGET, active), faults.controller_killed(stage, Side.SOURCE, 1):
        yield


@contextmanager
def _state_disk_full(stage: Stage) -> Iterator[None]:
    with faults.state_disk_full(stage):
        time.sleep(_AWAY)
        yield


_ALL = (
    Drill(
        "source-controller-kill",
        "kill -9 of the source's controller 1",
        lambda stage, _: faults.controller_killed(stage, Side.SOURCE, 1),
    ),
    Drill(
        "source-controller-hang-and-wake",
        "the source's controller 1 and its worker stop, and wake when controller 2 has finished",
        lambda stage, _: faults.controller_hangs(stage, Side.SOURCE, 1),
    ),
    Drill(
        "source-host-reset",
        "all processes and the network of the source's controller 1 are gone",
        lambda stage, _: faults.host_reset(stage, Side.SOURCE, 1),
    ),
    Drill(
        "target-controller-kill",
        "kill -9 of the target's controller that the data goes to",
        lambda stage, active: faults.controller_killed(stage, Side.TARGET, active),
    ),
    Drill(
        "port-down",
        "the cable of the target's port that the data goes to is pulled",
        lambda stage, active: faults.cables_pulled(stage, Side.TARGET, active),
    ),
    Drill(
        "path-blackhole",
        "the target's port drops all packets silently",
        lambda stage, active: faults.packets_dropped(stage, Side.TARGET, active),
    ),
    Drill(
        "path-flap",
        "the target's port loses its link and gets it back six times",
        faults.path_flaps,
        interrupts=False,
    ),
    Drill(
        "all-paths-down",
        "both ports of the target are away for a while",
        lambda stage, _: _all_paths_down(stage),
        mended_first=True,
    ),
    Drill(
        "target-daemon-crash",
        "the target's tgtd that the data goes to is killed",
        faults.target_daemon_crashed,
    ),
    Drill("worker-kill", "the worker is killed", lambda stage, _: faults.worker_killed(stage)),
    Drill(
        "disk-failure",
        "a disk of the source's mirrored RG vanishes; a spare takes its place afterwards",
        lambda stage, _: faults.disk_failed(stage),
        interrupts=False,
    ),
    Drill(
        "state-disk-full",
        "the disk with the source's state is full for a while",
        lambda stage, _: _state_disk_full(stage),
        mended_first=True,
        interrupts=False,
        own_lab=True,
    ),
    Drill(
        "test-mount-during-cycle",
        "a host writes to a test mount of the newest recovery point",
        lambda stage, _: rehearsal.test_mounted(stage),
        interrupts=False,
        for_copies=True,
    ),
    Drill("double", "the source's controller 1 is killed and the active path pulled at once", _double),
)
#: By name, in the order in which ``--all`` plays them. Those behind them are played in their own way.
DRILLS = {drill.name: drill for drill in _ALL}
AT_EVERY_STEP, FLIPPED = "kill-at-every-step", "verify-finds-flipped-bits"
PROMOTE, MID_CYCLE, RETURNING = "promote-with-peer-dead", "promote-mid-cycle", "returning-source"
FAILBACK, PLANNED = "failback", "planned-failover"
#: In which the copy is promoted: whether the source dies before.
PROMOTIONS = {PROMOTE: True, MID_CYCLE: False, RETURNING: True, FAILBACK: False}
NAMES = (*DRILLS, AT_EVERY_STEP, FLIPPED, *PROMOTIONS, PLANNED)


def chosen(names: Sequence[str], *, own_lab: bool) -> list[str]:
    """Return the names, all that can be played when none is given. Raises NoSuchDrill, NeedsOwnLab."""
    for name in names:
        if name not in NAMES:
            raise NoSuchDrill(name=name, known=", ".join(NAMES))
    elsewhere = [] if own_lab else [drill.name for drill in _ALL if drill.own_lab]
    for name in names:
        if name in elsewhere:
            raise NeedsOwnLab(name=name)
    return list(names) or [name for name in NAMES if name not in elsewhere]
