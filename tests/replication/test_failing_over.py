"""A planned failover between two subsystems: what hosts wrote is on the copy, whatever crashes on the way."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import select

from qreplica.errors import QReplicaError
from qreplica.iscsi import nodes
from qreplica.iscsi.target.memory import MemoryTargetDriver
from qreplica.peer import messages
from qreplica.peer.errors import PeerUnreachable
from qreplica.replication import jobs, plans
from qreplica.replication.errors import JobRunning
from qreplica.replication.failing_over import FailingOver
from qreplica.replication.failing_over_errors import (
    FailoverDecided,
    FailoverNotConfirmed,
    FailoverUnderWay,
    LastCycleEnded,
    NoCopyToPromote,
    NothingUnderWay,
    WrittenSince,
)
from qreplica.replication.failover_looks import FailoverLooks
from qreplica.replication.giving_way import GivingWay
from qreplica.replication.promotion import promoted
from qreplica.replication.recovery_errors import StaleEpoch
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.replication.recovery_serving import Serving
from qreplica.replication.schedule_errors import JobPaused
from qreplica.state.failover_models import Failover, FailoverStep
from qreplica.state.models import Job, JobState, Lun, Node, RaidGroup, RecoveryPoint, VdType, VirtualDisk
from qreplica.storage.service_errors import GroupHasNoRoom

from .pair import IQN, JOB, SOURCE_GROUP, SOURCE_VD, TARGET_GROUP, TARGET_VD, Crash, Pair, SteppingDatabase, Steps
from .test_rolled_back import let_go, pause

HOSTS = "iqn.2026-11.org.qreplica:hosts"


class Asked:
    """The target's services, asked without a network; ``lost`` has a call's answer, or the call itself, get lost."""

    def __init__(self, pair: Pair, steps: Steps, lost: Callable[[str], None]) -> None:
        self._pair = pair
        self._steps = steps
        self._lost = lost

    def lineage(self, iqn: str, lun: int) -> messages.Lineage:
        self._lost("lineage")
        return self._pair.recovery.lineage(iqn, lun)

    def claim(self, iqn: str, claim: messages.Claim) -> messages.Lineage:
        self._lost("claim")
        lineage = self._pair.recovery.claim(iqn, claim)
        self._lost("claimed")
        return lineage

    def promote(self, iqn: str, promote: messages.Promote) -> messages.Promoted:
        self._lost("promote")
        self._steps.take("promote")
        answer = self._pair.promoter.promote_for(iqn, promote)
        self._steps.take("promoted")
        self._lost("promoted")
        return answer

    def promotion(self, iqn: str, vd: str) -> messages.Promoted:
        with self._pair.target_database.session(read_only=True) as session:
            return promoted(session, iqn, vd)

    def close(self) -> None:
        pass


class Site:
    """A pair whose source VD a host uses by one target daemon, and whoever fails it over."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.target = MemoryTargetDriver()
        self.steps = Steps()
        self.lost: Callable[[str], None] = lambda _: None
        with pair.database.session() as session:
            node = Node(name="hosts", iqn=HOSTS, tid=5, open_to_all=True)
            session.add(node)
            session.flush()
            session.add(Lun(node_id=node.id, number=1, vd_id=SOURCE_VD))
        self.start()
        self.reconcile()

    def start(self) -> None:
        """Begin anew, as a controller does after a crash."""
        self.steps = Steps()
        database: Any = SteppingDatabase(self.pair.database, self.steps)

        def spec_of(session: Any, node: Node) -> Any:
            return nodes.spec(session, self.pair.storage, node)

        serving = Serving(database, self.pair.storage, {1: self.target}, spec_of, NodeLocks())

        def peer(*_: object) -> Asked:
            return Asked(self.pair, self.steps, self._lose)

        giving_way = GivingWay(database, self.pair.storage, pause, let_go(self.pair), 1, peer)
        self.service = FailingOver(database, serving)
        self.looks = FailoverLooks(database, cast("Any", None), 1, serving, giving_way, peer)
        self.database = database

    def _lose(self, call: str) -> None:
        self.lost(call)

    def reconcile(self) -> None:
        """Do what the source's daemon does every few seconds, and after a crash."""
        with self.pair.database.session(read_only=True) as session:
            node = session.scalars(select(Node)).one()
            self.target.apply_node(nodes.spec(session, self.pair.storage, node))

    def host_writes(self, block: int, value: int) -> bool:
        """Write a block if the target daemon serves the VD, and lets it be written; return whether it did."""
        served = {lun.number: lun for lun in self.target.specs[HOSTS].luns}
        if 1 not in served or served[1].read_only:
            return False
        self.pair.write(block, value)
        return True

    def look(self) -> None:
        self.looks.look(self.database, JOB)

    def call_off(self) -> None:
        """Call the failover off while the controller goes on with it."""
        with ThreadPoolExecutor(1) as administrator:
            called_off = administrator.submit(self.service.cancel, "nightly")
            while not called_off.done():
                found = self.failover()
                if found is not None and found.cancel:
                    with suppress(QReplicaError):
                        self.look()
            called_off.result()

    def failover(self) -> Failover | None:
        with self.pair.database.session(read_only=True) as session:
            return session.get(Failover, JOB)

    def go_on(self, turns: int = 40, between: Callable[[], object] = lambda: None) -> None:
        """Have controller and worker go on until the failover is over."""
        for _ in range(turns):
            if self.failover() is None:
                return
            self.look()
            between()
            if self.failover() is not None:
                self.pair.work(self.steps)
        raise AssertionError(f"{turns} turns were not enough")

    def source(self) -> bytes:
        return self.pair.storage.vd_path(SOURCE_GROUP, SOURCE_VD).read_bytes()

    def copy(self) -> bytes:
        return Path(self.pair.target_storage.vd_path(TARGET_GROUP, TARGET_VD)).read_bytes()

    def types(self) -> tuple[VdType, VdType]:
        found = []
        for database, vd in ((self.pair.database, SOURCE_VD), (self.pair.target_database, TARGET_VD)):
            with database.session(read_only=True) as session:
                found.append(session.get_one(VirtualDisk, vd).type)
        return found[0], found[1]

    def check_swapped(self, expected: bytes) -> None:
        """Both sides hold what the host wrote, and have changed roles; nobody uses the old source."""
        assert self.types() == (VdType.BACKUP, VdType.RAID)
        assert self.copy() == expected
        assert self.source() == expected
        with self.pair.database.session(read_only=True) as session:
            assert session.get(Job, JOB) is None
            assert not session.get_one(VirtualDisk, SOURCE_VD).write_protected
            (point,) = session.scalars(select(RecoveryPoint))
            assert list(session.scalars(select(Lun))) == []
        path = self.pair.storage.snapshot_path(SOURCE_GROUP, SOURCE_VD, point.snapshot_id)
        assert path.read_bytes() == expected
        assert self.target.specs[HOSTS].luns == ()


