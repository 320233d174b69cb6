"""Rolling back: what has to be said before, what is refused, what stays, and what a crash leaves."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from qreplica.errors import NotFound, QReplicaError
from qreplica.iscsi.target.errors import TargetDaemonDown
from qreplica.state.errors import StateBusy
from qreplica.state.models import (
    Claim,
    Event,
    HeldBack,
    Job,
    JobState,
    Node,
    Snapshot,
    SnapshotKind,
    VdType,
    VirtualDisk,
    now,
)
from qreplica.storage import extending, holding_back, rolling_back, snapshots, virtual_disks
from qreplica.storage.driver import BLOCK
from qreplica.storage.errors import GroupClosed, GroupFull, GroupLocked, SnapshotMissing
from qreplica.storage.service_errors import (
    NoSnapshotSpace,
    NoSuchSnapshot,
    RollBackNotConfirmed,
    SnapshotPinned,
    VdClaimed,
    VdHasHosts,
    VdInUse,
    VdReplicating,
)
from qreplica.units import MIB

from .world import Crash, World

SIZE = 4 * MIB


class Still:
    def still_paused(self) -> bool:
        return True


@contextmanager
def pause() -> Iterator[Still]:
    yield Still()


@dataclass
class Letting:
    """Pretends that target daemons let go of what is held back; notes when, and refuses with ``error``.

    ``trouble`` is what cannot be served again at the end.
    """

    world: World
    error: Exception | None = None
    trouble: QReplicaError | None = None
    log: list[str] = field(default_factory=list)

    @contextmanager
    def __call__(self, vd: str) -> Iterator[list[QReplicaError]]:
        if self.error is not None:
            raise self.error
        holding_back.hold_back(self.world.db, vd)
        self.log.append(f"let go of {vd}")
        problems = [] if self.trouble is None else [self.trouble]
        try:
            yield problems
        finally:
            self.log.append("opened" if holding_back.serve_again(self.world.db, vd) else "held back")


@pytest.fixture
def world(world: World) -> World:
    world.group()
    world.vd()
    virtual_disks.set_snapshot_space(world.db, world.driver, "v1", 64 * MIB)
    return world


def row(world: World, name: str = "v1") -> VirtualDisk:
    with world.database.session(read_only=True) as session:
        return virtual_disks.get(session, name)


def content(world: World, name: str = "v1") -> bytes:
    vd = row(world, name)
    return world.storage.vd_path(vd.raid_group_id, vd.id).read_bytes()


def fill(world: World, letter: bytes, name: str = "v1") -> None:
    vd = row(world, name)
    with world.storage.vd_path(vd.raid_group_id, vd.id).open("r+b") as file:
        file.write(letter * vd.size)


def take(world: World, name: str, vd: str = "v1", kind: SnapshotKind = SnapshotKind.MANUAL) -> None:
    snapshots.take(world.db, world.driver, pause, vd_id=row(world, vd).id, name=name, kind=kind)


def names(world: World, vd: str = "v1") -> list[str]:
    with world.database.session(read_only=True) as session:
        return [one.name for one in snapshots.listing(session, vd)]


def rolled(world: World, snapshot: str = "s1", *, let_go: Any = None, **facts: Any) -> rolling_back.RolledBack:
    chosen: dict[str, Any] = {"vd": "v1", "snapshot": snapshot, "confirmed": "v1", **facts}
    return rolling_back.roll_back(world.db, world.driver, pause, let_go or Letting(world), **chosen)


def back(world: World, snapshot: str = "s1", **facts: Any) -> str | None:
    done = rolled(world, snapshot, **facts)
    assert done.problems == ()
    return done.kept


def test_a_vd_is_again_what_it_was_and_what_it_held_is_kept(world: World) -> None:
    fill(world, b"a")
    take(world, "s1")
    fill(world, b"b")
    letting = Letting(world)
    kept = back(world, let_go=letting)
    assert content(world) == b"a" * SIZE
    assert letting.log == [f"let go of {row(world).id}", "opened"]
    assert kept is not None
    assert kept.startswith("before-rollback-")
    assert names(world) == ["s1", kept]
    assert back(world, kept, keep_present=False) is None
    assert content(world) == b"b" * SIZE
    assert names(world) == ["s1", kept]


def test_without_the_word_nothing_happens_and_the_loss_is_told(world: World) -> None:
    fill(world, b"a")
    take(world, "s1")
    with world.storage.vd_path(row(world).raid_group_id, row(world).id).open("r+b") as file:
        file.seek(8 * BLOCK)
        file.write(b"b" * 3 * BLOCK)
    told = rolling_back.loss(world.db, world.driver, "v1", "s1")
    assert told.changed == 3 * BLOCK
    assert timedelta() <= now() - told.since < timedelta(minutes=5)
    with world.unchanged():
        for word in (None, "", "V1", "s1"):
            with pytest.raises(RollBackNotConfirmed, match=r"loses everything written since .* ago\), 12 KiB"):
                back(world, confirmed=word)
        rolling_back.loss(world.db, world.driver, "v1", "s1")
    assert content(world).count(b"b") == 3 * BLOCK


def test_an_event_tells_what_was_lost(world: World) -> None:
    take(world, "s1")
    fill(world, b"b")
    kept = back(world)
    with world.database.session(read_only=True) as session:
        event = session.query(Event).filter_by(kind="vd-rolled-back").one()
    assert event.subject == "vd v1"
    assert "rolled back to snapshot s1" in event.message
    assert f"4 MiB; snapshot {kept} has that still." in event.message


@pytest.mark.parametrize("space", [0, 4 * MIB])
def test_without_snapshot_space_nothing_is_kept_unless_insisted_upon(world: World, space: int) -> None:
    fill(world, b"a")
    take(world, "s1")
    fill(world, b"b")
    with world.database.session() as session:
        session.query(VirtualDisk).one().snapshot_space = space
    with world.unchanged(), pytest.raises(NoSnapshotSpace):
        back(world, keep_present=True)
    assert content(world) == b"b" * SIZE
    assert back(world) is None
    assert content(world) == b"a" * SIZE


def test_it_keeps_its_size_and_reads_as_zeros_beyond_the_snapshots(world: World) -> None:
    fill(world, b"a")
    take(world, "s1")
    extending.extend(world.db, world.driver, "v1", SIZE + 2 * MIB)
    fill(world, b"b")
    back(world)
    assert content(world) == b"a" * SIZE + bytes(2 * MIB)
    assert row(world).size == SIZE + 2 * MIB


def replicating(world: World, state: JobState) -> None:
    with world.database.session() as session:
        session.add(
            Job(
                name="nightly",
                source_vd_id=row(world).id,
                target_subsystem="s",
                target_node="n",
                target_lun=1,
                target_vd="t",
                target_serial="t",
                target_size=1,
                state=state,
            )
        )


@pytest.mark.parametrize("state", list(JobState))
def test_it_is_refused_while_a_job_runs(world: World, state: JobState) -> None:
    fill(world, b"a")
    take(world, "s1")
    fill(world, b"b")
    replicating(world, state)
    if state in {JobState.IDLE, JobState.STOPPED, JobState.FAILED, JobState.SUPERSEDED}:
        back(world)
        assert content(world) == b"a" * SIZE
        return
    with world.unchanged(), pytest.raises(VdReplicating, match=f"job nightly is {state}"):
        back(world)
    assert content(world) == b"b" * SIZE


def claimed(world: World, job: str) -> None:
    with world.database.session() as session:
        node = Node(name="n1", iqn="iqn.2026-11.org.qreplica:n1", tid=7)
        session.add(node)
        session.flush()
        vd = row(world, "b1").id
        session.add(Claim(vd_id=vd, node_id=node.id, job_id=job, source_subsystem="s", epoch=3, initiator="i"))


def test_a_backup_vd_that_a_job_writes_is_left_to_it(world: World) -> None:
    world.vd("b1", type_=VdType.BACKUP)
    take(world, "p1", "b1")
    claimed(world, "j1")
    with world.unchanged(), pytest.raises(VdClaimed, match="job j1 of another subsystem"):
        back(world, "p1", vd="b1", confirmed="b1")


def test_a_backup_vd_that_was_released_is_no_more_its_newest_recovery_point(world: World) -> None:
    """Who claims it next must bring it back to that before a delta is applied."""
    world.vd("b1", type_=VdType.BACKUP)
    fill(world, b"a", "b1")
    take(world, "p1", "b1", SnapshotKind.RECOVERY_POINT)
    fill(world, b"b", "b1")
    claimed(world, "")
    back(world, "p1", vd="b1", confirmed="b1")
    assert content(world, "b1") == b"a" * SIZE
    with world.database.session(read_only=True) as session:
        claim = session.query(Claim).one()
    assert (claim.generation, claim.manifest) == (0, None)


@pytest.mark.parametrize(
    ("facts", "error"), [({"snapshot": "s9"}, NoSuchSnapshot), ({"vd": "v9", "confirmed": "v9"}, NotFound)]
)
def test_what_is_not_there_is_told(world: World, facts: dict[str, str], error: type[QReplicaError]) -> None:
    take(world, "s1")
    with world.unchanged(), pytest.raises(error):
        back(world, **facts)


def test_while_target_daemons_do_not_let_go_nothing_is_taken_or_changed(world: World) -> None:
    take(world, "s1")
    fill(world, b"b")
    busy = Letting(world, VdHasHosts(vd="v1", hosts="iqn.a", node="n1", lun=1))
    with world.unchanged(), pytest.raises(VdHasHosts):
        back(world, let_go=busy)
    assert content(world) == b"b" * SIZE


def test_a_failure_of_the_engine_leaves_the_vd_as_it_was(world: World) -> None:
    take(world, "s1")
    fill(world, b"b")
    world.fate.places["before roll_back"] = GroupFull(group="x", operation="it")
    with pytest.raises(GroupFull):
        back(world)
    assert content(world) == b"b" * SIZE
    assert len(names(world)) == 2
    back(world)
    assert content(world) == bytes(SIZE)


def events(world: World) -> list[str]:
    with world.database.session(read_only=True) as session:
        return [one.kind for one in session.query(Event).filter_by(subject="vd v1").order_by(Event.id)]


def held_back(world: World) -> list[tuple[bool, bool]]:
    """Return of what is held back whether something is decided, and whether it is to be told of."""
    with world.database.session(read_only=True) as session:
        return [(one.snapshot_id is not None, one.told is not None) for one in session.query(HeldBack)]


def test_what_is_lost_is_measured_when_nobody_writes_any_more(world: World) -> None:
    fill(world, b"a")
    take(world, "s1")

    class Late(Letting):
        """A host writes until it is logged out, an instant before the target daemons let go."""

        def __call__(self, vd: str) -> AbstractContextManager[list[QReplicaError]]:
            fill(world, b"b")
            return super().__call__(vd)

    back(world, let_go=Late(world))
    with world.database.session(read_only=True) as session:
        assert "ago), 4 MiB; snapshot" in session.query(Event).filter_by(kind="vd-rolled-back").one().message


def test_one_that_is_not_served_again_is_told_of_and_no_failure(world: World) -> None:
    fill(world, b"a")
    take(world, "s1")
    fill(world, b"b")
    trouble = TargetDaemonDown(control_port=1, reason="it is pretended to be")
    done = rolled(world, let_go=Letting(world, trouble=trouble))
    assert done.problems == (trouble,)
    assert content(world) == b"a" * SIZE
    assert events(world) == ["vd-rolled-back"]


@pytest.mark.parametrize("place", ["before resize_vd", "before commit"])
def test_what_fails_once_it_is_done_is_no_failure_and_finished_later(world: World, place: str) -> None:
    """The VD is not served with another size than was promised."""
    fill(world, b"a")
    take(world, "s1")
    extending.extend(world.db, world.driver, "v1", SIZE + MIB)
    trouble = StateBusy(place="x", reason="y")

    class Engine:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.driver, name)

        def roll_back(self, *facts: str) -> None:
            world.storage.roll_back(*facts)
            world.fate.places[place] = trouble

    letting = Letting(world)
    asked: dict[str, Any] = {"vd": "v1", "snapshot": "s1", "confirmed": "v1"}
    done = rolling_back.roll_back(world.db, Engine(), pause, letting, **asked)  # type: ignore[arg-type] # as a driver
    assert done.problems == (trouble,)
    assert letting.log[-1] == "held back"
    assert held_back(world) == [(True, place == "before commit")]
    rolling_back.finish(world.db, world.driver, row(world).id)
    assert content(world) == b"a" * SIZE + bytes(MIB)
    assert held_back(world) == []
    assert events(world) == ["vd-rolled-back"]


def test_what_the_engine_fails_at_once_it_is_done_is_no_failure(world: World) -> None:
    """It could not delete what had been there, for one."""
    fill(world, b"a")
    take(world, "s1")
    fill(world, b"b")
    trouble = world.fate.places["after roll_back"] = GroupFull(group="x", operation="it")
    done = rolled(world)
    assert done.problems == (trouble,)
    assert content(world) == b"a" * SIZE
    assert events(world) == ["vd-rolled-back"]
    assert held_back(world) == []


def test_what_a_failure_of_the_engine_undid_is_not_done_later(world: World) -> None:
    take(world, "s1")
    fill(world, b"b")
    world.fate.places["before roll_back"] = GroupFull(group="x", operation="it")
    letting = Letting(world)
    with pytest.raises(GroupFull):
        back(world, let_go=letting)
    assert letting.log[-1] == "opened"
    rolling_back.finish(world.db, world.driver, row(world).id)
    assert content(world) == b"b" * SIZE
    assert events(world) == []


def decided(world: World) -> str:
    """Let a crash come when all is decided and nothing done; return the VD's id."""
    fill(world, b"a")
    take(world, "s1")
    fill(world, b"b")
    world.fate.places["before roll_back"] = Crash()
    with pytest.raises(Crash):
        back(world)
    world.fate.dead = False
    assert held_back(world) == [(True, True)]
    return row(world).id


