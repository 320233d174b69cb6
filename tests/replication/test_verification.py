"""Verification and repair of a copy, over two subsystems: what was flipped is found, and just that is sent again."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import select

from qreplica.peer import messages
from qreplica.peer.errors import NoSuchRoute, PeerUnreachable
from qreplica.replication import jobs, plans, point_keeping, retention, verification
from qreplica.replication.failing_over_errors import FailoverUnderWay
from qreplica.replication.schedule_errors import JobPaused
from qreplica.replication.verification_errors import (
    NothingToRepair,
    NothingToVerify,
    PointAwaited,
    RepairUnderWay,
    VerificationScheduleInvalid,
)
from qreplica.replication.verification_looks import VerificationLooks
from qreplica.state.failover_models import Failover, FailoverStep
from qreplica.state.models import Event, Job, JobState, now
from qreplica.state.plain_models import PlainTarget
from qreplica.state.verification_models import Verification, VerificationState
from qreplica.storage.driver import BLOCK

from .pair import BLOCKS, JOB, SIZE, SOURCE_GROUP, SOURCE_VD, TARGET_GROUP, TARGET_VD, Crash, Pair, Steps
from .test_rolled_back import cycle


class Clock:
    """A monotonic clock that stands still but for what is slept."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


class Asked:
    """The target, asked without a network."""

    def __init__(self, site: "Site") -> None:
        self._site = site

    def compare_point(self, iqn: str, compare: messages.ComparePoint) -> messages.PointDigests:
        if self._site.fails is not None:
            raise self._site.fails
        self._site.asked.append((compare.generation, compare.offset))
        answer = self._site.pair.recovery.compare_point(iqn, compare)
        meanwhile, self._site.meanwhile = self._site.meanwhile, lambda: None
        meanwhile()
        return answer

    def close(self) -> None:
        pass


class Site:
    """A pair, and whoever verifies its copy."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.asked: list[tuple[int, int]] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.licensed = True
        self.fails: Exception | None = None
        self.begin_anew()

    def begin_anew(self, turn: float = 3.0) -> None:
        """As a controller that was started; with turns of 0 s a look is for one window."""
        self.clock = Clock()
        self.looks = VerificationLooks(
            self.pair.database,
            self.pair.storage,
            cast("Any", None),
            1,
            lambda *_: Asked(self),
            chunk=2 * BLOCK,
            turn=turn,
            may_begin=lambda: self.licensed,
            clock=self.clock,
            sleep=self.clock.sleep,
        )

    def row(self) -> Verification:
        with self.pair.database.session(read_only=True) as session:
            return verification.shown(session, session.get_one(Job, JOB))

    def look(self) -> None:
        self.looks.look(self.pair.database, JOB)

    def verify(self) -> Verification:
        verification.begin(self.pair.database, "nightly")
        for _ in range(100):
            if self.row().state is not VerificationState.RUNNING:
                return self.row()
            self.look()
        raise AssertionError("it has not ended")

    def point_file(self) -> Path:
        """The newest recovery point's file."""
        newest = self.pair.points()[-1]
        return self.pair.target_storage.snapshot_path(TARGET_GROUP, TARGET_VD, newest.snapshot_id)

    def flip(self, *blocks: int, live: bool = True) -> None:
        """Change a bit of blocks of the newest recovery point, and of the live VD, behind everybody's back."""
        files = [self.point_file(), *([self.pair.target_storage.vd_path(TARGET_GROUP, TARGET_VD)] if live else [])]
        for file in files:
            content = bytearray(file.read_bytes())
            for block in blocks:
                content[block * BLOCK + 17] ^= 0x10
            file.write_bytes(content)

    def told(self, kind: str) -> list[str]:
        with self.pair.database.session(read_only=True) as session:
            return list(session.scalars(select(Event.message).where(Event.kind == kind)))


@pytest.fixture
def site(make_copied: Callable[[], Pair]) -> Site:
    return Site(make_copied())