@pytest.fixture
def site(make_copied: Callable[[], Pair]) -> Site:
    return Site(make_copied())


def test_what_was_written_to_the_last_moment_is_on_the_copy_and_the_roles_are_swapped(site: Site) -> None:
    assert site.host_writes(2, 22)
    site.service.begin("nightly", "s1")
    assert site.host_writes(3, 33)  # until the target daemons have followed
    wrote_since: list[bool] = []
    site.go_on(between=lambda: wrote_since.append(site.host_writes(4, 44)))
    assert wrote_since
    assert not any(wrote_since)
    expected = bytearray(site.source())
    assert expected[3 * 4096] == 33
    site.check_swapped(bytes(expected))
    events = [sentence for _, _, sentence in site.pair.events]
    assert any("the changes" in one for one in events)


def _count_steps(make_copied: Callable[[], Pair]) -> int:
    site = Site(make_copied())
    site.service.begin("nightly", "s1")
    site.go_on()
    return len(site.steps.taken)


def test_whichever_step_a_crash_cuts_off_it_goes_on_and_nothing_is_lost(make_copied: Callable[[], Pair]) -> None:
    steps = _count_steps(make_copied)
    assert steps > 30
    for at in range(steps):
        site = Site(make_copied())
        written = bytearray(site.source())
        turn = iter(range(1, 200))

        def host(site: Site = site, written: bytearray = written, turn: Any = turn) -> None:
            value = next(turn)
            if site.host_writes(value % 12, value):
                block = value % 12
                written[block * 4096 : (block + 1) * 4096] = bytes([value]) * 4096

        def die(_: str) -> None:
            raise Crash

        host()
        site.steps.at, site.steps.what = at, die
        try:
            site.service.begin("nightly", "s1")
            host()
            site.go_on(between=host)
        except Crash:
            host()
            site.start()
            site.reconcile()
            host()
            site.service.begin("nightly", "s1") if site.types()[0] is VdType.RAID else None
            site.go_on(between=host)
        site.check_swapped(bytes(written))
        site.pair.dispose()


