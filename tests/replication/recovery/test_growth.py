"""A source VD that has grown: the backup VD follows when a generation is begun, or refuses and says why."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from qreplica.peer import messages
from qreplica.replication.recovery_errors import BackupVdCannotFollow
from qreplica.state.models import Event, RaidGroup, VirtualDisk
from qreplica.storage import extending
from qreplica.storage.driver import BLOCK

from .world import GROUP, IQN, JOB, SIZE, VD, Crash, World, begin_message, commit_message

LARGER = SIZE + 4 * BLOCK


def copy(world: World, epoch: int, generation: int, base: int | None, data: bytes) -> messages.Begun:
    """Claim, begin, write all of ``data`` and commit, for a source VD of that size."""
    lineage = world.claim(epoch, source_size=len(data))
    begun = world.recovery.begin(IQN, begin_message(epoch, generation, base, size=len(data)))
    world.write(lineage.initiator, 0, data)
    world.recovery.commit(IQN, commit_message(epoch, generation))
    return begun


def row(world: World) -> VirtualDisk:
    with world.database.session(read_only=True) as session:
        return session.get_one(VirtualDisk, VD)


def leave_free(world: World, free: int) -> None:
    with world.database.session() as session:
        vd = session.get_one(VirtualDisk, VD)
        session.get_one(RaidGroup, GROUP).usable = vd.size + vd.snapshot_space + free


def test_the_backup_vd_follows_with_its_recovery_points(world: World) -> None:
    copy(world, 1, 1, None, b"a" * SIZE)
    leave_free(world, 2 * (LARGER - SIZE))
    before = row(world).snapshot_space
    begun = copy(world, 2, 2, 1, b"b" * LARGER)
    assert begun == messages.Begun(resumed=False, size=LARGER)
    assert (row(world).size, row(world).snapshot_space) == (LARGER, before + LARGER - SIZE)
    assert world.points() == {1: b"a" * SIZE, 2: b"b" * LARGER}
    assert world.claim(3).size == LARGER
    with world.database.session(read_only=True) as session:
        event = session.scalars(select(Event).where(Event.kind == "backup-vd-extended")).one()
    assert event.subject == "vd b1"
    assert "from 32 KiB to 48 KiB" in event.message


def test_without_room_nothing_changes_and_both_figures_are_told(world: World) -> None:
    copy(world, 1, 1, None, b"a" * SIZE)
    leave_free(world, 2 * (LARGER - SIZE) - BLOCK)
    world.claim(2, source_size=LARGER)
    begin = begin_message(2, 2, 1, size=LARGER)
    with pytest.raises(BackupVdCannotFollow, match="has 48 KiB now and backup VD “b1” of 32 KiB") as caught:
        world.recovery.begin(IQN, begin)
    assert (caught.value.fields["free"], caught.value.fields["needed"]) == (28 * 1024, 32 * 1024)
    assert row(world).size == world.live().stat().st_size == SIZE
    assert world.recovery.lineage(IQN, 1).in_progress is None
    leave_free(world, 2 * (LARGER - SIZE))
    assert world.recovery.begin(IQN, begin) == messages.Begun(resumed=False, size=LARGER)
    assert world.live().read_bytes() == b"a" * SIZE + bytes(LARGER - SIZE)


def test_a_backup_vd_that_is_larger_already_stays_as_it_is(world: World) -> None:
    copy(world, 1, 1, None, b"a" * SIZE)
    copy(world, 2, 2, 1, b"b" * LARGER)
    leave_free(world, 0)
    assert copy(world, 3, 3, 2, b"c" * SIZE).size == LARGER
    assert row(world).size == LARGER
    assert world.points()[3] == b"c" * SIZE + b"b" * (LARGER - SIZE)


def test_what_is_given_up_goes_back_to_the_smaller_point_at_the_new_size(world: World) -> None:
    """The point is from before the VD grew: rolled back to it, the VD has still all that was promised."""
    copy(world, 1, 1, None, b"a" * SIZE)
    lineage = world.claim(2, source_size=LARGER)
    world.recovery.begin(IQN, begin_message(2, 2, 1, size=LARGER))
    world.write(lineage.initiator, 0, b"b" * LARGER)
    begun = world.recovery.begin(IQN, begin_message(2, 3, 1, size=LARGER))
    assert begun == messages.Begun(resumed=False, size=LARGER)
    assert world.live().read_bytes() == b"a" * SIZE + bytes(LARGER - SIZE)
    world.write(lineage.initiator, 0, b"b" * LARGER)
    world.recovery.abort(IQN, messages.Abort(job=JOB, epoch=2))
    assert world.live().read_bytes() == b"a" * SIZE + bytes(LARGER - SIZE)


def test_a_source_size_between_two_blocks_gets_the_whole_one(world: World) -> None:
    world.claim(1)
    assert world.recovery.begin(IQN, begin_message(1, 1, None, size=SIZE + 512)).size == SIZE + BLOCK


def grown_copy(world: World, epoch: int) -> None:
    lineage = world.claim(epoch, source_size=LARGER)
    if lineage.points[-1].generation == 1:
        world.recovery.begin(IQN, begin_message(epoch, 2, 1, size=LARGER))
        world.write(lineage.initiator, 0, b"b" * LARGER)
        world.recovery.commit(IQN, commit_message(epoch, 2))


@pytest.mark.parametrize("new_tgtd", [False, True])
def test_the_target_may_die_at_any_step_of_it(make_world: Callable[[], World], *, new_tgtd: bool) -> None:
    world = make_world()
    copy(world, 1, 1, None, b"a" * SIZE)
    before = world.steps.taken
    grown_copy(world, 2)
    steps = world.steps.taken - before
    assert steps > 8
    for step in range(steps):
        world = make_world()
        copy(world, 1, 1, None, b"a" * SIZE)
        before = row(world).snapshot_space
        world.steps.fatal = world.steps.taken + step
        with pytest.raises(Crash):
            grown_copy(world, 2)
        extending.finish(world.database, world.storage, GROUP)
        world.restart(new_tgtd=new_tgtd)
        grown_copy(world, 3)
        assert world.points() == {1: b"a" * SIZE, 2: b"b" * LARGER}
        assert (row(world).size, row(world).snapshot_space) == (LARGER, before + LARGER - SIZE)
