"""Adding and removing paths: every one must lead to the job's own backup VD. The target's peer API is the real one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select

from qreplica.errors import NotFound, QReplicaError
from qreplica.iscsi.errors import InitiatorNotAdmitted, PortalInvalid, PortalUnreachable
from qreplica.iscsi.initiator import Chap, Designator
from qreplica.peer import messages
from qreplica.peer.errors import PeerUnreachable, WrongChap
from qreplica.peer.server import peer_app
from qreplica.replication import jobs, multipath
from qreplica.replication.errors import (
    BackupVdClaimed,
    BackupVdMissing,
    LastPath,
    NodeNotOffered,
    PathExists,
    PathMissing,
    PathToAnotherNode,
    PathToAnotherSubsystem,
    PathToAnotherVd,
    WrongDisk,
)
from qreplica.replication.links import NetworkLinks, Target, Way, target_of
from qreplica.replication.probing import probe
from qreplica.state.models import Claim, Event, Job, Lun, Node, Path, PathState, Subsystem, VdType, VirtualDisk

from .fakes import FakeSession
from .pair import IQN, JOB, SIZE, TARGET_GROUP, TARGET_VD, Pair
from .serving import served

CHAP = Chap("replica", "twelve-or-more")
OTHER_IQN = "iqn.2026-11.org.qreplica:backup-2"


class Logins(NetworkLinks):
    """The real peer conversation, and a pretended disk to log in to."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.refusals: list[QReplicaError] = []
        self.names: list[str] = []
        self.sessions: list[FakeSession] = []

    def session(self, target: Target, way: Way, initiator: str) -> Any:
        assert way.port in {3260, 3270}
        self.names.append(initiator)
        if self.refusals:
            raise self.refusals.pop(0)
        if self._pair.target.log_in(target.node, initiator) is None:
            raise refused(initiator)
        self.sessions.append(FakeSession(self._pair.disk, self._pair.chance))
        return self.sessions[-1]


def refused(initiator: str = "iqn.x") -> InitiatorNotAdmitted:
    return InitiatorNotAdmitted(portal="127.0.0.1:3260", node=IQN, initiator=initiator)


@dataclass
class Multi:
    """A job with a path to the target's first controller; ``second`` is the peer port of the other one."""

    pair: Pair
    first: int
    second: int
    links: Logins

    def add(self, address: str = "127.0.0.1", **changes: Any) -> None:
        facts: dict[str, Any] = {"port": 3270, "peer_port": self.second, "controller": 1, "links": self.links}
        multipath.add(self.pair.database, "nightly", address, **{**facts, **changes})

    def facts(self) -> list[object]:
        """Return all that a refused path must leave as it was, on both sides."""
        paths = [(path.address, path.port, path.state) for path in self.pair.paths()]
        with self.pair.target_database.session(read_only=True) as session:
            claims = [(claim.job_id, claim.epoch, claim.initiator) for claim in session.scalars(select(Claim))]
        return [self.pair.job().epoch, paths, claims]

    def change_target(self, change: Callable[[Any], None]) -> None:
        with self.pair.target_database.session() as session:
            change(session)

    def claim(self) -> None:
        """Claim the backup VD as a cycle does."""
        with self.pair.database.session() as session:
            job = session.get_one(Job, JOB)
            job.epoch += 1
            epoch = job.epoch
        claim = messages.Claim(
            job=JOB,
            job_name="nightly",
            source_subsystem="5" * 32,
            source_subsystem_name="source",
            lun=1,
            vd=TARGET_VD,
            source_size=SIZE,
            epoch=epoch,
        )
        self.pair.recovery.claim(IQN, claim)


@pytest.fixture
def multi(pair: Pair) -> Iterator[Multi]:
    with pair.target_database.session() as session:
        node = session.scalars(select(Node)).one()
        node.chap_user, node.chap_secret = CHAP.user, CHAP.secret
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(served(peer_app(pair.target_database, number, pair.recovery, pair.promoter)))
            for number in (1, 2)
        )
        with pair.database.session() as session:
            job = session.get_one(Job, JOB)
            job.chap_user, job.chap_secret = CHAP.user, CHAP.secret
            job.target_subsystem_name, job.target_vd_name = "target", "b1"
            job.paths[0].address, job.paths[0].peer_port = "127.0.0.1", first
        made = Multi(pair, first, second, Logins(pair))
        made.claim()
        yield made


def test_a_second_path_is_proved_by_the_conversation_and_by_the_disk(multi: Multi) -> None:
    before = multi.facts()
    multi.add(node=IQN, lun=1)
    first, second = multi.pair.paths()
    assert (second.address, second.port, second.peer_port) == ("127.0.0.1", 3270, multi.second)
    assert (first.position, second.position, second.state, second.reason) == (0, 1, PathState.STANDBY, None)
    # Nothing was claimed: who is admitted now logged in, read, and wrote nothing.
    assert multi.facts()[2] == before[2]
    assert multi.facts()[0] == before[0]
    assert multi.links.names == [f"iqn.2026-11.org.qreplica:job-{JOB}:e1"]
    assert [(one.sent, one.ended) for one in multi.links.sessions] == [([], True)]
    with multi.pair.database.session(read_only=True) as session:
        (event,) = session.scalars(select(Event).where(Event.kind == "path-added"))
        assert "127.0.0.1:3270" in event.message
        status = jobs.status_of(session, "nightly")
    assert [(path.port, path.state) for path in status.paths] == [(3260, "standby"), (3270, "standby")]


