"""Claim, begin, commit, abort, release: what is admitted, refused, and kept."""

import contextlib
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from qreplica.errors import QReplicaError
from qreplica.peer import messages
from qreplica.peer.errors import NoSuchNode, PeerBusy
from qreplica.replication import point_keeping, retention
from qreplica.replication.recovery_claims import change
from qreplica.replication.recovery_errors import (
    AttachedTwice,
    BaseMismatch,
    ClaimedByAnother,
    FencingFailed,
    GenerationInvalid,
    LunEmpty,
    ManifestMismatch,
    NotABackupVd,
    NotBegun,
    NotClaimed,
    NotServed,
    StaleEpoch,
    VdDetached,
    VdMismatch,
)
from qreplica.replication.retention import Policy
from qreplica.state.models import Claim, Event, Lun, Node, RecoveryPoint, Snapshot, SnapshotKind, VdType, VirtualDisk
from qreplica.storage import holding_back
from qreplica.storage.driver import BLOCK, SnapshotInfo
from qreplica.storage.errors import GroupFull

from .world import (
    GROUP,
    IQN,
    JOB,
    OTHER_JOB,
    SIZE,
    VD,
    World,
    begin_message,
    claim_message,
    commit_message,
    digest,
)


def copy(world: World, epoch: int, generation: int, data: bytes, job: str = JOB) -> None:
    """Claim, and make ``data`` a point by a full copy."""
    lineage = world.claim(epoch, job)
    world.recovery.begin(IQN, begin_message(epoch, generation, None, job))
    world.write(lineage.initiator, 0, data)
    world.recovery.commit(IQN, commit_message(epoch, generation, job))


def full(letter: bytes) -> bytes:
    return letter * SIZE


def unchanged(world: World, call: Callable[[], object], error: type[QReplicaError], match: str | None = None) -> None:
    """Check that ``call`` is refused, and that database, points, live VD and admission stay as they were."""

    def state() -> Any:
        with world.database.session(read_only=True) as session:
            claims = [
                (row.job_id, row.epoch, row.generation, row.manifest, row.initiator)
                for row in session.scalars(select(Claim))
            ]
            tids = list(session.scalars(select(Node.tid)))
        return claims, tids, world.points(), world.live().read_bytes(), world.target.specs[IQN]

    before = state()
    with pytest.raises(error, match=match):
        call()
    assert state() == before