def test_a_last_cycle_that_was_begun_before_hosts_stopped_is_followed_by_another(site: Site) -> None:
    jobs.start(site.pair.database, "nightly")
    with pytest.raises(JobRunning):
        site.service.begin("nightly", "s1")
    jobs.stop(site.pair.database, "nightly")
    stopping = Steps()
    stopping.at = 12

    def die(_: str) -> None:
        raise Crash

    stopping.what = die
    with site.pair.database.session() as session:
        session.get_one(Job, JOB).state = JobState.RUNNING
    with pytest.raises(Crash):
        site.pair.work(stopping)
    with site.pair.database.session() as session:
        session.get_one(Job, JOB).state = JobState.STOPPED
    assert site.pair.cycle_row().finished_at is None
    assert site.host_writes(5, 55)
    site.service.begin("nightly", "s1")
    expected = site.source()
    site.go_on()
    site.check_swapped(expected)
    assert expected[5 * 4096] == 55


def test_without_the_word_or_a_copy_nothing_changes(site: Site) -> None:
    with pytest.raises(FailoverNotConfirmed, match="hosts can only read “s1” on iSCSI node hosts"):
        site.service.begin("nightly", "nightly")
    with site.pair.database.session() as session:
        plans.row_of(session, session.get_one(Job, JOB)).paused = True
    with pytest.raises(JobPaused):
        site.service.begin("nightly", "s1")
    with site.pair.database.session() as session:
        plans.row_of(session, session.get_one(Job, JOB)).paused = False
        job = session.get_one(Job, JOB)
        base, job.base_snapshot_id, job.base_generation = (job.base_snapshot_id, job.base_generation), None, None
    with pytest.raises(NoCopyToPromote, match="no whole copy yet"):
        site.service.begin("nightly", "s1")
    with site.pair.database.session() as session:
        job = session.get_one(Job, JOB)
        job.base_snapshot_id, job.base_generation = base
        session.get_one(VirtualDisk, SOURCE_VD).snapshot_space = 0
        session.get_one(RaidGroup, SOURCE_GROUP).usable = session.get_one(VirtualDisk, SOURCE_VD).size
    with pytest.raises(GroupHasNoRoom):
        site.service.begin("nightly", "s1")
    assert site.failover() is None
    assert site.host_writes(1, 1)


def test_called_off_before_the_copy_is_promoted_hosts_write_again(site: Site) -> None:
    with pytest.raises(NothingUnderWay):
        site.service.cancel("nightly")
    for looks in (0, 1, 2):
        site.service.begin("nightly", "s1")
        for _ in range(looks):
            site.look()
            site.pair.work()
        site.call_off()
        assert site.failover() is None
        assert site.host_writes(6, 60 + looks)
        assert site.types() == (VdType.RAID, VdType.BACKUP)
        if site.pair.job().state is not JobState.IDLE:
            jobs.stop(site.pair.database, "nightly")


def _to_promotion(site: Site) -> None:
    site.service.begin("nightly", "s1")
    for _ in range(10):
        found = site.failover()
        if found is not None and found.step is FailoverStep.PROMOTE:
            return
        site.look()
        site.pair.work()
    raise AssertionError("its copy is not to be promoted")


def lose(call: str) -> Callable[[str], None]:
    def lost(made: str) -> None:
        if made == call:
            raise PeerUnreachable(address="192.0.2.11", port=3261, reason="no answer")

    return lost


def test_called_off_while_a_request_to_promote_is_on_its_way_that_is_refused(site: Site) -> None:
    _to_promotion(site)
    site.lost = lose("promote")
    with pytest.raises(PeerUnreachable):
        site.look()
    found = site.failover()
    assert found is not None
    assert found.error_kind == PeerUnreachable.kind
    on_its_way = messages.Promote(job=JOB, vd=TARGET_VD, epoch=found.epoch or 0, generation=found.generation or 0)
    site.call_off()
    with pytest.raises(StaleEpoch):
        site.pair.promoter.promote_for(IQN, on_its_way)
    assert site.types() == (VdType.RAID, VdType.BACKUP)
    assert site.host_writes(7, 77)
    site.lost = lambda _: None
    jobs.start(site.pair.database, "nightly")
    site.pair.work()
    assert site.pair.job().state is JobState.IDLE
    site.pair.check_points()


