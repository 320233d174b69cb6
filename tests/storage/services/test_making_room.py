"""Room is made by giving back what is held for nothing, and no snapshot goes unless that is known to be needed."""

import pytest

from qreplica.errors import QReplicaError
from qreplica.state.models import Job, Lun, Node, RecoveryPoint, SnapshotKind, new_id
from qreplica.storage import making_room as module
from qreplica.storage.errors import GroupClosed, GroupFull, GroupLocked, StorageCommandFailed
from qreplica.storage.making_room import MakingRoom
from qreplica.storage.space_pressure import NEWS
from qreplica.units import MIB

from .crowded import CrowdedWorld

UNREADABLE = StorageCommandFailed(command="reclaim", reason="Input/output error")


@pytest.fixture
def world(crowded: CrowdedWorld, monkeypatch: pytest.MonkeyPatch) -> CrowdedWorld:
    monkeypatch.setattr(module, "_BETWEEN_LOOKS", 0.0)
    return crowded


def make_until_hopeless(world: CrowdedWorld, making: MakingRoom) -> None:
    """Make room again and again until there is enough or nothing more can be done."""
    assert world.room < world.limits.hold_below
    while world.room < world.limits.let_go_on and not making.is_hopeless:
        making.make(world.limits)


def test_what_is_held_for_nothing_goes_before_any_snapshot(world: CrowdedWorld) -> None:
    world.snapshot(world.small, "old", world.SPACE + 2 * NEWS)
    world.storage.held[world.rest] += world.needed
    world.storage.waste[world.rest] = world.needed
    make_until_hopeless(world, world.making())
    assert world.names() == {"old"}
    assert world.room >= world.limits.let_go_on
    assert world.events("space-runs-out") == []


def test_of_three_snapshots_of_which_one_suffices_one_goes_however_long_it_takes_to_be_freed(
    world: CrowdedWorld,
) -> None:
    for age in (3, 2, 1):
        world.snapshot(world.small, f"s{age}", world.SPACE + world.needed, age=age)
    # Of what exceeds the promise one snapshot is all that is in the way.
    world.storage.held[world.rest] -= 2 * (world.SPACE + world.needed)
    world.storage.held[world.rest] += world.SPACE
    world.storage.slow_cleaner = 100
    making = world.making()
    assert world.room < world.limits.hold_below
    make_until_hopeless(world, making)
    assert world.names() == {"s2", "s1"}
    assert world.room >= world.limits.let_go_on
    assert len(world.events("snapshot-let-go")) == 1