class TestClaim:
    def test_before_a_first_claim_nobody_is_admitted(self, world: World) -> None:
        assert world.initiators() == frozenset()

    def test_admits_the_name_with_the_epoch_and_only_that(self, world: World) -> None:
        lineage = world.claim(1)
        assert lineage.initiator == f"iqn.2026-11.org.qreplica:job-{JOB}:e1"
        assert world.initiators() == {lineage.initiator}
        assert (lineage.epoch, lineage.points, lineage.in_progress, lineage.lun) == (1, [], None, 1)

    def test_a_higher_epoch_cuts_the_lower_one_off(self, world: World) -> None:
        old = world.claim(1)
        assert world.target.log_in(IQN, old.initiator) is not None
        new = world.claim(5)
        assert world.target.sessions(IQN) == []
        assert world.target.log_in(IQN, old.initiator) is None
        assert world.target.log_in(IQN, new.initiator) is not None

    def test_every_claim_renumbers_the_node(self, world: World) -> None:
        tids = set()
        for epoch in range(1, 6):
            world.claim(epoch)
            tids.add(world.target.nodes()[IQN])
        assert len(tids) == 5

    @pytest.mark.parametrize("epoch", [1, 2, 3])
    def test_the_same_or_a_lower_epoch_is_stale(self, world: World, epoch: int) -> None:
        world.claim(3)
        unchanged(world, lambda: world.claim(epoch), StaleEpoch, "at epoch 3")

    def test_another_job_is_refused_and_told_who_holds_it(self, world: World) -> None:
        world.claim(1)
        unchanged(world, lambda: world.claim(9, OTHER_JOB), ClaimedByAnother, JOB)

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"lun": 2}, LunEmpty),
            ({"vd": "e" * 32}, VdMismatch),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, world: World, changes: dict[str, Any], error: type[QReplicaError]
    ) -> None:
        unchanged(world, lambda: world.claim(1, **changes), error)

    def test_one_that_is_being_rolled_back_is_claimed_later(self, world: World) -> None:
        holding_back.hold_back(world.database, VD)
        with pytest.raises(PeerBusy):
            world.claim(5)
        holding_back.serve_again(world.database, VD)
        assert world.claim(5).epoch == 5

    def test_an_unknown_node_is_refused(self, world: World) -> None:
        with pytest.raises(NoSuchNode):
            world.recovery.claim(IQN + "x", claim_message(1))

    def test_a_raid_vd_is_never_written(self, world: World) -> None:
        with world.database.session() as session:
            session.get_one(VirtualDisk, VD).type = VdType.RAID
        unchanged(world, lambda: world.claim(1), NotABackupVd, "of type RAID")

    def test_a_snapshot_is_never_written(self, world: World) -> None:
        world.storage.take_snapshot(GROUP, VD, "d" * 32)
        with world.database.session() as session:
            session.add(Snapshot(id="d" * 32, vd_id=VD, name="s", kind=SnapshotKind.MANUAL, size=SIZE, taken_at=None))
            session.flush()
            session.scalars(select(Lun)).one().snapshot_id = "d" * 32
        world.reconcile()
        unchanged(world, lambda: world.claim(1), NotABackupVd, "snapshot of “b1”")

    def test_a_vd_on_two_nodes_cannot_be_guarded(self, world: World) -> None:
        with world.database.session() as session:
            session.add(Node(id="f" * 32, name="two", iqn=IQN + "2", tid=78, open_to_all=False))
            session.flush()
            session.add(Lun(node_id="f" * 32, number=1, vd_id=VD))
        unchanged(world, lambda: world.claim(1), AttachedTwice, IQN + "2")

    def test_a_second_vd_of_the_node_cannot_be_claimed_meanwhile(self, world: World) -> None:
        second = "9" * 32
        world.storage.create_vd(GROUP, second, SIZE)
        with world.database.session() as session:
            session.add(
                VirtualDisk(
                    id=second,
                    name="b2",
                    type=VdType.BACKUP,
                    size=SIZE,
                    snapshot_space=0,
                    raid_group_id=GROUP,
                    serial="b2",
                )
            )
            session.flush()
            session.add(Lun(node_id="c" * 32, number=2, vd_id=second))
        world.claim(3)
        for job in (JOB, OTHER_JOB):
            with pytest.raises(ClaimedByAnother, match="iSCSI node"):
                world.claim(9, job, lun=2, vd=second)
        world.recovery.release(IQN, messages.Release(job=JOB, epoch=3))
        with pytest.raises(StaleEpoch):
            world.claim(3, OTHER_JOB, lun=2, vd=second)
        assert world.claim(4, OTHER_JOB, lun=2, vd=second).vd == second

    def test_is_not_answered_before_the_old_sessions_are_gone(self, world: World) -> None:
        old = world.claim(1)
        world.target.log_in(IQN, old.initiator)
        world.target.let_commands_hang(IQN)
        with pytest.raises(FencingFailed, match="controller 1"):
            world.claim(2)
        world.target.let_commands_end(IQN)
        with pytest.raises(StaleEpoch):
            world.recovery.begin(IQN, begin_message(1, 1, None))
        with pytest.raises(NotServed):
            world.recovery.begin(IQN, begin_message(2, 1, None))
        new = world.claim(3)
        assert world.initiators() == {new.initiator}

    def test_every_controller_must_confirm(self, make_world: Callable[[], World]) -> None:
        world = make_world()
        other = make_world().target
        other._sessions.clear()
        world.serving._controllers = {**world.serving._controllers, 2: other}
        old = world.claim(1)
        assert other.specs[IQN].initiators == {old.initiator}
        other.log_in(IQN, old.initiator)
        other.let_commands_hang(IQN)
        with pytest.raises(FencingFailed, match="controller 2"):
            world.claim(2)

    def test_of_many_at_once_the_highest_epoch_owns_it(self, world: World) -> None:
        answered: list[int] = []

        def claim(epoch: int) -> None:
            with contextlib.suppress(StaleEpoch):
                answered.append(world.claim(epoch).epoch)

        threads = [threading.Thread(target=claim, args=(epoch,)) for epoch in (3, 1, 5, 2, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert max(answered) == 5
        assert world.initiators() == {f"iqn.2026-11.org.qreplica:job-{JOB}:e5"}


class TestBegin:
    def test_a_full_copy_needs_no_base(self, world: World) -> None:
        world.claim(1)
        assert world.recovery.begin(IQN, begin_message(1, 1, None)) == messages.Begun(resumed=False, size=SIZE)
        progress = world.recovery.lineage(IQN, 1).in_progress
        assert progress is not None
        assert (progress.generation, progress.base_generation, progress.manifest) == (1, None, digest(1))

    def test_the_same_again_is_resumed_also_by_a_later_epoch(self, world: World) -> None:
        lineage = world.claim(1)
        world.recovery.begin(IQN, begin_message(1, 1, None))
        world.write(lineage.initiator, 0, b"half")
        assert world.recovery.begin(IQN, begin_message(1, 1, None)).resumed
        assert world.claim(2).in_progress is not None
        assert world.recovery.begin(IQN, begin_message(2, 1, None)).resumed
        assert world.live().read_bytes().startswith(b"half")

    @pytest.mark.parametrize(
        "changes", [{"manifest": digest(99)}, {"source_snapshot": "d" * 32}, {"size": SIZE - BLOCK}, {"generation": 3}]
    )
    def test_anything_else_is_not(self, world: World, changes: dict[str, Any]) -> None:
        copy(world, 1, 1, full(b"a"))
        lineage = world.claim(2)
        world.recovery.begin(IQN, begin_message(2, 2, 1))
        world.write(lineage.initiator, 0, b"half")
        assert not world.recovery.begin(IQN, begin_message(2, **{"generation": 2, "base": 1, **changes})).resumed
        assert world.live().read_bytes() == full(b"a")
        assert world.target.sessions(IQN) == []

    @pytest.mark.parametrize(
        ("base", "changes"), [(2, {}), (1, {"base_snapshot": "d" * 32}), (1, {"base_snapshot": None}), (3, {})]
    )
    def test_a_base_that_is_not_the_newest_point_is_refused(self, world: World, base: int, changes: Any) -> None:
        copy(world, 1, 1, full(b"a"))
        world.claim(2)
        unchanged(
            world,
            lambda: world.recovery.begin(IQN, begin_message(2, 9, base, **changes)),
            BaseMismatch,
            f"since generation {base} .*is generation 1 ",
        )

    def test_a_base_is_refused_where_there_is_no_point(self, world: World) -> None:
        world.claim(1)
        unchanged(world, lambda: world.recovery.begin(IQN, begin_message(1, 2, 1)), BaseMismatch, "none of this job's")

    def test_a_generation_already_passed_is_refused(self, world: World) -> None:
        copy(world, 1, 5, full(b"a"))
        for generation in (5, 4):
            begin = begin_message(1, generation, 5)
            unchanged(world, lambda begin=begin: world.recovery.begin(IQN, begin), GenerationInvalid, "5 is committed")

    def test_a_detached_vd_is_named(self, world: World) -> None:
        world.claim(1)
        with world.database.session() as session:
            session.delete(session.scalars(select(Lun)).one())
        with pytest.raises(VdDetached, match="b1"):
            world.recovery.begin(IQN, begin_message(1, 1, None))

    def test_a_tgtd_that_lost_the_node_needs_a_new_claim(self, world: World) -> None:
        world.claim(1)
        world.target.remove_node(IQN)
        with pytest.raises(NotServed):
            world.recovery.begin(IQN, begin_message(1, 1, None))


class TestCommit:
    def test_makes_a_point_of_what_was_written(self, world: World) -> None:
        copy(world, 1, 1, full(b"a"))
        assert world.points() == {1: full(b"a")}
        lineage = world.recovery.lineage(IQN, 1)
        assert [(point.generation, point.manifest, point.size) for point in lineage.points] == [(1, digest(1), SIZE)]
        assert lineage.in_progress is None

    def test_twice_gives_the_same_point(self, world: World) -> None:
        world.claim(1)
        world.recovery.begin(IQN, begin_message(1, 1, None))
        first = world.recovery.commit(IQN, commit_message(1, 1))
        assert world.recovery.commit(IQN, commit_message(1, 1)) == first
        world.claim(2)
        assert world.recovery.commit(IQN, commit_message(2, 1)) == first
        assert len(world.points()) == 1

    def test_another_manifest_is_refused_before_and_after(self, world: World) -> None:
        world.claim(1)
        world.recovery.begin(IQN, begin_message(1, 1, None))
        wrong = commit_message(1, 1, manifest=digest(9))
        unchanged(world, lambda: world.recovery.commit(IQN, wrong), ManifestMismatch, "begun")
        world.recovery.commit(IQN, commit_message(1, 1))
        unchanged(world, lambda: world.recovery.commit(IQN, wrong), ManifestMismatch, "committed")

    def test_nothing_or_another_generation_in_progress_is_refused(self, world: World) -> None:
        world.claim(1)
        unchanged(world, lambda: world.recovery.commit(IQN, commit_message(1, 1)), NotBegun, "none is in progress")
        world.recovery.begin(IQN, begin_message(1, 2, None))
        unchanged(world, lambda: world.recovery.commit(IQN, commit_message(1, 3)), NotBegun, "generation 2 is")

    @pytest.mark.parametrize("committed", [True, False])
    def test_a_point_made_too_late_is_left_nowhere(
        self, world: World, monkeypatch: pytest.MonkeyPatch, *, committed: bool
    ) -> None:
        """The controller hangs before the snapshot is taken, and wakes when another has claimed, or committed too."""
        world.claim(1)
        world.recovery.begin(IQN, begin_message(1, 1, None))
        take = world.storage.take_snapshot

        def late(*arguments: str) -> SnapshotInfo:
            monkeypatch.undo()
            world.claim(2)
            if committed:
                world.recovery.commit(IQN, commit_message(2, 1))
            return take(*arguments)

        monkeypatch.setattr(world.storage, "take_snapshot", late)
        with pytest.raises(StaleEpoch):
            world.recovery.commit(IQN, commit_message(1, 1))
        world.claim(3)
        world.recovery.commit(IQN, commit_message(3, 1))
        copy(world, 4, 2, full(b"b"))
        with world.database.session(read_only=True) as session:
            kept = set(session.scalars(select(RecoveryPoint.snapshot_id)))
            assert set(session.scalars(select(Snapshot.id))) == kept
        assert {one.snapshot for one in world.storage.list_snapshots(GROUP, VD)} == kept
        assert sorted(world.points()) == [1, 2]

    def test_what_is_being_committed_is_no_left_over_to_a_stale_owner(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its controller hung before it tidied up, and wakes while another one makes a recovery point."""
        copy(world, 1, 1, full(b"a"))
        take = world.storage.take_snapshot

        def and_then(*arguments: str) -> SnapshotInfo:
            info = take(*arguments)
            world.recovery._points.tidy(VD, JOB, 1)
            return info

        monkeypatch.setattr(world.storage, "take_snapshot", and_then)
        copy(world, 2, 2, full(b"b"))
        assert world.points() == {1: full(b"a"), 2: full(b"b")}


class TestAbortAndRelease:
    def test_abort_goes_back_to_the_newest_point_and_can_be_repeated(self, world: World) -> None:
        copy(world, 1, 1, full(b"a"))
        lineage = world.claim(2)
        world.recovery.begin(IQN, begin_message(2, 2, 1))
        world.write(lineage.initiator, BLOCK, b"half")
        for _ in range(2):
            after = world.recovery.abort(IQN, messages.Abort(job=JOB, epoch=2))
            assert after.in_progress is None
            assert [point.generation for point in after.points] == [1]
            assert world.live().read_bytes() == full(b"a")

    def test_abort_of_a_first_full_copy_leaves_no_point(self, world: World) -> None:
        world.claim(1)
        world.recovery.begin(IQN, begin_message(1, 1, None))
        after = world.recovery.abort(IQN, messages.Abort(job=JOB, epoch=1))
        assert (after.points, after.in_progress) == ([], None)

    def test_release_admits_nobody_keeps_points_and_forgets_no_epoch(self, world: World) -> None:
        copy(world, 4, 1, full(b"a"))
        lineage = world.claim(5)
        world.recovery.begin(IQN, begin_message(5, 2, 1))
        world.write(lineage.initiator, 0, b"half")
        for _ in range(2):
            world.recovery.release(IQN, messages.Release(job=JOB, epoch=5))
        assert world.target.log_in(IQN, lineage.initiator) is None
        assert world.points() == {1: full(b"a")}
        assert world.live().read_bytes() == full(b"a")
        unchanged(world, lambda: world.claim(5), StaleEpoch)
        with pytest.raises(NotClaimed):
            world.recovery.begin(IQN, begin_message(5, 2, 1))
        assert world.recovery.lineage(IQN, 1).initiator == ""

    def test_the_next_job_starts_with_a_full_copy(self, world: World) -> None:
        copy(world, 1, 1, full(b"a"))
        world.recovery.release(IQN, messages.Release(job=JOB, epoch=1))
        assert world.claim(2, OTHER_JOB).points == []
        begin = begin_message(2, 2, 1, OTHER_JOB)
        unchanged(world, lambda: world.recovery.begin(IQN, begin), BaseMismatch)
        copy(world, 3, 2, full(b"b"), OTHER_JOB)
        assert world.points() == {1: full(b"a"), 2: full(b"b")}

    def test_a_job_that_comes_back_does_not_build_on_what_another_left(self, world: World) -> None:
        copy(world, 1, 1, full(b"a"))
        world.recovery.release(IQN, messages.Release(job=JOB, epoch=1))
        copy(world, 2, 7, full(b"b"), OTHER_JOB)
        world.recovery.release(IQN, messages.Release(job=OTHER_JOB, epoch=2))
        lineage = world.claim(3)
        world.recovery.begin(IQN, begin_message(3, 2, 1))
        world.write(lineage.initiator, 0, b"c" * BLOCK)
        world.recovery.commit(IQN, commit_message(3, 2))
        assert world.points()[2] == b"c" * BLOCK + b"a" * (SIZE - BLOCK)

    def test_release_by_force_needs_no_job(self, world: World) -> None:
        lineage = world.claim(1)
        for _ in range(2):
            world.recovery.release_by_force(IQN)
        assert world.target.log_in(IQN, lineage.initiator) is None
        assert world.claim(2, OTHER_JOB).epoch == 2


def test_a_stale_epoch_is_refused_everywhere(world: World) -> None:
    copy(world, 1, 1, full(b"a"))
    world.claim(3)
    world.recovery.begin(IQN, begin_message(3, 2, 1))
    for call in (
        lambda: world.claim(2),
        lambda: world.recovery.begin(IQN, begin_message(1, 2, 1)),
        lambda: world.recovery.commit(IQN, commit_message(1, 2)),
        lambda: world.recovery.commit(IQN, commit_message(1, 1)),
        lambda: world.recovery.abort(IQN, messages.Abort(job=JOB, epoch=1)),
        lambda: world.recovery.release(IQN, messages.Release(job=JOB, epoch=1)),
    ):
        unchanged(world, call, StaleEpoch, "this one must stop")


def test_who_holds_nothing_is_refused(world: World) -> None:
    world.claim(1)
    for call in (
        lambda: world.recovery.begin(IQN, begin_message(1, 2, None, OTHER_JOB)),
        lambda: world.recovery.commit(IQN, commit_message(1, 2, OTHER_JOB)),
        lambda: world.recovery.abort(IQN, messages.Abort(job=OTHER_JOB, epoch=1)),
        lambda: world.recovery.begin(IQN, begin_message(2, 2, None)),
    ):
        unchanged(world, call, NotClaimed)


def test_a_claim_that_was_changed_since_it_was_read_stays(world: World) -> None:
    """So that it holds also in a database whose transactions do not keep others from writing."""
    world.claim(1)
    with world.database.session() as session:
        row, vd = session.get_one(Claim, VD), session.get_one(VirtualDisk, VD)
        session.execute(update(Claim).values(epoch=2), execution_options={"synchronize_session": False})
        with pytest.raises(PeerBusy, match="came between"):
            change(session, row, vd, generation=7)
    with world.database.session(read_only=True) as session:
        row = session.get_one(Claim, VD)
        assert (row.epoch, row.generation) == (2, 0)


class TestRetention:
    def cycles(self, world: World, count: int, first: int = 1) -> None:
        for generation in range(first, first + count):
            copy(world, generation, generation, full(b"%c" % (96 + generation)))

    def test_the_newest_eight_are_kept(self, world: World) -> None:
        with world.database.session() as session:
            session.get_one(VirtualDisk, VD).snapshot_space = 100 * SIZE
        self.cycles(world, 11)
        assert sorted(world.points()) == list(range(4, 12))
        assert len(world.storage.list_snapshots(GROUP, VD)) == 8

    def test_one_that_a_lun_shows_stays(self, world: World) -> None:
        self.cycles(world, 1)
        with world.database.session() as session:
            point = session.scalars(select(RecoveryPoint)).one()
            session.add(Lun(node_id="c" * 32, number=9, vd_id=VD, snapshot_id=point.snapshot_id))
            session.get_one(VirtualDisk, VD).snapshot_space = 0
        self.cycles(world, 4, 2)
        assert sorted(world.points()) == [1, 5]

    def test_all_that_a_lun_shows_stay_beside_the_newest_eight(self, world: World) -> None:
        with world.database.session() as session:
            session.get_one(VirtualDisk, VD).snapshot_space = 100 * SIZE
        self.cycles(world, 1)
        with world.database.session() as session:
            point = session.scalars(select(RecoveryPoint)).one()
            session.add(Lun(node_id="c" * 32, number=9, vd_id=VD, snapshot_id=point.snapshot_id))
        self.cycles(world, 9, 2)
        assert sorted(world.points()) == [1, *range(3, 11)]

    def test_the_vd_s_own_retention_holds(self, world: World) -> None:
        with world.database.session() as session:
            session.get_one(VirtualDisk, VD).snapshot_space = 100 * SIZE
        point_keeping.set_policy(world.database, "b1", Policy(last=2, daily=3))
        self.cycles(world, 4)
        assert sorted(world.points()) == [3, 4]
        with world.database.session() as session:
            for point in session.scalars(select(RecoveryPoint)):
                point.committed_at -= timedelta(days=5 - point.generation)
        self.cycles(world, 3, 5)
        # Of two days before the newest of each, and the newest two of today.
        assert sorted(world.points()) == [3, 4, 6, 7]
        point_keeping.set_policy(world.database, "b1", None)
        self.cycles(world, 6, 8)
        assert sorted(world.points()) == [*range(6, 14)]

    def test_a_locked_point_goes_neither_by_retention_nor_for_space(self, world: World) -> None:
        with world.database.session() as session:
            session.get_one(VirtualDisk, VD).snapshot_space = 100 * SIZE
        point_keeping.set_policy(world.database, "b1", Policy(last=2))
        self.cycles(world, 2)
        point_keeping.lock(world.database, "b1", "1", by="olaf", note="for the auditors")
        self.cycles(world, 2, 3)
        assert sorted(world.points()) == [1, 3, 4]
        with world.database.session() as session:
            session.get_one(VirtualDisk, VD).snapshot_space = BLOCK
        self.cycles(world, 1, 5)
        assert {number: data[:1] for number, data in world.points().items()} == {1: b"a", 5: b"e"}
        with world.database.session(read_only=True) as session:
            told = session.scalars(select(Event.message).where(Event.kind == "recovery-points-exceed-space")).all()[-1]
        assert "(1 of them locked)" in told
        assert "recovery-point unlock" in told
        point_keeping.unlock(world.database, "b1", "1", by="olaf")
        self.cycles(world, 1, 6)
        assert sorted(world.points()) == [6]

    def test_no_space_for_a_commit_costs_no_locked_point(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        with world.database.session() as session:
            session.get_one(VirtualDisk, VD).snapshot_space = 100 * SIZE
        self.cycles(world, 3)
        point_keeping.lock(world.database, "b1", "1", by="olaf", note="")

        def full_up(*_: object) -> None:
            raise GroupFull(group="rg1", operation="a snapshot")

        lineage = world.claim(4)
        world.recovery.begin(IQN, begin_message(4, 4, None))
        world.write(lineage.initiator, 0, full(b"d"))
        with monkeypatch.context() as patch:
            patch.setattr(world.storage, "take_snapshot", full_up)
            with pytest.raises(GroupFull):
                world.recovery.commit(IQN, commit_message(4, 4))
        # The newest, and the locked one, which an event names as the reason.
        assert sorted(world.points()) == [1, 3]
        with world.database.session(read_only=True) as session:
            told = session.scalars(select(Event.message).where(Event.kind == "locked-points-leave-no-space")).one()
        assert "old ones that are locked (1)" in told
        world.recovery.commit(IQN, commit_message(4, 4))
        assert sorted(world.points()) == [1, 3, 4]

    def test_one_that_is_locked_just_before_it_is_let_go_stays(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.cycles(world, 2)
        point_keeping.set_policy(world.database, "b1", Policy(last=1))
        judge = retention.to_let_go

        def judged(*facts: Any) -> list[str]:
            gone = judge(*facts)
            if gone:
                point_keeping.lock(world.database, "b1", "1", by="olaf", note="")
            return gone

        monkeypatch.setattr(retention, "to_let_go", judged)
        world.recovery._points.tidy(VD, JOB, 2)
        assert sorted(world.points()) == [1, 2]

    def test_the_oldest_go_when_the_space_is_used_up(self, world: World) -> None:
        with world.database.session() as session:
            session.get_one(VirtualDisk, VD).snapshot_space = 3 * SIZE
        self.cycles(world, 6)
        assert sorted(world.points()) == [4, 5, 6]

    def test_the_newest_stays_though_it_exceeds_the_space_and_a_warning_says_so(self, world: World) -> None:
        with world.database.session() as session:
            session.get_one(VirtualDisk, VD).snapshot_space = BLOCK
        self.cycles(world, 3)
        assert world.points() == {3: full(b"c")}
        with world.database.session(read_only=True) as session:
            events = list(session.scalars(select(Event)))
        assert {event.kind for event in events} == {"recovery-points-exceed-space"}
        assert "32 KiB" in events[0].message

    def test_space_that_does_not_come_back_at_once_costs_no_further_point(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.cycles(world, 4)
        used = world.storage.space_used(GROUP, VD)
        monkeypatch.setattr(world.storage, "space_used", lambda *_: used)
        with world.database.session() as session:
            session.get_one(VirtualDisk, VD).snapshot_space = SIZE
        world.recovery._points.tidy(VD, JOB, 4)
        assert sorted(world.points()) == [2, 3, 4]

    def test_a_failing_engine_does_not_fail_the_commit(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        with world.database.session() as session:
            session.get_one(VirtualDisk, VD).snapshot_space = SIZE

        def fail(*_: object) -> None:
            raise FencingFailed(vd="b1", controller=1, reason="the disk hangs")

        self.cycles(world, 1)
        with monkeypatch.context() as patch:
            patch.setattr(world.storage, "delete_snapshot", fail)
            self.cycles(world, 2, 2)
        with world.database.session(read_only=True) as session:
            assert "recovery-points-not-tidied" in {event.kind for event in session.scalars(select(Event))}
        self.cycles(world, 1, 4)
        assert sorted(world.points()) == [4]
        assert len(world.storage.list_snapshots(GROUP, VD)) == 1