@pytest.mark.parametrize("unreachable", ["lineage", "claim"])
def test_it_cannot_be_called_off_while_the_target_does_not_say_that_nothing_was_promoted(
    site: Site, unreachable: str
) -> None:
    _to_promotion(site)
    site.lost = lose(unreachable)
    with pytest.raises(FailoverDecided):
        site.call_off()
    assert not site.host_writes(7, 77)
    expected = site.source()
    site.lost = lambda _: None
    site.go_on()
    site.check_swapped(expected)


def test_it_cannot_be_called_off_once_the_copy_was_promoted_though_the_answer_was_lost(site: Site) -> None:
    _to_promotion(site)
    site.lost = lose("promoted")
    with pytest.raises(PeerUnreachable):
        site.look()
    with pytest.raises(FailoverDecided):
        site.call_off()
    assert site.types() == (VdType.RAID, VdType.RAID)
    assert not site.host_writes(7, 77)
    expected = site.source()
    site.lost = lambda _: None
    site.go_on()
    site.check_swapped(expected)


def test_a_claim_whose_answer_was_lost_does_not_keep_the_copy_from_being_promoted(site: Site) -> None:
    _to_promotion(site)
    site.lost = lose("claimed")
    with pytest.raises(FailoverDecided):
        site.call_off()
    expected = site.source()
    site.lost = lambda _: None
    site.go_on()
    site.check_swapped(expected)


def test_a_target_that_is_gone_for_good_is_given_up_by_force(site: Site) -> None:
    _to_promotion(site)
    site.lost = lose("lineage")
    with pytest.raises(FailoverDecided, match="--force"):
        site.call_off()
    site.service.cancel("nightly", force=True)
    assert site.failover() is None
    assert site.pair.job().state is JobState.IDLE
    assert site.host_writes(7, 77)
    site.look()
    assert site.types() == (VdType.RAID, VdType.BACKUP)


def test_a_copy_that_somebody_promotes_otherwise_meanwhile_leaves_a_superseded_job(site: Site) -> None:
    _to_promotion(site)
    site.pair.promoter.promote("b1", generation=1, confirmed="b1")
    for _ in range(3):
        site.look()
    assert site.failover() is None
    assert site.pair.job().state is JobState.SUPERSEDED
    assert "was promoted with generation 1" in (site.pair.job().error or "")
    assert not site.host_writes(7, 77)
    assert site.types() == (VdType.RAID, VdType.RAID)


def test_a_last_cycle_that_fails_is_told_of_and_gone_on_with(site: Site) -> None:
    site.service.begin("nightly", "s1")
    site.look()
    jobs.stop(site.pair.database, "nightly")
    with site.pair.database.session() as session:
        session.get_one(Job, JOB).state = JobState.STOPPED
    with pytest.raises(LastCycleEnded, match="stopped"):
        site.look()
    with pytest.raises(FailoverUnderWay):
        jobs.delete(site.pair.database, site.pair.storage, "nightly", controller=1)
    expected = site.source()
    jobs.start(site.pair.database, "nightly")
    site.go_on()
    site.check_swapped(expected)


def test_a_job_that_is_about_to_stop_is_waited_for(site: Site) -> None:
    site.service.begin("nightly", "s1")
    with site.pair.database.session() as session:
        session.get_one(Job, JOB).state = JobState.STOPPING
    for _ in range(2):
        site.look()
        assert site.pair.job().state is JobState.STOPPING
    with site.pair.database.session() as session:
        session.get_one(Job, JOB).state = JobState.IDLE
    expected = site.source()
    site.go_on()
    site.check_swapped(expected)


def test_nobody_starts_the_job_while_its_copy_is_promoted(site: Site) -> None:
    _to_promotion(site)
    with pytest.raises(FailoverUnderWay, match="promote"):
        jobs.start(site.pair.database, "nightly")


def test_a_source_that_was_written_all_the_same_is_not_thrown_away(site: Site) -> None:
    _to_promotion(site)
    site.pair.write(8, 88)
    with pytest.raises(WrittenSince, match="give-way"):
        site.go_on()
    assert site.types() == (VdType.RAID, VdType.RAID)
    assert site.source()[8 * 4096] == 88
    assert site.pair.job().state is JobState.SUPERSEDED


def test_another_jobs_word_promotes_nothing(site: Site) -> None:
    job = site.pair.job()
    right = {"job": JOB, "vd": TARGET_VD, "epoch": job.epoch, "generation": 1}
    for wrong in ({"job": "9" * 32}, {"epoch": 0}, {"vd": "9" * 32}, {"generation": 7}):
        with pytest.raises(QReplicaError):
            site.pair.promoter.promote_for(IQN, messages.Promote(**(right | wrong)))
        assert site.types()[1] is VdType.BACKUP
