"""The target's daemon dies before each step that leaves a trace; the source asks again, and all ends as it should."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from sqlalchemy import select

from qreplica.peer import messages
from qreplica.replication.recovery_errors import StaleEpoch
from qreplica.state.models import Claim, RecoveryPoint, Snapshot
from qreplica.storage.driver import BLOCK

from .world import BLOCKS, GROUP, IQN, JOB, SIZE, VD, Crash, World, begin_message, commit_message, digest

#: What the source's snapshots hold, a letter a block. Generation 3 goes on from 1, since 2 is given up half-way; 4 is
#: aborted half-way; 5 goes on from 3 again; 6 is under way when the job ends.
CONTENT = {1: b"aaaaaaaa", 2: b"bbbbaaaa", 3: b"aaaaccaa", 4: b"dddddddd", 5: b"aaaacceA", 6: b"ffffffff"}


def disk(generation: int) -> bytes:
    return b"".join(bytes([letter]) * BLOCK for letter in CONTENT[generation])


@dataclass
class Source:
    """A source that asks again, with a new epoch, until it is answered; between its requests it remembers all."""

    world: World
    new_tgtd: bool
    epoch: int = 0
    durable: dict[int, int] = field(default_factory=dict)
    crashes: int = 0

    def persist(self, request: Callable[[], None]) -> None:
        """Do ``request``; when the target dies under it, look at what is left, start the target again, and repeat."""
        while True:
            try:
                request()
            except Crash:
                self.crashes += 1
                self.world.restart(new_tgtd=self.new_tgtd)
                self.look()
            else:
                self.look()
                return

    def look(self) -> None:
        """What may never be otherwise: who is admitted, and what recovery points hold."""
        for generation, content in self.world.points().items():
            assert content == disk(generation), f"recovery point {generation} is damaged"
        with self.world.database.session(read_only=True) as session:
            row = session.scalar(select(Claim))
        assert self.world.initiators() == (frozenset() if row is None else {row.initiator})
        assert row is None or row.epoch in {self.epoch, self.epoch - 1}, "an epoch that nobody proposed"

    def claim(self) -> messages.Lineage:
        self.epoch += 1
        lineage = self.world.claim(self.epoch)
        assert lineage.epoch == self.epoch
        for older in range(1, self.epoch):
            name = lineage.initiator.replace(f":e{self.epoch}", f":e{older}")
            assert self.world.target.log_in(IQN, name) is None
        return lineage

    def copy(self, generation: int, base: int | None, blocks: int = BLOCKS) -> messages.Lineage | None:
        """Claim, begin or resume, and write its changes before block ``blocks``; None if it is a point already."""
        lineage = self.claim()
        if generation in [point.generation for point in lineage.points]:
            assert lineage.in_progress is None
            return None
        begun = self.world.recovery.begin(IQN, begin_message(self.epoch, generation, base))
        if lineage.in_progress is not None and lineage.in_progress.generation == generation:
            assert begun.resumed
        if not begun.resumed:
            self.durable[generation] = 0
            if base is not None:
                assert self.world.live().read_bytes() == disk(base)
        before = b"\0" * SIZE if base is None else disk(base)
        for block in range(self.durable[generation], blocks):
            at = slice(block * BLOCK, (block + 1) * BLOCK)
            if base is None or before[at] != disk(generation)[at]:
                self.world.write(lineage.initiator, at.start, disk(generation)[at])
            self.durable[generation] = block + 1
        return lineage

    def cycle(self, generation: int, base: int | None) -> None:
        if self.copy(generation, base) is not None:
            point = self.world.recovery.commit(IQN, commit_message(self.epoch, generation)).point
            assert (point.generation, point.manifest) == (generation, digest(generation))

    def run(self) -> None:
        self.persist(lambda: self.cycle(1, None))
        self.persist(lambda: self._half(2, 1))
        self.persist(lambda: self.cycle(3, 1))
        self.persist(lambda: self._half(4, 3))
        self.persist(self._abort)
        self.persist(lambda: self.cycle(5, 3))
        self.persist(lambda: self._half(6, 5))
        self.persist(self._release)

    def _half(self, generation: int, base: int) -> None:
        self.copy(generation, base, BLOCKS // 2)

    def _abort(self) -> None:
        self.claim()
        lineage = self.world.recovery.abort(IQN, messages.Abort(job=JOB, epoch=self.epoch))
        assert lineage.in_progress is None
        assert self.world.live().read_bytes() == disk(3)

    def _release(self) -> None:
        self.world.recovery.release(IQN, messages.Release(job=JOB, epoch=self.epoch))


def steps_of(world: World) -> list[str]:
    Source(world, new_tgtd=False).run()
    return world.steps.names


def check_end(world: World, source: Source) -> None:
    """One lineage of three points, nobody admitted, nothing left over, and no old epoch comes back."""
    assert sorted(world.points()) == [1, 3, 5]
    with world.database.session(read_only=True) as session:
        bases = {point.generation: point.base_generation for point in session.scalars(select(RecoveryPoint))}
        taken = [row.taken_at is not None for row in session.scalars(select(Snapshot))]
        row = session.scalars(select(Claim)).one()
    assert bases == {1: None, 3: 1, 5: 3}
    assert row.job_id == ""
    assert all(taken)
    assert len(taken) == len(bases) == len(world.storage.list_snapshots(GROUP, VD)) == 3
    for epoch in range(1, source.epoch + 1):
        assert world.target.log_in(IQN, f"iqn.2026-11.org.qreplica:job-{JOB}:e{epoch}") is None
        with pytest.raises(StaleEpoch):
            world.claim(epoch)


def test_without_a_crash(world: World) -> None:
    source = Source(world, new_tgtd=False)
    source.run()
    assert source.crashes == 0
    check_end(world, source)
    assert {"commit", "take_snapshot", "roll_back", "fence_node", "remove_node", "apply_node", "flush"} <= set(
        world.steps.names
    )


def test_a_crash_before_each_step(make_world: Callable[[], World]) -> None:
    """At every second step tgtd dies too, so that nothing of its state can be relied on."""
    steps = steps_of(make_world())
    for fatal, name in enumerate(steps):
        world = make_world()
        world.steps.fatal = fatal
        source = Source(world, new_tgtd=fatal % 2 == 0)
        source.run()
        assert source.crashes == 1, f"no crash before step {fatal}, {name}"
        check_end(world, source)


def die_again_after_two_steps(world: World, source: Source) -> None:
    restart = world.restart

    def restart_and_die(*, new_tgtd: bool) -> None:
        restart(new_tgtd=new_tgtd)
        if source.crashes == 1:
            world.steps.fatal = world.steps.taken + 2

    world.restart = restart_and_die  # type: ignore[method-assign]


def test_a_crash_before_a_step_and_again_before_a_later_one(make_world: Callable[[], World]) -> None:
    """The second crash hits the repetition of what the first has cut off."""
    steps = steps_of(make_world())
    for fatal in range(0, len(steps), 3):
        world = make_world()
        world.steps.fatal = fatal
        source = Source(world, new_tgtd=fatal % 2 == 1)
        die_again_after_two_steps(world, source)
        source.run()
        assert source.crashes in {1, 2}
        check_end(world, source)


@pytest.mark.parametrize("what", ["begin another", "abort"])
def test_what_was_rolled_back_is_never_gone_on_with(make_world: Callable[[], World], what: str) -> None:
    """The target dies in a roll-back, and the source comes back for the generation that was to be given up."""
    fatal = 0
    while True:
        world = make_world()
        source = Source(world, new_tgtd=False)
        source.persist(lambda source=source: source.cycle(1, None))
        source.copy(2, 1, BLOCKS // 2)
        before = world.steps.taken
        world.steps.fatal = before + fatal
        try:
            if what == "abort":
                world.recovery.abort(IQN, messages.Abort(job=JOB, epoch=source.epoch))
            else:
                world.recovery.begin(IQN, begin_message(source.epoch, 3, 1))
        except Crash:
            world.restart()
        else:
            break
        source.persist(lambda source=source: source.cycle(2, 1))
        assert world.points() == {1: disk(1), 2: disk(2)}
        fatal += 1
    assert "roll_back" in world.steps.names[before:]
    assert fatal == world.steps.taken - before


def test_what_an_old_owner_froze_half_written_becomes_no_point(world: World) -> None:
    """A commit that hangs until after the next claim may freeze anything; its snapshot is not the next owner's."""
    source = Source(world, new_tgtd=False)
    source.copy(1, None, BLOCKS // 2)
    world.steps.fatal = world.steps.taken + 3
    with pytest.raises(Crash):
        world.recovery.commit(IQN, commit_message(source.epoch, 1))
    assert world.steps.names[-1] == "take_snapshot"
    world.restart()
    source.cycle(1, None)
    assert world.points() == {1: disk(1)}
    assert len(world.storage.list_snapshots(GROUP, VD)) == 1
