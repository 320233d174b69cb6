"""Jobs: every check before one is made, and what start, stop and delete do. The target's peer API is the real one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from qreplica.errors import NotFound, QReplicaError
from qreplica.iscsi.errors import ChapInvalid, PortalInvalid, TargetUnproven
from qreplica.iscsi.initiator import Chap
from qreplica.names import ChapIncomplete, NotAName, NotAnIqn
from qreplica.peer.errors import ChapNotUsed, PairingNeeded, PeerUnreachable, WrongChap, WrongPairing
from qreplica.peer.server import peer_app
from qreplica.replication import jobs
from qreplica.replication.errors import (
    BackupVdClaimed,
    BackupVdMissing,
    BackupVdTooSmall,
    ChapRequired,
    JobRunning,
    NodeLoggedOn,
    NodeNotOffered,
    SnapshotSpaceShort,
    SourceIsBackup,
    SourceReplicated,
    TargetNotBackup,
    WrongDisk,
)
from qreplica.replication.links import Links, NetworkLinks, Target, Way, target_of
from qreplica.replication.progress import Rate, seconds_left
from qreplica.state.models import (
    Claim,
    Cycle,
    CycleKind,
    Event,
    Job,
    JobState,
    Lun,
    Node,
    Port,
    RaidGroup,
    Snapshot,
    Step,
    VdType,
    VirtualDisk,
    now,
)
from qreplica.state.models import Controller as ControllerRow
from qreplica.storage.driver import BLOCK
from qreplica.storage.service_errors import NameTaken
from qreplica.units import GIB

from .fakes import FakeSession
from .pair import IQN, JOB, SIZE, SOURCE_GROUP, TARGET_GROUP, TARGET_VD, DirectLinks, Pair, Steps, first_copy
from .serving import served

CHAP = Chap("replica", "twelve-or-more")
OTHER_IQN = "iqn.2026-11.org.qreplica:backup-2"


class Wizard(NetworkLinks):
    """The real peer conversation, and a pretended disk to log in to; ``refusal`` is raised there."""

    def __init__(self, pair: Pair) -> None:
        self._direct = DirectLinks(pair, Steps())
        self.refusal: QReplicaError | None = None
        self.logged_on: list[tuple[str, Chap | None]] = []

    def session(self, target: Target, way: Way, initiator: str) -> Any:
        self.logged_on.append((initiator, target.chap))
        if self.refusal is not None:
            raise self.refusal
        return self._direct.session(target, way, initiator)


@dataclass
class Offer:
    """A source without jobs, and a target whose node asks for CHAP."""

    pair: Pair
    port: int
    links: Wizard

    def create(self, **changes: Any) -> Job:
        facts: dict[str, Any] = {
            "name": "daily",
            "source_vd": "s1",
            "address": "127.0.0.1",
            "node": IQN,
            "lun": 1,
            "chap": CHAP,
            "peer_port": self.port,
            "links": self.links,
        }
        return jobs.create(self.pair.database, self.pair.storage, **{**facts, **changes})

    def facts(self) -> list[object]:
        """Return all that a refused creation must leave as it was."""
        with self.pair.database.session(read_only=True) as session:
            here = [(job.name, job.epoch) for job in session.scalars(select(Job))]
            spaces = [(vd.name, vd.snapshot_space) for vd in session.scalars(select(VirtualDisk))]
        with self.pair.target_database.session(read_only=True) as session:
            claims = [(claim.job_id, claim.epoch) for claim in session.scalars(select(Claim)) if claim.job_id]
        return [here, spaces, claims]

    def change_target(self, change: Callable[[Any], None]) -> None:
        with self.pair.target_database.session() as session:
            change(session)

    def change_source(self, change: Callable[[Any], None]) -> None:
        with self.pair.database.session() as session:
            change(session)


@pytest.fixture
def offer(pair: Pair) -> Iterator[Offer]:
    with pair.database.session() as session:
        session.delete(session.get_one(Job, JOB))
        session.scalars(select(VirtualDisk)).one().snapshot_space = 0
    with pair.target_database.session() as session:
        node = session.scalars(select(Node)).one()
        node.chap_user, node.chap_secret = CHAP.user, CHAP.secret
    with served(peer_app(pair.target_database, 1, pair.recovery, pair.promoter)) as port:
        yield Offer(pair, port, Wizard(pair))


def test_a_job_is_made_proved_and_runs(offer: Offer) -> None:
    job = offer.create()
    assert (job.state, job.target_node, job.target_lun) == (JobState.IDLE, IQN, 1)
    assert (job.target_vd, job.target_vd_name, job.target_subsystem_name) == (TARGET_VD, "b1", "target")
    assert offer.links.logged_on == [(f"iqn.2026-11.org.qreplica:job-{job.id}:e{job.epoch}", CHAP)]
    assert offer.facts()[1] == [("s1", 2 * SIZE)]
    assert offer.facts()[2] == [(job.id, job.epoch)]
    with offer.pair.database.session(read_only=True) as session:
        status = jobs.status_of(session, "daily")
        assert (status.target_vd, status.target_subsystem, status.cycle) == ("b1", "target", None)
        assert [(path.address, path.peer_port) for path in status.paths] == [("127.0.0.1", offer.port)]
        # Secrets are kept encrypted.
        stored = session.connection().exec_driver_sql("SELECT chap_secret FROM jobs").scalar_one()
    assert CHAP.secret.encode() not in stored


def test_the_wizard_finds_the_node_and_its_vds(offer: Offer) -> None:
    found = jobs.discover_nodes("127.0.0.1", peer_port=offer.port)
    assert [(one.iqn, one.chap, one.backup_vds) for one in found.nodes] == [(IQN, True, 1)]
    offered = jobs.list_backup_vds("127.0.0.1", IQN, CHAP, peer_port=offer.port)
    assert [(one.lun, one.name, one.size, one.claimed_by) for one in offered.vds] == [(1, "b1", SIZE, None)]


def _smaller(session: Any) -> None:
    session.get_one(VirtualDisk, TARGET_VD).size = SIZE - BLOCK


def _of_hosts(session: Any) -> None:
    session.get_one(VirtualDisk, TARGET_VD).type = VdType.RAID
    # The node still offers a backup VD, at another LUN.
    other = VirtualDisk(
        name="b2", type=VdType.BACKUP, size=SIZE, snapshot_space=0, raid_group_id=TARGET_GROUP, serial="b2"
    )
    session.add(other)
    session.flush()
    session.add(Lun(node_id="c" * 32, number=2, vd_id=other.id))


def _no_chap(session: Any) -> None:
    node = session.get_one(Node, "c" * 32)
    node.chap_user = node.chap_secret = None


@pytest.mark.parametrize(
    ("target", "asked", "error", "words"),
    [
        (None, {"name": "Daily job"}, NotAName, "cannot name a replication job"),
        (None, {"source_vd": "nothing"}, NotFound, "no virtual disk “nothing”"),
        (None, {"address": "target.example"}, PortalInvalid, "give an IP address"),
        (None, {"peer_port": 1}, PeerUnreachable, "127.0.0.1:1 cannot be reached"),
        (None, {"node": "backup-1"}, NotAnIqn, "“backup-1” cannot name an iSCSI node"),
        (None, {"node": OTHER_IQN}, NodeNotOffered, f"has no iSCSI node {OTHER_IQN} .*one of {IQN}"),
        (None, {"chap": None}, ChapRequired, "enter its CHAP name and secret"),
        (None, {"chap": Chap("replica", "another-secret")}, WrongChap, "did not accept CHAP name “replica”"),
        (None, {"chap": Chap("someone", "twelve-or-more")}, WrongChap, "did not accept CHAP name “someone”"),
        (None, {"chap": None, "mutual": CHAP}, ChapIncomplete, "mutual CHAP needs"),
        (None, {"mutual": Chap("node", CHAP.secret)}, ChapInvalid, "both directions have the same secret"),
        (None, {"lun": 7}, BackupVdMissing, r"no virtual disk at LUN 7 \(it has 1\)"),
        (_smaller, {}, BackupVdTooSmall, "has 44 KiB and the source VD needs 48 KiB"),
        (_of_hosts, {}, TargetNotBackup, "“b1” at LUN 1 .* has type RAID"),
        (_no_chap, {}, ChapNotUsed, "has no CHAP to check"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_cannot_work_is_refused_before_anything_changes(
    offer: Offer, target: Callable[[Any], None] | None, asked: dict[str, Any], error: type[QReplicaError], words: str
) -> None:
    if target is not None:
        offer.change_target(target)
    before = offer.facts()
    with pytest.raises(error, match=words):
        offer.create(**asked)
    assert offer.facts() == before
    assert offer.links.logged_on == []


def test_names_and_nodes_are_used_once(offer: Offer) -> None:
    offer.create()
    before = offer.facts()
    with pytest.raises(NameTaken, match="replication job “daily”"):
        offer.create()
    with pytest.raises(SourceReplicated, match="“s1” is the source of replication job “daily” already"):
        offer.create(name="second")

    def another_vd(session: Any) -> None:
        session.add(VirtualDisk(name="s2", type=VdType.RAID, size=SIZE, raid_group_id=SOURCE_GROUP, serial="s2"))

    offer.change_source(another_vd)
    before = offer.facts()
    with pytest.raises(
        NodeLoggedOn, match=r"“daily” is logged on to iSCSI node .* does not log on to the same node twice"
    ):
        offer.create(name="second", source_vd="s2")
    assert offer.facts() == before


def test_a_backup_vd_of_another_subsystems_job_is_refused(offer: Offer) -> None:
    job = offer.create()
    offer.change_source(lambda session: session.delete(session.get_one(Job, job.id)))
    with pytest.raises(BackupVdClaimed, match=f"is used by replication job {job.id} already"):
        offer.create(name="second")


def test_a_backup_vd_is_no_source(offer: Offer) -> None:
    def make_it_one(session: Any) -> None:
        session.scalars(select(VirtualDisk)).one().type = VdType.BACKUP

    offer.change_source(make_it_one)
    with pytest.raises(SourceIsBackup, match="“s1” has type BACKUP"):
        offer.create()


def test_too_little_space_is_told_with_both_figures(offer: Offer) -> None:
    def shrink(session: Any) -> None:
        session.get_one(RaidGroup, SOURCE_GROUP).usable = 2 * SIZE

    offer.change_source(shrink)
    before = offer.facts()
    with pytest.raises(
        SnapshotSpaceShort, match=r"needs 96 KiB \(2 times its size\) and RAID group “rg1” has 48 KiB free"
    ):
        offer.create()
    assert offer.facts() == before


def test_space_set_by_hand_is_left_alone(offer: Offer) -> None:
    def set_space(session: Any) -> None:
        session.get_one(RaidGroup, SOURCE_GROUP).usable = 2 * SIZE
        session.scalars(select(VirtualDisk)).one().snapshot_space = BLOCK

    offer.change_source(set_space)
    offer.create()
    assert offer.facts()[1] == [("s1", BLOCK)]


@pytest.mark.parametrize("reason", ["mutual chap", "another disk"])
def test_a_log_on_that_fails_is_undone(offer: Offer, reason: str) -> None:
    before = offer.facts()
    if reason == "mutual chap":
        offer.links.refusal = TargetUnproven(node=IQN, portal="127.0.0.1:3260")
        expected: type[QReplicaError] = TargetUnproven
    else:
        offer.pair.disk.serial = "another"
        expected = WrongDisk
    with pytest.raises(expected):
        offer.create()
    assert offer.facts() == before
    offer.links.refusal, offer.pair.disk.serial = None, "b1"
    offer.create()


def test_a_node_without_chap_is_paired_once(offer: Offer) -> None:
    offer.change_target(_no_chap)
    job = offer.create(chap=None)
    with offer.pair.database.session(read_only=True) as session:
        secret = session.get_one(Job, job.id).pairing_secret
    assert secret
    assert offer.links.logged_on[-1][1] is None


def test_the_qreplica_port_carries_everything(offer: Offer) -> None:
    def enable(session: Any) -> None:
        session.add(ControllerRow(number=1))
        session.flush()
        session.add(Port(controller=1, number=3, interface="eth9", address="127.0.0.3", prefix_length=8))
        session.add(Port(controller=1, number=4, interface="lo", address="127.0.0.4", prefix_length=8, qreplica=True))

    job = offer.create()
    assert target_of(offer.pair.database, job.id, 1).interface is None
    offer.change_source(enable)
    assert target_of(offer.pair.database, job.id, 1).interface == "lo"


def test_start_stop_and_start_again(pair: Pair) -> None:
    jobs.start(pair.database, "nightly")
    with pytest.raises(JobRunning, match="“nightly” is running already"):
        jobs.start(pair.database, "nightly")
    jobs.stop(pair.database, "nightly")
    assert pair.job().state is JobState.STOPPING
    with pytest.raises(JobRunning, match="is stopping already"):
        jobs.start(pair.database, "nightly")
    with pair.database.session() as session:
        session.get_one(Job, JOB).state = JobState.STOPPED
    jobs.stop(pair.database, "nightly")
    assert pair.job().state is JobState.STOPPED
    jobs.start(pair.database, "nightly")
    assert [one.generation for one in pair.cycles()] == [1]
    with pytest.raises(NotFound, match="replication job “other”"):
        jobs.start(pair.database, "other")


def test_starting_after_a_lost_pairing_pairs_anew(pair: Pair) -> None:
    for kind, kept in ((PairingNeeded.kind, "secret"), (WrongPairing.kind, None)):
        with pair.database.session() as session:
            job = session.get_one(Job, JOB)
            job.state, job.error_kind, job.error, job.pairing_secret = JobState.FAILED, kind, "why", "secret"
        jobs.start(pair.database, "nightly")
        assert (pair.job().pairing_secret, pair.job().error) == (kept, None)


def test_a_deleted_job_leaves_its_points_and_nothing_else(pair: Pair) -> None:
    first_copy(pair)
    links: Links = DirectLinks(pair, Steps())
    jobs.delete(pair.database, pair.storage, "nightly", links, controller=1)
    assert pair.snapshots() == set()
    with pair.database.session(read_only=True) as session:
        assert session.scalars(select(Job)).all() == []
        assert session.scalars(select(Snapshot)).all() == []
    assert [one.generation for one in pair.points()] == [1]
    pair.check_points()
    assert pair.recovery.lineage(IQN, 1).initiator == ""
    with pytest.raises(NotFound):
        jobs.delete(pair.database, pair.storage, "nightly", links, controller=1)


def test_a_target_that_cannot_be_told_is_an_event(pair: Pair) -> None:
    class Nobody(DirectLinks):
        def peer(self, target: Target, way: Way) -> Any:  # noqa: ARG002 - DirectLinks' signature
            raise PeerUnreachable(address="192.0.2.11", port=3261, reason="the test says so")

    first_copy(pair)
    jobs.delete(pair.database, pair.storage, "nightly", Nobody(pair, Steps()), controller=1)
    with pair.database.session(read_only=True) as session:
        kinds = [event.kind for event in session.scalars(select(Event))]
    assert "job-not-released" in kinds
    assert pair.snapshots() == set()


def test_a_running_job_is_not_deleted(pair: Pair) -> None:
    jobs.start(pair.database, "nightly")
    with pytest.raises(JobRunning):
        jobs.delete(pair.database, pair.storage, "nightly", DirectLinks(pair, Steps()), controller=1)
    assert len(pair.cycles()) == 1


def test_status_tells_how_far_it_is_and_how_long_it_takes(pair: Pair) -> None:
    jobs.start(pair.database, "nightly")
    with pair.database.session() as session:
        cycle = session.get_one(Job, JOB).cycles[0]
        cycle.kind, cycle.step = CycleKind.FULL, Step.TRANSFER
        cycle.total_bytes, cycle.done_bytes, cycle.rate, cycle.checkpoint = 4 * GIB, GIB, GIB / 2, GIB
    with pair.database.session(read_only=True) as session:
        (status,) = jobs.listing(session)
        assert status.cycle is not None
        assert (status.cycle.percent, status.cycle.eta_seconds, status.cycle.seconds) == (25.0, 6.0, None)
        assert (status.last_committed_at, status.lag_seconds, status.base_generation) == (None, None, None)
    first = pair.cycle_row()
    pair.work()
    with pair.database.session() as session:
        assert session.get_one(Cycle, first.id).taken_at == session.get_one(Snapshot, first.id).taken_at
        session.get_one(Cycle, first.id).taken_at = now() - timedelta(hours=1)
    with pair.database.session(read_only=True) as session:
        status = jobs.status_of(session, "nightly")
        (run,) = jobs.cycles(session, "nightly")
    assert (run.percent, run.eta_seconds, run.outcome) == (100.0, None, "committed")
    assert run.seconds is not None
    assert run.rate == pytest.approx(run.total_bytes / run.seconds)
    assert status.lag_seconds == pytest.approx(3600, abs=60)
    assert status.base_generation == 1


def test_a_clock_that_was_set_back_makes_no_time_negative(pair: Pair) -> None:
    jobs.start(pair.database, "nightly")
    first = pair.cycle_row()
    pair.work()
    with pair.database.session() as session:
        later = now() + timedelta(hours=1)
        session.get_one(Cycle, first.id).taken_at = later
        session.get_one(Job, JOB).cycles[0].started_at = later
    with pair.database.session(read_only=True) as session:
        status = jobs.status_of(session, "nightly")
    assert status.cycle is not None
    assert (status.lag_seconds, status.cycle.seconds, status.cycle.outcome) == (0.0, 0.0, "committed")


def test_rates_are_smoothed_and_the_rest_is_estimated() -> None:
    rate = Rate(0.0, 0)
    assert rate.update(1.0, 100) == 100
    after = rate.update(2.0, 400)
    assert 100 < after < 300
    for second in range(3, 60):
        after = rate.update(float(second), 400 + 300 * (second - 2))
    assert after == pytest.approx(300, rel=0.01)
    assert rate.update(59.0, 10**9) == after
    assert seconds_left(100, 50, 25.0) == 2.0
    assert seconds_left(100, 50, 0.0) is None
    assert seconds_left(100, 100, 0.0) == 0.0


def test_a_session_of_the_wizard_sends_nothing(offer: Offer) -> None:
    offer.create()
    sessions: list[FakeSession] = [session for session, _ in offer.pair.sessions]
    assert [one.sent for one in sessions] == [[]]
    assert all(one.ended for one in sessions)
