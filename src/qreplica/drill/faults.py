"""What can be done to a lab. Each is a context: the fault lasts for its block, and is mended at its end."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from qreplica.drill.stage import NAME, Stage
from qreplica.lab import namespaces
from qreplica.lab.commands import inside, run
from qreplica.lab.ledger import between_writes
from qreplica.lab.parts import kill
from qreplica.lab.topology import CONTROLLERS, Side
from qreplica.units import MIB

_TABLE = "qreplica_drill"
_FLAPS, _FLAP = 6, 0.7


@contextlib.contextmanager
def controller_killed(stage: Stage, side: Side, number: int) -> Iterator[None]:
    """Kill a daemon; its workers and its target daemon go with it."""
    kill(*stage.parts.daemon(side, number))
    yield


@contextlib.contextmanager
def controller_hangs(stage: Stage, side: Side, number: int) -> Iterator[None]:
    """Stop a daemon and its workers, whose sessions and sockets stay; wake them at the end.

    Not while one of them writes the state: it would keep everybody else from it until it wakes.
    """
    pids = [*stage.parts.daemon(side, number), *(stage.parts.workers(number) if side is Side.SOURCE else [])]
    with between_writes(stage.parts.ledger.database(side)):
        kill(*pids, number=signal.SIGSTOP)
    try:
        yield
    finally:
        kill(*pids, number=signal.SIGCONT)


@contextlib.contextmanager
def host_reset(stage: Stage, side: Side, number: int) -> Iterator[None]:
    """Kill all that runs in a controller's namespace, and take its network away; at the end it is wired anew."""
    controller = stage.lab.controller(side, number)
    kill(*(found.pid for found in stage.parts.processes(side, number)))
    namespaces.remove(controller.namespace)
    try:
        yield
    finally:
        namespaces.wire_again(controller)


@contextlib.contextmanager
def cables_pulled(stage: Stage, side: Side, *controllers: int) -> Iterator[None]:
    """Pull the cables of the controllers' first ports."""
    pulled = [stage.lab.controller(side, number) for number in controllers]
    for controller in pulled:
        namespaces.pull_cable(controller, 1)
    try:
        yield
    finally:
        for controller in pulled:
            namespaces.plug_cable(controller, 1)


@contextlib.contextmanager
def packets_dropped(stage: Stage, side: Side, number: int) -> Iterator[None]:
    """Drop whatever comes and goes by a controller's first port, silently; the link stays up."""
    controller = stage.lab.controller(side, number)
    port = controller.ports[0].interface
    rules = (
        f"table inet {_TABLE} {{\n"
        f' chain in {{ type filter hook input priority 0; iifname "{port}" drop; }}\n'
        f' chain out {{ type filter hook output priority 0; oifname "{port}" drop; }}\n'
        "}\n"
    )
    run(inside(controller.namespace, "nft", "-f", "-"), stdin=rules)
    try:
        yield
    finally:
        run(inside(controller.namespace, "nft", "delete", "table", "inet", _TABLE))


@contextlib.contextmanager
def path_flaps(stage: Stage, number: int) -> Iterator[None]:
    """Pull the cable of a target controller's first port and put it back, again and again."""
    controller = stage.lab.controller(Side.TARGET, number)
    steady = threading.Event()

    def flap() -> None:
        for _ in range(_FLAPS):
            namespaces.pull_cable(controller, 1)
            steady.wait(_FLAP)
            namespaces.plug_cable(controller, 1)
            steady.wait(_FLAP)

    flapping = threading.Thread(target=flap)
    flapping.start()
    try:
        yield
    finally:
        flapping.join()


@contextlib.contextmanager
def target_daemon_crashed(stage: Stage, number: int) -> Iterator[None]:
    """Kill the tgtd of a target controller."""
    kill(stage.until(f"the target daemon of controller {number}", lambda: stage.parts.tgtd(Side.TARGET, number)))
    yield


@contextlib.contextmanager
def worker_killed(stage: Stage) -> Iterator[None]:
    """Kill the source's workers, whichever controller runs the job."""
    kill(*(pid for number in CONTROLLERS for pid in stage.parts.workers(number)))
    yield


@contextlib.contextmanager
def disk_failed(stage: Stage) -> Iterator[None]:
    """Let a disk of the source's mirrored RG vanish; at the end a spare has taken its place."""
    disks = stage.disks(Side.SOURCE)
    victim = min(_group(stage)["disks"])
    image = stage.image(Side.SOURCE, victim)
    loops = run(["losetup", "--noheadings", "--output", "NAME", "--associated", str(image)]).split()
    os.truncate(image, MIB)
    for loop in loops:
        run(["losetup", "--set-capacity", loop])
    yield
    spare = stage.make_disk(Side.SOURCE, 1 + max(int(one.removeprefix(f"{NAME}-")) for one in disks))
    stage.side[Side.SOURCE]("disk", "spare", spare)
    stage.until("the spare to take the failed disk's place", lambda: _is_healthy(stage, victim), seconds=300)


def _is_healthy(stage: Stage, without: str) -> bool:
    group = _group(stage)
    return group["health"] == "online" and without not in group["disks"]


def _group(stage: Stage) -> dict[str, Any]:
    return cast("dict[str, Any]", stage.side[Side.SOURCE]("rg", "show", NAME))


@contextlib.contextmanager
def state_disk_full(stage: Stage) -> Iterator[None]:
    """Fill the disk with the source's state, which the drill's lab has on a small filesystem of its own."""
    state = stage.lab.controller(Side.SOURCE).state_dir
    filler = state / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\xa5" * (1 << 16))
    try:
        yield
    finally:
        filler.unlink()


def small_state_disk(state: Path, size: int) -> None:
    """Put a small filesystem in the place of a state directory that is not yet used; a sweep unmounts it."""
    state.mkdir(parents=True, mode=0o700)
    run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "qreplica-drill", str(state)])
