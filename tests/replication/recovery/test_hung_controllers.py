"""A controller of the target hangs at any step of a request; another one goes on meanwhile, and then it wakes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.iscsi.target.memory import MemoryTargetDriver
from qreplica.peer import messages
from qreplica.replication.recovery import Recovery
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.replication.recovery_serving import Serving
from qreplica.state.database import Database
from qreplica.state.models import Claim, Node, RecoveryPoint, Snapshot
from qreplica.storage.driver import BLOCK
from qreplica.storage.errors import GroupLocked

from .world import (
    GROUP,
    IQN,
    JOB,
    SIZE,
    VD,
    Beside,
    Stepping,
    World,
    begin_message,
    claim_message,
    commit_message,
    spec_of,
)

_STORAGE = {"take_snapshot", "delete_snapshot", "flush"}
_TARGET = {"fence_node", "remove_node", "apply_node"}
#: What a request is asked with; each is hung at every step that it takes.
REQUESTS: dict[str, Callable[[Recovery], object]] = {
    "claim": lambda recovery: recovery.claim(IQN, claim_message(4)),
    "begin": lambda recovery: recovery.begin(IQN, begin_message(3, 3, 1)),
    "begin a full copy": lambda recovery: recovery.begin(IQN, begin_message(3, 3, None)),
    "commit": lambda recovery: recovery.commit(IQN, commit_message(3, 2)),
    "abort": lambda recovery: recovery.abort(IQN, messages.Abort(job=JOB, epoch=3)),
    "release": lambda recovery: recovery.release(IQN, messages.Release(job=JOB, epoch=3)),
}


class Hang:
    """Counts steps; at that of number ``at`` what happens ``meanwhile`` does."""

    def __init__(self, at: int, meanwhile: Callable[[], None]) -> None:
        self.names: list[str] = []
        self._at = at
        self._meanwhile = meanwhile
        self.hung = False
        #: Whether the engine's lock is held, so that nobody gets far meanwhile.
        self.alone = False

    def take(self, name: str) -> None:
        if self.alone:
            return
        self.names.append(name)
        if len(self.names) - 1 == self._at:
            self.hung = True
            self._meanwhile()
            self.hung = False


class SteppingEngine(Stepping):
    """A storage engine whose roll-backs, too, are a step; one that has begun keeps all others waiting."""

    def roll_back(self, *arguments: Any) -> None:
        self._steps.take("roll_back")
        self._steps.alone = True
        try:
            self._real.roll_back(*arguments)
        finally:
            self._steps.alone = False


class SteppingAfter:
    """A database in which the moment after each commit is a step: within one, everybody else would have to wait."""

    def __init__(self, real: Database, steps: Hang) -> None:
        self._real = real
        self._steps = steps

    @contextmanager
    def session(self, *, read_only: bool = False) -> Iterator[Session]:
        with self._real.session(read_only=read_only) as session:
            yield session
        self._steps.take("read" if read_only else "committed")


@dataclass
class Second:
    """The other controller, and a source that speaks with that one only."""

    world: World
    steps: Hang

    def __post_init__(self) -> None:
        world = self.world
        self.target = MemoryTargetDriver()
        spec = spec_of(world.storage)

        def serve(target: MemoryTargetDriver) -> None:
            with world.database.session(read_only=True) as session:
                target.apply_node(spec(session, session.scalars(select(Node)).one()))

        self.serve_first = lambda: serve(world.target)
        first = Beside(world.target, world.database, lambda: None if self.steps.hung else self.serve_first())
        second = Beside(self.target, world.database, lambda: serve(self.target))
        serve(self.target)
        self.recovery = Recovery(
            world.database,
            world.storage,
            Serving(world.database, world.storage, {1: first, 2: self.target}, spec, NodeLocks()),
        )
        storage: Any = SteppingEngine(world.storage, self.steps, _STORAGE)
        targets: Any = {number: Stepping(one, self.steps, _TARGET) for number, one in ((1, world.target), (2, second))}
        database: Any = SteppingAfter(world.database, self.steps)
        self.hanging = Recovery(database, storage, Serving(database, storage, targets, spec, NodeLocks()))
        self.epoch = 10
        self.content = b""

    def cycle(self, generation: int, letter: bytes, durable: int = 0, until: int = 8, *, commit: bool = True) -> None:
        """Claim, and send every second block from ``durable`` on, where another attempt got to."""
        self.epoch += 1
        lineage = self.recovery.claim(IQN, claim_message(self.epoch))
        newest = lineage.points[-1].generation
        begun = self.recovery.begin(IQN, begin_message(self.epoch, generation, newest))
        assert begun.resumed is (durable > 0)
        if not durable:
            self.content = self.world.points()[newest]
            assert self.world.live().read_bytes() == self.content
        for block in range(durable, until, 2):
            self.write(lineage.initiator, block * BLOCK, letter * BLOCK)
        if commit:
            self.recovery.commit(IQN, commit_message(self.epoch, generation))

    def write(self, initiator: str, offset: int, data: bytes) -> None:
        assert self.target.log_in(IQN, initiator) is not None
        with self.world.live().open("r+b") as disk:
            disk.seek(offset)
            disk.write(data)
        self.content = self.content[:offset] + data + self.content[offset + len(data) :]

    def check_admitted(self) -> None:
        with self.world.database.session(read_only=True) as session:
            present = session.scalars(select(Claim.initiator)).one()
        for target in (self.world.target, self.target):
            assert IQN not in target.specs or target.specs[IQN].initiators == {present}


def under_way(world: World) -> None:
    """Generation 1 is a point, and half of 2, which goes on from there, is written; epoch 3 is the present one."""
    lineage = world.claim(1)
    world.recovery.begin(IQN, begin_message(1, 1, None))
    world.write(lineage.initiator, 0, b"a" * SIZE)
    world.recovery.commit(IQN, commit_message(1, 1))
    lineage = world.claim(3)
    world.recovery.begin(IQN, begin_message(3, 2, 1))
    world.write(lineage.initiator, 0, b"b" * (SIZE // 2))


def steps_of(world: World, request_: str) -> list[str]:
    under_way(world)
    second = Second(world, Hang(-1, lambda: None))
    REQUESTS[request_](second.hanging)
    return second.steps.names


@pytest.mark.parametrize("request_", REQUESTS)
def test_what_it_goes_on_with_when_it_wakes_is_too_late(make_world: Callable[[], World], request_: str) -> None:
    """The other one is in the middle of its cycle then, or has committed it."""
    steps = steps_of(make_world(), request_)
    for (hung, name), committed in product(enumerate(steps), (False, True)):
        if name == "read" and committed:
            continue
        world = make_world()
        under_way(world)
        second: Second

        def meanwhile() -> None:
            second.cycle(5, b"c", until=8 if committed else 4, commit=committed)  # noqa: B023 - called at once

        second = Second(world, Hang(hung, meanwhile))
        with suppress(QReplicaError):
            REQUESTS[request_](second.hanging)
        where = f"hung after step {hung}, {name}, and then did {second.steps.names[hung + 1 :]}"
        assert world.live().read_bytes() == second.content, where
        second.check_admitted()
        second.serve_first()
        if not committed:
            second.cycle(5, b"c", durable=4)
        points = {5: second.content}
        second.cycle(6, b"d")
        points[6] = second.content
        found = world.points()
        assert {generation: found[generation] for generation in found if generation > 4} == points, where
        with world.database.session(read_only=True) as session:
            kept = set(session.scalars(select(RecoveryPoint.snapshot_id)))
            assert set(session.scalars(select(Snapshot.id))) == kept, where
        assert {one.snapshot for one in world.storage.list_snapshots(GROUP, VD)} == kept, where


def test_a_full_copy_waits_for_a_roll_back_that_has_begun(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs in the engine has been confirmed already, and would undo what is written meanwhile."""
    under_way(world)
    with world.database.session() as session:
        session.scalars(select(Claim)).one().manifest = None
    world.claim(4)

    def locked(*_: object) -> None:
        raise GroupLocked(group=GROUP, seconds=1)

    with monkeypatch.context() as patch:
        patch.setattr(world.storage, "roll_back", locked)
        with pytest.raises(GroupLocked):
            world.recovery.begin(IQN, begin_message(4, 3, None))
    assert not world.recovery.begin(IQN, begin_message(4, 3, None)).resumed
