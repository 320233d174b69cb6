"""Operations on an RG, one after the other, in a process of their own that can be killed; and what they leave.

Each is durable when the driver returns. So a crash leaves what the operations up to some one of them leave, and of the
next one, if it was a write, any of its blocks.
"""

import contextlib
import copy
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path

from qreplica.drill.pattern import block_of, sequence_of
from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.driver import BLOCK
from qreplica.units import MIB

_ROOT = Path(__file__).parents[2]
_SIZE, _LARGEST, _VDS, _SNAPSHOTS = MIB, 3 * MIB, 3, 3
_BREATH = 0.002  # seconds in which another may get hold of it
#: Of operations, never the same twice.
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Operation:
    """What is done to a VD; ``number`` is the sequence number of a write's blocks, ``size`` of a creation or growth."""

    kind: str
    vd: str
    number: int
    size: int = 0
    snapshot: str = ""
    blocks: tuple[int, ...] = ()


@dataclass
class Content:
    """A size, and which write each block is from; those not named are zeros."""

    size: int
    blocks: dict[int, int] = field(default_factory=dict)


@dataclass
class Disk:
    """A VD with its snapshots."""

    live: Content
    snapshots: dict[str, Content] = field(default_factory=dict)


Model = dict[str, Disk]


def apply(model: Model, operation: Operation) -> None:
    """Change the model as the operation changes the RG."""
    if operation.kind == "create":
        model[operation.vd] = Disk(Content(operation.size))
        return
    if operation.kind == "delete":
        del model[operation.vd]
        return
    disk = model[operation.vd]
    if operation.kind == "write":
        disk.live.blocks.update(dict.fromkeys(operation.blocks, operation.number))
    elif operation.kind == "resize":
        disk.live.size = operation.size
    elif operation.kind == "snapshot":
        disk.snapshots[operation.snapshot] = copy.deepcopy(disk.live)
    elif operation.kind == "unsnapshot":
        del disk.snapshots[operation.snapshot]
    elif operation.kind == "roll_back":
        disk.live = copy.deepcopy(disk.snapshots[operation.snapshot])
    else:
        assert operation.kind == "reclaim"


