"""Cycles onto a real foreign disk, compared byte for byte; who may write it, and what nobody can know any more."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import pytest

from qreplica.errors import QReplicaError
from qreplica.iscsi.errors import CommandFailed
from qreplica.iscsi.initiator import Buffer, Session
from qreplica.iscsi.initiator.reservations import Standing
from qreplica.replication import cycle, jobs, multipath
from qreplica.replication.errors import StaleOwner
from qreplica.replication.links import Target, Way, claim_of, target_of
from qreplica.replication.plain_errors import (
    FenceLost,
    NotAPlainTarget,
    PlainTargetHasOnePath,
    PlainTargetReplaced,
    PlainTargetReserved,
    PlainTargetTooSmall,
    UnfencedTakeover,
    WrongDiskGiven,
)
from qreplica.replication.plain_keys import key_of
from qreplica.replication.plain_links import JobLinks, log_in
from qreplica.state.models import CycleKind, Job, JobState, VirtualDisk
from qreplica.storage.driver import BLOCK

from ..pair import SIZE, SOURCE_GROUP, SOURCE_VD, Crash, Pair, SteppingDatabase, Steps  # noqa: TID252
from .world import DISK_SIZE, IQN, NAA, SMALL_STEPS, Stuck, World

pytestmark = pytest.mark.root


@pytest.fixture
def job(world: World) -> World:
    """A job, whose disk was full of something else."""
    world.file.write_bytes(b"\xee" * DISK_SIZE)
    world.create(overwrite=NAA)
    return world


@pytest.fixture
def copied(job: World) -> World:
    """One that has made its first copy."""
    job.replicate()
    return job


def _standing(world: World) -> Standing:
    with world.host() as host:
        return host.reservations(1).standing()


def test_all_is_copied_with_its_zeros_and_then_what_changed(job: World) -> None:
    for block in (3, 4, 7):
        job.pair.write(block, 0)
    job.replicate()
    assert job.pair.cycle_row().kind is CycleKind.FULL
    # What lies beyond is no part of the copy.
    assert job.content()[SIZE:] == b"\xee" * (DISK_SIZE - SIZE)
    # Zeros cross the wire as bytes.
    assert job.pair.cycle_row().sent_bytes == SIZE
    job.pair.write(3, 9)
    job.pair.write(5, 0)
    job.replicate()
    row = job.pair.cycle_row()
    assert (row.kind, row.sent_bytes) == (CycleKind.INCREMENTAL, 2 * BLOCK)
    job.replicate()
    assert job.pair.cycle_row().total_bytes == 0


def test_a_vd_that_grew_takes_more_of_the_disk(copied: World) -> None:
    with copied.pair.database.session() as session:
        session.get_one(VirtualDisk, SOURCE_VD).size = 2 * SIZE
    copied.pair.storage.resize_vd(SOURCE_GROUP, SOURCE_VD, 2 * SIZE)
    copied.start()
    copied.work()
    base = copied.job().base_snapshot_id
    assert base is not None
    assert copied.content()[: 2 * SIZE] == copied.pair.frozen[base]
    assert copied.pair.cycle_row().kind is CycleKind.INCREMENTAL


def test_a_stopped_cycle_goes_on_from_its_checkpoint(job: World) -> None:
    job.start()
    with job.pair.database.session() as session:
        session.get_one(Job, job.job().id).state = JobState.STOPPING
    stopped = job.work(stop=Stuck(8))
    assert stopped.state is JobState.STOPPED
    checkpoint = job.pair.cycle_row().checkpoint
    assert 0 < checkpoint < SIZE
    sent = job.pair.cycle_row().sent_bytes
    job.replicate()
    assert job.pair.cycle_row().sent_bytes - sent == SIZE - checkpoint


def test_the_key_of_the_newest_epoch_holds_the_disk_between_cycles(copied: World) -> None:
    standing = _standing(copied)
    assert standing.keys == (key_of(copied.job().id, copied.job().epoch),)
    with copied.host() as host, pytest.raises(CommandFailed):
        host.write(1, 0, bytes(512))


@contextmanager
def _claimed(world: World, controller: int) -> Iterator[Any]:
    """A worker of a controller that has claimed the disk and could write, with the epoch that it had."""
    store = world.store(controller)
    target = target_of(world.pair.database, store.job, controller)
    links = JobLinks(world.pair.database, controller)
    peer = links.peer(target, target.ways[0])
    peer.claim(target.node, claim_of(target, store.epoch, SIZE))
    with links.session(target, target.ways[0], "") as session:
        yield session
    peer.close()


def test_one_that_was_overtaken_changes_not_one_byte(job: World) -> None:
    """It sleeps with the disk claimed and a session open, while the other controller does the whole cycle."""
    job.start()
    buffer = Buffer(BLOCK)
    buffer.view[:] = b"\x66" * BLOCK
    with _claimed(job, 1) as sleeper:
        assert job.work(2).state is JobState.IDLE
        job.check()
        before = job.content()
        sleeper.submit_write(1, 1, 0, buffer, BLOCK)
        sleeper.submit_zeros(2, 1, BLOCK, BLOCK)
        errors: list[QReplicaError | None] = []
        while len(errors) < 2:
            errors += [one.error for one in sleeper.poll(1)]
        # The first may hear of the preemption instead.
        assert all(isinstance(error, CommandFailed | FenceLost) for error in errors)
        with pytest.raises(FenceLost):
            sleeper.serial(1)
    assert job.content() == before
    job.replicate(2)


def test_one_that_wakes_before_it_had_the_disk_learns_that_it_is_late(job: World) -> None:
    job.start()
    old = job.store(1)
    assert job.work(2).state is JobState.IDLE
    before, standing = job.content(), _standing(job)
    with pytest.raises(StaleOwner):
        cycle.run(job.pair.database, job.parts(1, SMALL_STEPS), old, Stuck(1000))
    target = target_of(job.pair.database, old.job, 1)
    with log_in(target, target.ways[0]) as session, pytest.raises(StaleOwner):
        _take(session, job, old.epoch)
    assert (job.content(), _standing(job)) == (before, standing)


def _take(session: Session, world: World, epoch: int) -> None:
    from qreplica.replication.plain_fence import Owner, take  # noqa: PLC0415 - the one test that goes below

    owner = Owner(world.job().id, "daily", epoch, NAA, IQN, 1)
    take(session, owner, None, anew=False, through_power_loss=False)


def test_a_crash_anywhere_is_gone_on_from(job: World) -> None:
    """Before each write of the state the worker dies once; another one brings the cycle to its end."""
    for at in range(0, 200, 2):
        job.pair.write(at % 12, at % 250 + 1)
        job.pair.write((at + 5) % 12, 0)
        job.start()
        steps = Steps()
        steps.at, steps.what = at, _crash
        database: Any = SteppingDatabase(job.pair.database, steps)
        store = job.store()
        try:
            cycle.run(database, job.parts(1, SMALL_STEPS, database), _stepping(store, database), Stuck(10_000))
        except Crash:
            assert job.work().state is JobState.IDLE
            job.check()
        else:
            job.check()
            assert at > 20
            return
    raise AssertionError("a cycle has no end of steps")


def _crash(_: str) -> None:
    raise Crash


def _stepping(store: Any, database: Any) -> Any:
    return type(store)(database, store.job, store.epoch, store.controller)


def test_a_target_that_lost_its_reservations_is_overwritten_only_by_the_administrators_word(copied: World) -> None:
    copied.tgtd.stop()
    copied.tgtd.start()
    copied.show(copied.file)
    copied.pair.write(2, 77)
    copied.start()
    sentence = copied.fails(FenceLost)
    assert "its reservation is gone" in sentence
    assert "qreplica job accept-disk daily" in sentence
    # Asking again changes nothing.
    copied.start()
    copied.fails(FenceLost)
    jobs.accept_disk(copied.pair.database, "daily", NAA)
    copied.replicate()
    assert copied.pair.cycle_row().kind is CycleKind.FULL
    copied.replicate()
    assert copied.pair.cycle_row().kind is CycleKind.INCREMENTAL


def test_a_host_that_registered_and_left_is_noticed(copied: World) -> None:
    with copied.host() as host:
        host.reservations(1).register(0xABC)
        host.write(1, 0, b"\x44" * 512)
        host.reservations(1).register(0, present=0xABC)
    copied.start()
    assert "another host registered" in copied.fails(FenceLost)


def test_a_host_that_took_the_disk_keeps_it(copied: World) -> None:
    key = key_of(copied.job().id, copied.job().epoch)
    with copied.host() as host:
        host.reservations(1).register(0xABC)
        host.reservations(1).preempt(0xABC, key)
        copied.start()
        assert "0x0000000000000abc" in copied.fails(PlainTargetReserved)
        jobs.accept_disk(copied.pair.database, "daily", NAA)
        copied.start()
        copied.fails(PlainTargetReserved)
        host.reservations(1).clear(0xABC)
    copied.replicate()
    assert copied.pair.cycle_row().kind is CycleKind.FULL


def test_a_host_that_takes_the_disk_in_the_middle_ends_the_cycle(job: World) -> None:
    job.start()
    taken: list[int] = []

    class Taking(Stuck):
        def is_set(self) -> bool:
            if not taken and 0 < job.pair.cycle_row().checkpoint < SIZE // 2:
                taken.append(1)
                with job.host() as host:
                    host.reservations(1).register(0xABC)
                    host.reservations(1).preempt(0xABC, key_of(job.job().id, job.job().epoch))
            return super().is_set()

    # One write at a time, so that others come after it.
    ended = job.work(stop=Taking(10_000), settings=replace(SMALL_STEPS, depth=1))
    assert taken
    assert ended.state is JobState.FAILED
    assert ended.error_kind in {FenceLost.kind, PlainTargetReserved.kind}


def test_another_disk_behind_the_lun_is_not_written(copied: World) -> None:
    other = copied.file.with_name("other")
    other.write_bytes(b"\x33" * DISK_SIZE)
    copied.hide()
    copied.show(other, params="scsi_id=another-disk")
    copied.start()
    assert NAA in copied.fails(PlainTargetReplaced)
    assert other.read_bytes() == b"\x33" * DISK_SIZE


def test_a_disk_that_shrank_is_not_written(copied: World) -> None:
    copied.hide()
    with copied.file.open("r+b") as disk:
        disk.truncate(SIZE // 2)
    copied.show(copied.file)
    jobs.accept_disk(copied.pair.database, "daily", NAA)
    copied.start()
    copied.fails(PlainTargetTooSmall)


def test_a_half_written_generation_that_was_given_up_is_followed_by_a_full_copy(copied: World) -> None:
    """A backup VD would be rolled back; here only every byte anew brings the disk to a state that is known."""
    for block in range(6):
        copied.pair.write(block, 200 + block)
    copied.start()
    copied.work(stop=Stuck(5))
    row = copied.pair.cycle_row()
    assert row.snapshot_id is not None
    assert row.checkpoint > 0
    copied.pair.storage.delete_snapshot(SOURCE_GROUP, SOURCE_VD, row.snapshot_id)
    assert copied.work().state is JobState.IDLE
    copied.check()
    assert copied.pair.cycle_row().kind is CycleKind.FULL


def test_deleting_the_job_lets_the_disk_go(copied: World) -> None:
    before = copied.content()
    jobs.delete(copied.pair.database, copied.pair.storage, "daily", controller=1)
    assert _standing(copied).keys == ()
    assert copied.content() == before
    with copied.host() as host:
        host.write(1, 0, bytes(512))
    # It can be used again.
    copied.create(overwrite=NAA)
    copied.replicate()


def test_one_path_is_all_it_has(copied: World) -> None:
    with pytest.raises(PlainTargetHasOnePath):
        multipath.add(copied.pair.database, "daily", "127.0.0.2", controller=1)


def test_only_a_plain_targets_own_identity_accepts_it(copied: World) -> None:
    with pytest.raises(WrongDiskGiven, match=NAA):
        jobs.accept_disk(copied.pair.database, "daily", "naa.1")
    assert not copied.row().accepted


def test_a_backup_vd_cannot_be_accepted(pair: Pair) -> None:
    with pytest.raises(NotAPlainTarget):
        jobs.accept_disk(pair.database, "nightly", NAA)


class _Without:
    """A session with a disk that has no persistent reservations."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.logout()

    def reservations(self, lun: int) -> Any:
        assert lun == 1
        return self

    def capabilities(self) -> None:
        """None at all."""