def test_the_snapshot_and_the_vd_are_needed_until_it_is_finished(world: World) -> None:
    vd = decided(world)
    with world.unchanged():
        with pytest.raises(SnapshotPinned, match="because the roll-back of v1 needs it"):
            snapshots.delete(world.db, world.driver, "v1", "s1")
        with pytest.raises(VdInUse, match="because its roll-back uses it"):
            virtual_disks.delete(world.db, world.driver, "v1")
    rolling_back.finish(world.db, world.driver, vd)
    rolling_back.finish(world.db, world.driver, vd)
    assert content(world) == b"a" * SIZE
    assert events(world) == ["vd-rolled-back"]
    virtual_disks.delete(world.db, world.driver, "v1")


@pytest.mark.parametrize("error", [GroupClosed(group="x"), GroupLocked(group="x", seconds=1)])
def test_what_cannot_be_finished_now_is_finished_later(world: World, error: QReplicaError) -> None:
    vd = decided(world)
    world.fate.places["before roll_back"] = error
    with world.unchanged(), pytest.raises(type(error)):
        rolling_back.finish(world.db, world.driver, vd)
    rolling_back.finish(world.db, world.driver, vd)
    assert content(world) == b"a" * SIZE


def test_what_can_never_be_finished_is_given_up_and_told_of(world: World) -> None:
    vd = decided(world)
    world.fate.places["before roll_back"] = SnapshotMissing(vd="x", snapshot="y")
    rolling_back.finish(world.db, world.driver, vd)
    assert content(world) == b"b" * SIZE
    assert held_back(world) == []
    assert events(world) == ["roll-back-given-up"]