def choose(model: Model, chance: random.Random) -> Operation:
    """Return something that can be done now."""
    number = next(_numbers)
    vds = sorted(model)
    if not vds or (len(vds) < _VDS and chance.random() < 0.2):
        return Operation("create", f"vd-{number}", number, size=_SIZE)
    vd = chance.choice(vds)
    disk = model[vd]
    taken = sorted(disk.snapshots)
    can = ["write", "write", "reclaim"]
    can += ["delete"] if len(vds) == _VDS else []
    can += ["resize"] if disk.live.size < _LARGEST else []
    can += ["snapshot"] if len(taken) < _SNAPSHOTS else []
    can += ["roll_back", "roll_back", "unsnapshot"] if taken else []
    kind = chance.choice(can)
    if kind == "write":
        blocks = range(disk.live.size // BLOCK)
        return Operation(kind, vd, number, blocks=tuple(chance.sample(blocks, chance.randint(1, 64))))
    if kind == "resize":
        return Operation(kind, vd, number, size=disk.live.size + chance.randint(1, 64) * BLOCK)
    if kind == "snapshot":
        return Operation(kind, vd, number, snapshot=f"snapshot-{number}")
    return Operation(kind, vd, number, snapshot=chance.choice(taken) if kind in {"roll_back", "unsnapshot"} else "")


def perform(driver: BtrfsDriver, group: str, operation: Operation) -> None:
    """Do it; durable on return."""
    vd, snapshot = operation.vd, operation.snapshot
    if operation.kind == "create":
        driver.create_vd(group, vd, operation.size)
    elif operation.kind == "delete":
        driver.delete_vd(group, vd)
    elif operation.kind == "write":
        with driver.vd_path(group, vd).open("r+b", buffering=0) as live:
            for block in operation.blocks:
                os.pwrite(live.fileno(), block_of(block, operation.number), block * BLOCK)
        driver.flush(group, vd)
    elif operation.kind == "resize":
        driver.resize_vd(group, vd, operation.size)
    elif operation.kind == "snapshot":
        driver.take_snapshot(group, vd, snapshot)
    elif operation.kind == "unsnapshot":
        driver.delete_snapshot(group, vd, snapshot)
    elif operation.kind == "roll_back":
        driver.roll_back(group, vd, snapshot)
    elif operation.kind == "reclaim":
        driver.reclaim(group, vd, start=0, budget=MIB, room=64 * MIB, worth=0.5, seconds=10.0)


def found(driver: BtrfsDriver, group: str) -> Model:
    """Return what the RG holds, every block checked to be whole."""
    return {
        vd: Disk(
            _content(driver.vd_path(group, vd)),
            {
                one.snapshot: _content(driver.snapshot_path(group, vd, one.snapshot))
                for one in driver.list_snapshots(group, vd)
            },
        )
        for vd in driver.list_vds(group)
    }


def _content(file: Path) -> Content:
    data = file.read_bytes()
    sequences = {at // BLOCK: sequence_of(at // BLOCK, data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)}
    return Content(len(data), {number: sequence for number, sequence in sequences.items() if sequence})


def explained(model: Model, operations: list[Operation], done: int, there: Model) -> bool:
    """Tell whether ``there`` is what a crash may leave: ``model`` changed by at least ``done`` of the operations."""
    model = copy.deepcopy(model)
    for number in range(len(operations) + 1):
        under_way = operations[number] if number < len(operations) else None
        if number >= done and _fits(model, under_way, there):
            return True
        if under_way is not None:
            apply(model, under_way)
    return False


def _fits(model: Model, under_way: Operation | None, there: Model) -> bool:
    if under_way is None or under_way.kind != "write" or under_way.vd not in there or under_way.vd not in model:
        return model == there
    # Any of the blocks of a write that was under way may be there.
    model = copy.deepcopy(model)
    blocks = there[under_way.vd].live.blocks
    for block in under_way.blocks:
        if blocks.get(block) == under_way.number:
            model[under_way.vd].live.blocks[block] = under_way.number
    return model == there


class Operator:
    """Has a process of its own do one thing after the other to an open RG, until it is killed or told to end.

    What is under way is among ``operations`` before it is begun; ``done`` counts those that are durable. Whoever holds
    ``held`` knows that nothing is under way.
    """

    def __init__(self, mounts: Path, group: str, model: Model, chance: random.Random) -> None:
        self.before = copy.deepcopy(model)
        self.operations: list[Operation] = []
        self.done = 0
        self._chance = chance
        self._stop = threading.Event()
        self.held = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.operations", str(mounts), group],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": f"{_ROOT / 'src'}:{_ROOT}"},
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        model, process = copy.deepcopy(self.before), self._process
        assert process.stdin is not None
        assert process.stdout is not None
        while not self._stop.is_set():
            with self.held:
                operation = choose(model, self._chance)
                self.operations.append(operation)
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(json.dumps(asdict(operation)) + "\n")
                    process.stdin.flush()
                if process.stdout.readline() != "done\n":
                    return
                apply(model, operation)
                self.done += 1
            self._stop.wait(_BREATH)

    def end(self) -> None:
        """Let what is under way come to its end, and nothing more be begun."""
        self._stop.set()
        self._thread.join()
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait() == 0
        assert self.done == len(self.operations)

    def kill(self) -> None:
        """Kill the process and all that it started; idempotent, also after ``end``."""
        assert self._process.poll() in {None, 0, -signal.SIGKILL}, "it failed before it was killed"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._thread.join()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close() if pipe is not None else None


def main() -> None:
    """Do what standard input asks for, a line each, and say so on standard output."""
    mounts, group = sys.argv[1:]
    driver = BtrfsDriver(Path(mounts))
    for line in sys.stdin:
        perform(driver, group, Operation(**json.loads(line)))
        print("done", flush=True)


if __name__ == "__main__":
    main()
