"""Source VDs that grow between cycles, in the middle of one, or differ in size from the backup VD."""

from collections.abc import Callable

import pytest

from qreplica.replication import jobs
from qreplica.state.models import CycleKind, JobState, RaidGroup, VirtualDisk
from qreplica.storage.driver import BLOCK

from .pair import (
    SIZE,
    SOURCE_GROUP,
    SOURCE_VD,
    TARGET_GROUP,
    TARGET_VD,
    Crash,
    Pair,
    Steps,
    Stop,
    fill,
    first_copy,
)

MORE = 4 * BLOCK


def grow(pair: Pair, more: int = MORE) -> None:
    """Extend the source VD, which is far smaller than an administrator could make one."""
    with pair.database.session() as session:
        vd = session.get_one(VirtualDisk, SOURCE_VD)
        vd.size += more
    pair.storage.resize_vd(SOURCE_GROUP, SOURCE_VD, vd.size)


def target_row(pair: Pair) -> VirtualDisk:
    with pair.target_database.session(read_only=True) as session:
        return session.get_one(VirtualDisk, TARGET_VD)


def cycle(pair: Pair) -> None:
    jobs.start(pair.database, "nightly")
    pair.work()


def live(pair: Pair) -> bytes:
    return pair.target_storage.vd_path(TARGET_GROUP, TARGET_VD).read_bytes()