@pytest.mark.parametrize(
    ("place", "after"),
    [
        ("before take_snapshot", b"b"),
        ("after take_snapshot", b"b"),
        ("before delta", b"b"),
        ("before roll_back", b"a"),
        ("after roll_back", b"a"),
        ("before resize_vd", b"a"),
        ("after resize_vd", b"a"),
    ],
)
def test_a_crash_leaves_the_one_or_the_other_and_nothing_half_taken(world: World, place: str, after: bytes) -> None:
    """From the decision on it is finished; until somebody has, the VD is held back."""
    fill(world, b"a")
    take(world, "s1")
    extending.extend(world.db, world.driver, "v1", SIZE + MIB)
    fill(world, b"b")
    world.fate.places[place] = Crash()
    with pytest.raises(Crash):
        back(world)
    world.restart()
    vd = row(world)
    assert len(held_back(world)) == 1
    rolling_back.finish(world.db, world.driver, vd.id)
    assert held_back(world) == []
    expected = b"b" * (SIZE + MIB) if after == b"b" else b"a" * SIZE + bytes(MIB)
    assert content(world) == expected
    assert events(world) == ["vd-rolled-back"] * (after == b"a")
    with world.database.session(read_only=True) as session:
        assert session.query(Snapshot).filter(Snapshot.taken_at.is_(None)).count() == 0
        known = {one.id for one in session.query(Snapshot)}
    assert {one.snapshot for one in world.storage.list_snapshots(vd.raid_group_id, vd.id)} == known