def other_vd(session: Any) -> None:
    """Put another backup VD under LUN 2 of the node."""
    other = VirtualDisk(
        name="b2", type=VdType.BACKUP, size=SIZE, snapshot_space=0, raid_group_id=TARGET_GROUP, serial="b2"
    )
    session.add(other)
    session.flush()
    session.add(Lun(node_id="c" * 32, number=2, vd_id=other.id))


def swapped(session: Any) -> None:
    """Show another backup VD under the job's LUN."""
    other_vd(session)
    first, second = session.scalars(select(Lun).order_by(Lun.number))
    first.number = 9
    session.flush()
    second.number = 1
    session.flush()
    first.number = 2


def other_subsystem(session: Any) -> None:
    subsystem = session.scalars(select(Subsystem)).one()
    session.delete(subsystem)
    session.flush()
    session.add(Subsystem(id="8" * 32, name="stranger", iqn_prefix=subsystem.iqn_prefix))


def no_node(session: Any) -> None:
    session.scalars(select(Node)).one().iqn = OTHER_IQN


def other_chap(session: Any) -> None:
    session.scalars(select(Node)).one().chap_secret = "another-secret"


def other_serial(session: Any) -> None:
    session.get_one(VirtualDisk, TARGET_VD).serial = "b9"


def other_job(session: Any) -> None:
    session.scalars(select(Claim)).one().job_id = "9" * 32


def detached(session: Any) -> None:
    other_vd(session)
    session.delete(session.scalars(select(Lun).where(Lun.number == 1)).one())