@pytest.fixture
def unfenced(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    def connect(target: Target, way: Way, timeout: float = 10.0) -> Any:
        return _Without(log_in(target, way, timeout))

    for module in ("plain_creation", "plain_links"):
        monkeypatch.setattr(f"qreplica.replication.{module}.log_in", connect)
    world.connect = connect
    monkeypatch.setattr(JobLinks.__init__, "__defaults__", (connect,))
    world.create()
    return world


def test_a_disk_without_reservations_works_and_says_that_it_is_not_fenced(unfenced: World) -> None:
    unfenced.replicate()
    with unfenced.pair.database.session(read_only=True) as session:
        status = jobs.status_of(session, "daily")
    assert status.plain is not None
    assert not status.plain.fenced
    assert any("not fenced" in one for one in status.plain.missing)
    # A controller whose session ended in order leaves the disk to the other one.
    unfenced.pair.write(1, 99)
    unfenced.replicate(2)
    assert unfenced.pair.cycle_row().kind is CycleKind.INCREMENTAL


def test_nobody_takes_over_an_unfenced_disk_by_itself(unfenced: World) -> None:
    unfenced.start()
    with pytest.raises(Crash):
        unfenced.work(stop=_Dying(8))
    sentence = unfenced.fails(UnfencedTakeover, controller=2)
    assert "controller 1 is off" in sentence
    jobs.accept_disk(unfenced.pair.database, "daily", NAA)
    unfenced.replicate(2)
    assert unfenced.pair.cycle_row().kind is CycleKind.FULL


def test_the_same_controller_goes_on_with_an_unfenced_disk(unfenced: World) -> None:
    unfenced.start()
    with pytest.raises(Crash):
        unfenced.work(stop=_Dying(8))
    assert unfenced.work().state is JobState.IDLE
    unfenced.check()
    assert unfenced.pair.cycle_row().resumes == 1


class _Dying(Stuck):
    def is_set(self) -> bool:
        if super().is_set():
            raise Crash
        return False