def test_one_snapshot_goes_at_a_time_even_when_it_is_freed_at_once(world: CrowdedWorld) -> None:
    for age in (3, 2, 1):
        world.snapshot(world.small, f"s{age}", world.SPACE + world.needed // 2, age=age)
    making = world.making()
    making.make(world.limits)
    assert world.names() == {"s2", "s1"}
    making.make(world.limits)
    assert world.names() == {"s1"}
    # Before the second one went, it was seen once more whether the first one's going had made something free.
    second = world.storage.done.index("delete s2")
    assert f"reclaim {world.small}" in world.storage.done[world.storage.done.index("delete s3") : second]


def test_nothing_more_goes_while_what_was_deleted_is_not_free(
    world: CrowdedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FREEING", 0.0)
    for age in (3, 2, 1):
        world.snapshot(world.small, f"s{age}", world.SPACE + world.needed, age=age)
    world.storage.slow_cleaner = 1 << 40
    making = world.making()
    monkeypatch.setattr(module, "_HOPELESS", 0.0)
    for _ in range(5):
        making.make(world.limits)
    assert world.names() == {"s2", "s1"}
    (told,) = world.events("space-runs-out")
    assert "what was deleted is not free yet, or a program has it open" in told


def test_what_was_freed_in_the_meantime_counts(world: CrowdedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.snapshot(world.small, "s", world.SPACE + world.needed)
    assert world.room < world.limits.hold_below

    def freeing(_: str) -> bool:
        # The engine ends what it was at just before it is asked.
        world.storage.held[world.small] = world.SIZE
        return False

    monkeypatch.setattr(world.storage, "freeing", freeing)
    world.making().make(world.limits)
    assert world.names() == {"s"}
    assert world.room >= world.limits.let_go_on
    assert world.events("space-runs-out") == []


def test_what_fails_leads_to_no_deletion_and_is_told_once(world: CrowdedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HOPELESS", 0.0)
    world.snapshot(world.small, "old", world.SPACE + world.needed)
    world.storage.failing[world.small] = UNREADABLE
    making = world.making()
    for _ in range(3):
        making.make(world.limits)
    assert world.names() == {"old"}
    (told,) = world.events("space-not-given-back")
    assert told.startswith("What virtual disk small holds for nothing was not given back")
    assert "Input/output error" in told
    assert "qreplica rg scrub start rg1" in told
    world.storage.failing[world.small] = GroupFull(group=world.rg, operation="it")
    for _ in range(3):
        making.make(world.limits)
    assert world.names() == {"old"}
    assert len(world.events("space-not-given-back")) == 2
    # Once a pass goes well it is known that nothing can be given back.
    del world.storage.failing[world.small]
    make_until_hopeless(world, making)
    assert world.names() == set()
    assert len(world.events("space-not-given-back")) == 2


def test_one_vd_that_fails_holds_no_other_up(world: CrowdedWorld) -> None:
    world.storage.held[world.small] += 2 * world.needed
    world.storage.failing[world.small] = UNREADABLE
    world.storage.held[world.rest] += world.needed
    world.storage.waste[world.rest] = world.needed
    assert world.room < world.limits.hold_below
    world.making().make(world.limits)
    assert world.storage.waste[world.rest] == 0


@pytest.mark.parametrize("error", [GroupClosed(group="rg1"), OSError(5, "Input/output error")])
def test_what_the_rg_is_to_blame_for_is_raised(
    world: CrowdedWorld, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.snapshot(world.small, "old", world.SPACE + world.needed)

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(world.storage, "reclaim", fails)
    with pytest.raises(type(error)):
        world.making().make(world.limits)
    assert world.names() == {"old"}


def test_an_rg_that_another_call_works_on_is_no_reason_for_anything(
    world: CrowdedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROUND", 0.05)
    world.snapshot(world.small, "old", world.SPACE + world.needed)
    world.storage.failing[world.small] = GroupLocked(group=world.rg, seconds=0.05)
    making = world.making()
    for _ in range(3):
        making.make(world.limits)
    assert world.names() == {"old"}
    assert not making.is_hopeless
    assert world.events("space-not-given-back") == world.events("space-runs-out") == []


def test_a_vd_within_its_promise_keeps_its_snapshots(world: CrowdedWorld) -> None:
    world.snapshot(world.small, "old", world.SPACE + NEWS)
    world.storage.held[world.rest] += world.needed
    assert world.room < world.limits.hold_below
    world.making().make(world.limits)
    assert world.names() == {"old"}
    assert len(world.events("space-runs-out")) == 1


def test_it_is_the_settled_count_that_decides(world: CrowdedWorld) -> None:
    world.snapshot(world.small, "old", world.SPACE + NEWS)
    world.storage.miscounted[world.small] = 2 * world.needed
    world.storage.held[world.rest] += world.needed
    assert world.room < world.limits.hold_below
    world.making().make(world.limits)
    assert world.names() == {"old"}


def test_the_vd_that_exceeds_its_promise_most_lets_go_first(world: CrowdedWorld) -> None:
    world.snapshot(world.small, "of small", world.SPACE + world.needed, age=9)
    world.snapshot(world.rest, "of rest", 2 * world.needed)
    making = world.making()
    making.make(world.limits)
    assert world.names() == {"of small"}
    (told,) = world.events("snapshot-let-go")
    assert told.startswith("Snapshot of rest of rest was let go of, because the RAID group ran out of room while rest")
    make_until_hopeless(world, making)
    assert world.names() == set()


def test_automatic_ones_go_first_and_what_replication_or_a_lun_needs_never(world: CrowdedWorld) -> None:
    each = world.SPACE + world.needed
    world.snapshot(world.small, "manual", each, age=9)
    world.snapshot(world.small, "before-rollback", each, age=8)
    world.snapshot(world.small, "automatic", each, SnapshotKind.AUTOMATIC, age=1)
    kept = {
        world.snapshot(world.small, "base", each, SnapshotKind.REPLICATION, age=30),
        world.snapshot(world.small, "in flight", each, SnapshotKind.REPLICATION, age=29),
        world.snapshot(world.small, "point", each, SnapshotKind.RECOVERY_POINT, age=28),
        world.snapshot(world.small, "point to be", each, SnapshotKind.RECOVERY_POINT, age=27),
        world.snapshot(world.small, "automatic base", each, SnapshotKind.AUTOMATIC, age=26),
        world.snapshot(world.small, "shown", each, SnapshotKind.MANUAL, age=25),
    }
    _pin(world)
    making = world.making()
    make_until_hopeless(world, making)
    assert [one for one in world.storage.done if one.startswith("delete")] == [
        "delete automatic",
        "delete manual",
        "delete before-rollback",
    ]
    assert world.names() == kept
    assert making.is_hopeless
    assert len(world.events("space-runs-out")) == 1


def _pin(world: CrowdedWorld) -> None:
    """Have jobs, a recovery point and a LUN that need snapshots; those of replication's own kinds need no pin."""
    with world.database.session() as session:
        for name in ("base", "automatic base"):
            session.add(
                Job(
                    name=f"job of {name}",
                    source_vd_id=world.small,
                    target_subsystem="s",
                    target_node="iqn.2026-01.test:n",
                    target_lun=0,
                    target_vd="v",
                    target_serial=name,
                    target_size=MIB,
                    base_snapshot_id=name,
                    base_generation=1,
                )
            )
        session.add(
            RecoveryPoint(
                vd_id=world.small,
                snapshot_id="point",
                job_id=new_id(),
                generation=1,
                base_generation=None,
                source_snapshot="x",
                size=MIB,
                manifest="m",
            )
        )
        node = Node(name="n1", iqn="iqn.2026-01.test:n1", tid=1)
        session.add(Lun(node=node, number=1, vd_id=world.small, snapshot_id="shown"))


def test_room_that_comes_back_ends_the_hopelessness(world: CrowdedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HOPELESS", 0.0)
    too_much = world.SPACE + world.needed
    world.storage.held[world.rest] += too_much
    making = world.making()
    for _ in range(2):
        making.make(world.limits)
    assert len(world.events("space-runs-out")) == 1
    world.storage.held[world.rest] -= too_much
    making.make(world.limits)
    world.storage.held[world.rest] += too_much
    making.make(world.limits)
    assert len(world.events("space-runs-out")) == 2


def test_in_the_background_all_is_looked_at_again_after_a_while(
    world: CrowdedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[QReplicaError] = [UNREADABLE, UNREADABLE]
    world.storage.held[world.small] += world.SPACE + 2 * NEWS
    world.storage.waste[world.small] = 2 * NEWS
    making = world.making()
    for error in errors:
        world.storage.failing[world.small] = error
        making.in_background(world.limits)
    assert world.storage.done == [f"reclaim {world.small}"]
    del world.storage.failing[world.small]
    making.in_background(world.limits)
    assert world.storage.done == [f"reclaim {world.small}"]
    monkeypatch.setattr(module, "_ALL_AGAIN", 0.0)
    making.in_background(world.limits)
    assert world.storage.waste[world.small] == 0