def test_the_backup_vd_follows_a_source_that_grew(pair: Pair) -> None:
    first_copy(pair)
    grow(pair)
    pair.write(2, 77)
    pair.write(SIZE // BLOCK + 1, 88)
    cycle(pair)
    assert pair.job().state is JobState.IDLE
    assert (pair.cycle_row().kind, pair.cycle_row().sent_bytes) == (CycleKind.INCREMENTAL, 2 * BLOCK)
    assert [point.size for point in pair.points()] == [SIZE, SIZE + MORE]
    pair.check_points()
    assert pair.job().target_size == target_row(pair).size == SIZE + MORE
    pair.write(SIZE // BLOCK + 3, 99)
    cycle(pair)
    assert pair.cycle_row().sent_bytes == BLOCK
    pair.check_points()


def test_a_job_that_cannot_be_followed_says_so_and_goes_on_with_the_changes(pair: Pair) -> None:
    first_copy(pair)
    grow(pair)
    pair.write(SIZE // BLOCK, 88)
    with pair.target_database.session() as session:
        vd = session.get_one(VirtualDisk, TARGET_VD)
        session.get_one(RaidGroup, TARGET_GROUP).usable = vd.size + vd.snapshot_space
    cycle(pair)
    job = pair.job()
    assert (job.state, job.error_kind, job.target_size) == (JobState.FAILED, "backup-vd-cannot-follow", SIZE)
    assert "RAID group rg1 has 0 B free and 32 KiB are needed" in str(job.error)
    assert live(pair) == pair.point_bytes(pair.points()[0])
    with pair.target_database.session() as session:
        session.get_one(RaidGroup, TARGET_GROUP).usable = 1 << 30
    cycle(pair)
    assert [one.kind for one in pair.cycles()] == [CycleKind.FULL, CycleKind.INCREMENTAL]
    assert pair.cycle_row().sent_bytes == BLOCK
    assert pair.job().target_size == SIZE + MORE
    pair.check_points()


def test_a_source_that_grows_in_the_middle_of_a_cycle_is_followed_by_the_next(make_copied: Callable[[], Pair]) -> None:
    pair = make_copied()
    pair.write(3, 55)
    steps = Steps()
    steps.at, steps.what = 20, lambda _: grow(pair)
    jobs.start(pair.database, "nightly")
    pair.work(steps)
    assert pair.points()[-1].size == SIZE
    cycle(pair)
    assert [point.size for point in pair.points()] == [SIZE, SIZE, SIZE + MORE]
    pair.check_points()


def test_a_worker_may_die_at_any_step_of_a_growing_cycle(make_copied: Callable[[], Pair]) -> None:
    def change(pair: Pair) -> None:
        grow(pair)
        pair.write(2, 99)
        pair.write(SIZE // BLOCK + 2, 98)
        jobs.start(pair.database, "nightly")

    def die(_: str) -> None:
        raise Crash

    whole = make_copied()
    change(whole)
    counted = Steps()
    whole.work(counted)
    # Each step is another test; here some of all do.
    for at in range(0, len(counted.taken), 5):
        pair = make_copied()
        change(pair)
        steps = Steps()
        steps.at, steps.what = at, die
        with pytest.raises(Crash):
            pair.work(steps)
        pair.work()
        assert pair.job().state is JobState.IDLE, f"after a crash at step {at}, {steps.taken[-1]}"
        assert [one.kind for one in pair.cycles()] == [CycleKind.FULL, CycleKind.INCREMENTAL]
        assert pair.job().target_size == target_row(pair).size == SIZE + MORE
        pair.check_points()


def enlarge_target(pair: Pair, stale: bytes) -> None:
    """Let the backup VD be larger than the source, and hold what an earlier job left there."""
    with pair.target_database.session() as session:
        session.get_one(VirtualDisk, TARGET_VD).size = SIZE + len(stale)
    pair.target_storage.resize_vd(TARGET_GROUP, TARGET_VD, SIZE + len(stale))
    with pair.target_storage.vd_path(TARGET_GROUP, TARGET_VD).open("r+b") as file:
        file.seek(SIZE)
        file.write(stale)


def test_beyond_the_sources_size_a_full_copy_leaves_zeros(pair: Pair) -> None:
    enlarge_target(pair, b"left by an earlier job. " * (MORE // 24) + bytes(MORE % 24))
    fill(pair)
    cycle(pair)
    pair.check_points()
    (point,) = pair.points()
    assert live(pair)[SIZE:] == bytes(MORE)
    file = pair.target_storage.snapshot_path(TARGET_GROUP, TARGET_VD, point.snapshot_id)
    assert file.read_bytes()[SIZE:] == bytes(MORE)
    assert pair.job().target_size == SIZE + MORE
    pair.write(1, 7)
    pair.sessions.clear()
    cycle(pair)
    assert [one.kind for one in pair.sessions[0][0].written()] == ["write"]
    assert live(pair)[SIZE:] == bytes(MORE)


@pytest.mark.parametrize("at", range(0, 60, 7))
def test_the_zeros_beyond_are_as_durable_as_the_rest(make_pair: Callable[[], Pair], at: int) -> None:
    pair = make_pair()
    enlarge_target(pair, b"x" * MORE)
    fill(pair)
    jobs.start(pair.database, "nightly")
    steps = Steps()
    steps.at, steps.what = at, lambda name: name == "commit" or pair.reboot_target()
    pair.work(steps)
    assert pair.job().state is JobState.IDLE
    pair.check_points()
    assert live(pair)[SIZE:] == bytes(MORE)


def test_a_stopped_copy_goes_on_without_doing_them_again(pair: Pair) -> None:
    enlarge_target(pair, b"x" * MORE)
    fill(pair)
    jobs.start(pair.database, "nightly")
    stop = Stop()
    steps = Steps()
    steps.at, steps.what = 45, lambda _: stop.set()
    pair.work(steps, stop)
    assert 0 < pair.cycle_row().checkpoint < SIZE
    again = Steps()
    assert pair.work(again)
    assert "zeros beyond" not in again.taken
    assert pair.job().state is JobState.IDLE
    assert live(pair)[SIZE:] == bytes(MORE)
    pair.check_points()


def test_a_job_learns_the_backup_vds_name_with_its_next_claim(pair: Pair) -> None:
    first_copy(pair)
    with pair.target_database.session() as session:
        session.get_one(VirtualDisk, TARGET_VD).name = "payroll-copy"
    cycle(pair)
    assert pair.job().target_vd_name == "payroll-copy"