@pytest.mark.parametrize(
    ("target", "asked", "error", "words"),
    [
        (None, {"address": "target.example"}, PortalInvalid, "give an IP address"),
        (None, {"port": 0}, PortalInvalid, "0"),
        (None, {"port": 3260}, PathExists, "“nightly” has a path to 127.0.0.1:3260 already"),
        (None, {"peer_port": 1}, PeerUnreachable, "127.0.0.1:1 cannot be reached"),
        (None, {"node": OTHER_IQN}, PathToAnotherNode, f"node {OTHER_IQN} cannot .* replicates to iSCSI node {IQN}"),
        (other_vd, {"lun": 2}, PathToAnotherVd, r"LUN 2 .* is VD “b2” \(serial number b2\), .* “b1” at LUN 1"),
        (swapped, {}, PathToAnotherVd, r"LUN 1 .* is VD “b2” \(serial number b2\), .*“b1”.*\(serial number b1\)"),
        (other_serial, {}, PathToAnotherVd, r"\(serial number b9\).*\(serial number b1\)"),
        (None, {"lun": 7}, BackupVdMissing, r"no virtual disk at LUN 7 \(it has 1\)"),
        (detached, {}, BackupVdMissing, r"no virtual disk at LUN 1 \(it has 2\)"),
        (other_subsystem, {}, PathToAnotherSubsystem, r"subsystem stranger \(8+\), .* to subsystem target \(7+\)"),
        (no_node, {}, NodeNotOffered, f"has no iSCSI node {IQN} .*one of {OTHER_IQN}"),
        (other_chap, {}, WrongChap, "did not accept CHAP name “replica”"),
        (other_job, {}, BackupVdClaimed, f"is used by replication job {'9' * 32} already"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_path_that_leads_elsewhere_is_refused_before_anything_changes(
    multi: Multi,
    target: Callable[[Any], None] | None,
    asked: dict[str, Any],
    error: type[QReplicaError],
    words: str,
) -> None:
    if target is not None:
        multi.change_target(target)
    before = multi.facts()
    with pytest.raises(error, match=words):
        multi.add(**asked)
    assert multi.facts() == before
    assert multi.links.names == []


def test_a_portal_of_the_right_subsystem_that_shows_another_disk_is_refused(multi: Multi) -> None:
    """The conversation is right, and what the iSCSI portal shows is not: another box has the address of the port."""
    before = multi.facts()
    multi.pair.disk.serial = "another"
    with pytest.raises(WrongDisk, match="serial number another, not the backup VD"):
        multi.add()
    assert multi.facts() == before
    assert [one.sent for one in multi.links.sessions] == [[]]


def test_a_disk_with_another_designator_is_refused(multi: Multi, monkeypatch: pytest.MonkeyPatch) -> None:
    before = multi.facts()
    monkeypatch.setattr(FakeSession, "identification", lambda *_: [Designator(1, 0, "QREPLICA" + "0" * 28)])
    with pytest.raises(WrongDisk, match="designator QREPLICA0000"):
        multi.add()
    assert multi.facts() == before


def test_the_name_of_a_claim_that_came_in_between_is_taken(multi: Multi) -> None:
    multi.links.refusals = [refused()]
    real, claimed = multi.links.session, []

    def session(target: Target, way: Way, initiator: str) -> Any:
        if not claimed:
            claimed.append(initiator)
            multi.claim()
        return real(target, way, initiator)

    multi.links.session = session  # type: ignore[method-assign]
    multi.add()
    assert [name.rpartition(":")[2] for name in multi.links.names] == ["e1", "e2"]
    assert len(multi.pair.paths()) == 2


def test_a_portal_that_cannot_be_logged_in_to_is_refused(multi: Multi) -> None:
    before = multi.facts()
    multi.links.refusals = [refused()] * 3
    with pytest.raises(InitiatorNotAdmitted):
        multi.add()
    multi.links.refusals = [PortalUnreachable(portal="127.0.0.1:3270", reason="the test says so")]
    with pytest.raises(PortalUnreachable):
        multi.add()
    assert multi.facts() == before


def test_while_the_node_admits_nobody_the_conversation_is_all_there_is(multi: Multi) -> None:
    multi.pair.recovery.release_by_force(IQN)
    multi.add()
    assert multi.links.names == []
    assert len(multi.pair.paths()) == 2


def test_a_node_without_chap_is_asked_with_the_pairing_secret(multi: Multi) -> None:
    def paired(session: Any) -> None:
        node = session.scalars(select(Node)).one()
        node.chap_user = node.chap_secret = None
        node.pairing_secret = "what both keep"

    multi.change_target(paired)
    with multi.pair.database.session() as session:
        job = session.get_one(Job, JOB)
        job.chap_user = job.chap_secret = None
        job.pairing_secret = "what both keep"
    multi.add()
    assert len(multi.pair.paths()) == 2


def test_another_spelling_of_an_address_is_the_same_portal(multi: Multi) -> None:
    with multi.pair.database.session() as session:
        session.get_one(Job, JOB).paths[0].address = "0::0:1"
    with pytest.raises(PathExists, match=r"\[::1\]:3260"):
        multi.add("0:0:0:0:0:0:0:1", port=3260)
    multi.add()
    multipath.remove(multi.pair.database, "nightly", "::1", controller=1)
    assert [path.address for path in multi.pair.paths()] == ["127.0.0.1"]


def test_a_path_is_removed_and_the_last_one_stays(multi: Multi) -> None:
    multi.add()

    def remove(port: int) -> None:
        multipath.remove(multi.pair.database, "nightly", "127.0.0.1", port, controller=1)

    with pytest.raises(PathMissing, match=r"no path to 127.0.0.1:9: give one of 127.0.0.1:3260, 127.0.0.1:3270"):
        remove(9)
    remove(3260)
    assert [path.port for path in multi.pair.paths()] == [3270]
    with pytest.raises(LastPath, match=r"127.0.0.1:3270 is the only one of replication job “nightly”"):
        remove(3270)
    # One that is added again comes last.
    multi.add(port=3260, peer_port=multi.first)
    assert [path.port for path in multi.pair.paths()] == [3270, 3260]
    with pytest.raises(PortalInvalid):
        multipath.remove(multi.pair.database, "nightly", "nowhere", controller=1)
    with pytest.raises(NotFound):
        multipath.remove(multi.pair.database, "other", "127.0.0.1", 3260, controller=1)
    with pytest.raises(NotFound):
        multipath.add(multi.pair.database, "other", "127.0.0.1", controller=1)


@pytest.fixture
def probed(multi: Multi) -> Callable[..., None]:
    """Probes the second controller, whose iSCSI portal is anything that listens."""

    def look(**changes: int) -> None:
        path = Path(id="2" * 32, address="127.0.0.1", port=multi.first, peer_port=multi.second)
        for name, value in changes.items():
            setattr(path, name, value)
        probe(target_of(multi.pair.database, JOB, 1), Way(path.address, path.port, path.peer_port, path.id))

    return look


def test_a_path_works_again_when_portal_and_peer_answer(multi: Multi, probed: Callable[..., None]) -> None:
    before = multi.facts()
    probed()
    assert multi.facts() == before
    with pytest.raises(PortalUnreachable, match=r"127.0.0.1:1 "):
        probed(port=1)
    with pytest.raises(PeerUnreachable, match=r"127.0.0.1:1 "):
        probed(peer_port=1)


@pytest.mark.parametrize(
    ("target", "error"), [(other_subsystem, PathToAnotherSubsystem), (no_node, NodeNotOffered)], ids=["box", "node"]
)
def test_a_path_that_leads_elsewhere_now_does_not_work_again(
    multi: Multi, probed: Callable[..., None], target: Callable[[Any], None], error: type[QReplicaError]
) -> None:
    multi.change_target(target)
    with pytest.raises(error):
        probed()