def test_a_copy_that_is_right_passes(site: Site) -> None:
    for block in (2, 3, 7):
        site.pair.write(block, 0)
    cycle(site.pair)
    row = site.verify()
    assert row.state is VerificationState.PASSED
    assert (row.position, row.size, row.differing, row.generation) == (SIZE, SIZE, [], 2)
    assert site.told("copy-verified") == ["Its copy was verified: 48 KiB of generation 2 are the same on both sides."]


@pytest.mark.parametrize("blocks", [(0,), (BLOCKS - 1,), (3, 4), (0, 5, 6, 11)])
def test_what_was_flipped_is_named_block_by_block_and_nothing_is_changed(site: Site, blocks: tuple[int, ...]) -> None:
    site.flip(*blocks)
    before = site.point_file().read_bytes()
    row = site.verify()
    assert row.state is VerificationState.DIFFERS
    found = {at // BLOCK for offset, length in row.differing for at in range(offset, offset + length, BLOCK)}
    assert found == set(blocks)
    assert row.differing_bytes == len(blocks) * BLOCK
    (told,) = site.told("copy-differs")
    assert f"at byte {blocks[0] * BLOCK}" in told
    assert "qreplica job repair nightly" in told
    assert site.point_file().read_bytes() == before


def test_what_hosts_and_cycles_write_meanwhile_is_not_looked_at(site: Site) -> None:
    site.pair.write(1, 99)
    assert site.verify().state is VerificationState.PASSED
    with site.pair.target_storage.vd_path(TARGET_GROUP, TARGET_VD).open("r+b") as live:
        live.write(b"x" * SIZE)
    assert site.verify().state is VerificationState.PASSED


def test_it_goes_on_with_the_next_generation_when_a_cycle_commits_meanwhile(site: Site) -> None:
    point_keeping.set_policy(site.pair.target_database, "b1", retention.Policy(1, 0, 0, 0, 0))
    site.begin_anew(turn=0)
    verification.begin(site.pair.database, "nightly")
    generations = []
    for value in range(1, 40):
        if site.row().state is not VerificationState.RUNNING:
            break
        site.look()
        site.pair.write(value % BLOCKS, value)
        cycle(site.pair)
        generations.append(site.row().generation)
    row = site.row()
    assert row.state is VerificationState.PASSED
    assert row.first_generation == 1
    assert row.generation is not None
    assert row.generation > 1
    assert len(set(generations)) > 1


def test_what_was_overwritten_in_the_meantime_is_right_again(site: Site) -> None:
    site.flip(0, 6)
    site.begin_anew(turn=0)
    verification.begin(site.pair.database, "nightly")
    site.look()
    assert site.row().differing == [[0, 2 * BLOCK], [6 * BLOCK, 2 * BLOCK]]
    site.pair.write(0, 77)
    jobs.start(site.pair.database, "nightly")
    assert site.pair.work()
    row = site.verify()
    assert row.state is VerificationState.DIFFERS
    assert row.differing == [[6 * BLOCK, BLOCK]]


def test_who_comes_after_a_crash_goes_on_where_it_was(site: Site) -> None:
    site.begin_anew(turn=0)
    verification.begin(site.pair.database, "nightly")
    site.look()
    done = site.row().position
    assert 0 < done < SIZE
    site.asked.clear()
    site.begin_anew()
    assert site.verify().state is VerificationState.PASSED
    assert min(offset for _, offset in site.asked) == done


def test_a_target_that_cannot_be_reached_is_waited_for_and_an_older_one_fails_it(site: Site) -> None:
    verification.begin(site.pair.database, "nightly")
    site.fails = PeerUnreachable(address="192.0.2.11", port=3261, reason="no answer")
    with pytest.raises(PeerUnreachable):
        site.look()
    row = site.row()
    assert row.state is VerificationState.RUNNING
    assert "cannot be reached" in (row.error or "")
    site.fails = None
    assert site.verify().error is None
    verification.begin(site.pair.database, "nightly")
    site.fails = NoSuchRoute(method="POST", path="/x", status=404)
    site.look()
    assert site.row().state is VerificationState.FAILED
    assert len(site.told("verification-failed")) == 1


def test_one_that_is_stopped_and_begun_anew_within_a_window_begins_at_the_first_byte(site: Site) -> None:
    site.flip(0)
    site.begin_anew(turn=0)

    def begin_anew() -> None:
        verification.stop(site.pair.database, "nightly")
        verification.begin(site.pair.database, "nightly")

    verification.begin(site.pair.database, "nightly")
    site.meanwhile = begin_anew
    site.look()
    assert (site.row().state, site.row().position) == (VerificationState.RUNNING, 0)
    assert site.verify().differing == [[0, BLOCK]]


def test_the_end_of_one_that_was_stopped_is_not_that_of_the_next(site: Site) -> None:
    site.flip(0)
    site.begin_anew(turn=0)
    verification.begin(site.pair.database, "nightly")
    while site.row().position < SIZE:
        site.look()

    def begin_anew() -> None:
        verification.stop(site.pair.database, "nightly")
        verification.begin(site.pair.database, "nightly")

    site.flip(0)  # right again, for the run that is about to end
    site.meanwhile = begin_anew
    site.look()
    assert (site.row().state, site.row().position) == (VerificationState.RUNNING, 0)
    site.flip(0)
    assert site.verify().state is VerificationState.DIFFERS


class _Committed(Steps):
    """The worker dies as soon as the target has committed."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self._pair = pair

    def take(self, name: str) -> None:
        super().take(name)
        if len(self._pair.points()) > 1 or self._pair.points()[0].generation > 1:
            self.dead = True
            raise Crash


def test_a_point_that_went_before_the_source_knows_of_the_next_is_waited_for(site: Site) -> None:
    point_keeping.set_policy(site.pair.target_database, "b1", retention.Policy(1, 0, 0, 0, 0))
    jobs.start(site.pair.database, "nightly")
    with pytest.raises(Crash):
        site.pair.work(_Committed(site.pair))
    assert [one.generation for one in site.pair.points()] == [2]
    assert site.pair.job().base_generation == 1
    verification.begin(site.pair.database, "nightly")
    with pytest.raises(PointAwaited):
        site.look()
    assert site.row().state is VerificationState.RUNNING
    site.pair.work()
    assert site.verify().state is VerificationState.PASSED


def test_a_limit_is_kept(site: Site) -> None:
    verification.begin(site.pair.database, "nightly", 2 * BLOCK)
    for _ in range(100):
        if site.row().state is not VerificationState.RUNNING:
            break
        site.look()
    assert site.row().state is VerificationState.PASSED
    assert site.clock.at >= SIZE / (2 * BLOCK) - 2


def test_it_is_stopped_and_begun_anew(site: Site) -> None:
    site.begin_anew(turn=0)
    verification.begin(site.pair.database, "nightly")
    site.look()
    verification.stop(site.pair.database, "nightly")
    verification.stop(site.pair.database, "nightly")
    assert site.row().state is VerificationState.STOPPED
    site.look()
    assert site.row().state is VerificationState.STOPPED
    verification.begin(site.pair.database, "nightly")
    assert site.row().position == 0


def test_one_begins_by_its_schedule(site: Site) -> None:
    for wrong in (0, 367):
        with pytest.raises(VerificationScheduleInvalid):
            verification.schedule(site.pair.database, "nightly", wrong)
    site.look()
    assert site.row().state is VerificationState.NEVER
    verification.schedule(site.pair.database, "nightly", 7)
    site.licensed = False
    site.look()
    assert site.row().state is VerificationState.NEVER
    site.licensed = True
    site.look()
    assert site.row().state is VerificationState.PASSED
    site.asked.clear()
    site.look()
    assert site.asked == []
    with site.pair.database.session() as session:
        session.get_one(Verification, JOB).started_at = now() - timedelta(days=7, seconds=1)
    site.look()
    assert site.asked
    verification.schedule(site.pair.database, "nightly", None)
    assert site.row().every_days is None


def test_what_cannot_be_verified_or_repaired_is_refused(site: Site) -> None:
    with pytest.raises(NothingToRepair, match="never"):
        verification.repair(site.pair.database, "nightly")
    site.verify()
    with pytest.raises(NothingToRepair, match="passed"):
        verification.repair(site.pair.database, "nightly")
    site.flip(1)
    site.verify()
    with site.pair.database.session() as session:
        plans.row_of(session, session.get_one(Job, JOB)).paused = True
    with pytest.raises(JobPaused):
        verification.repair(site.pair.database, "nightly")
    with site.pair.database.session() as session:
        plans.row_of(session, session.get_one(Job, JOB)).paused = False
        session.add(Failover(job_id=JOB, step=FailoverStep.PROMOTE))
    with pytest.raises(FailoverUnderWay):
        verification.repair(site.pair.database, "nightly")
    with site.pair.database.session() as session:
        session.get_one(Job, JOB).base_generation = None
    with pytest.raises(NothingToVerify, match="no whole copy"):
        verification.begin(site.pair.database, "nightly")
    with site.pair.database.session() as session:
        session.add(PlainTarget(job_id=JOB, disk="naa.1", fenced=False))
    with pytest.raises(NothingToVerify, match="another maker"):
        verification.begin(site.pair.database, "nightly")


def repaired(site: Site) -> None:
    assert site.pair.job().state is JobState.IDLE
    source = site.pair.storage.vd_path(SOURCE_GROUP, SOURCE_VD).read_bytes()
    assert site.point_file().read_bytes() == source
    assert site.pair.target_storage.vd_path(TARGET_GROUP, TARGET_VD).read_bytes() == source
    assert not site.row().repair
    assert site.row().state is VerificationState.REPAIRED
    with pytest.raises(NothingToRepair, match="repaired"):
        verification.repair(site.pair.database, "nightly")
    assert site.verify().state is VerificationState.PASSED


def test_a_repair_sends_what_differs_and_what_has_changed_and_no_more(site: Site) -> None:
    site.flip(3, 4, 9)
    site.pair.write(1, 111)
    site.verify()
    verification.repair(site.pair.database, "nightly")
    verification.repair(site.pair.database, "nightly")
    with pytest.raises(RepairUnderWay):
        verification.begin(site.pair.database, "nightly")
    site.pair.work()
    assert site.pair.cycle_row().total_bytes == 4 * BLOCK
    repaired(site)


def test_a_cycle_that_was_planned_before_sends_nothing_of_it_and_the_next_does(site: Site) -> None:
    site.flip(3)
    site.verify()
    site.pair.write(1, 111)
    jobs.start(site.pair.database, "nightly")
    for at in range(100):
        with pytest.raises(Crash):
            site.pair.work(_dying_at(at))
        if (planned := site.pair.cycle_row().manifest) is not None:
            break
    verification.repair(site.pair.database, "nightly")
    site.pair.work()
    assert site.pair.cycle_row().manifest == planned
    assert site.pair.job().state is JobState.IDLE
    assert site.row().repair
    verification.repair(site.pair.database, "nightly")
    site.pair.work()
    repaired(site)


def _dying_at(step: int) -> Steps:
    steps = Steps()

    def die(_: str) -> None:
        raise Crash

    steps.at, steps.what = step, die
    return steps


def test_a_worker_may_die_at_any_step_of_a_repair(make_copied: Callable[[], Pair]) -> None:
    at = 0
    while True:
        site = Site(make_copied())
        site.flip(2, 10)
        site.pair.write(6, 66)
        site.verify()
        verification.repair(site.pair.database, "nightly")
        steps = _dying_at(at)
        try:
            site.pair.work(steps)
        except Crash:
            site.pair.work()
        repaired(site)
        site.pair.dispose()
        if at >= len(steps.taken):
            break
        at += 3  # whichever of the moments before and after a commit
    assert at > 15
