"""What qualifies for a new job: the lists say of everything else just what the creation refuses it with."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select

from qreplica.errors import QReplicaError
from qreplica.iscsi.initiator import Chap
from qreplica.peer.server import peer_app
from qreplica.replication import jobs, qualifying, wizard
from qreplica.replication.errors import (
    BackupVdClaimed,
    BackupVdRefused,
    BackupVdTooSmall,
    NodeLoggedOn,
    PathToAnotherNode,
    PathToAnotherVd,
    SnapshotSpaceShort,
    SourceIsBackup,
    SourceReplicated,
    SourceRolledBack,
    TargetNotBackup,
)
from qreplica.state.models import Claim, HeldBack, Job, Lun, Node, RaidGroup, VdType, VirtualDisk
from qreplica.storage.errors import GroupClosed

from .pair import IQN, JOB, SIZE, SOURCE_GROUP, SOURCE_VD, TARGET_GROUP, TARGET_VD, Pair
from .serving import served

CHAP = Chap("replica", "twelve-or-more")
OTHER_IQN = "iqn.2026-11.org.qreplica:backup-2"


@pytest.fixture
def port(pair: Pair) -> Iterator[int]:
    """A source without jobs, and the peer port of a target whose node asks for CHAP."""
    with pair.database.session() as session:
        session.delete(session.get_one(Job, JOB))
        session.get_one(VirtualDisk, SOURCE_VD).snapshot_space = 0
    with pair.target_database.session() as session:
        node = session.scalars(select(Node)).one()
        node.chap_user, node.chap_secret = CHAP.user, CHAP.secret
    with served(peer_app(pair.target_database, 1, pair.recovery, pair.promoter)) as found:
        yield found


def refusal(pair: Pair, port: int, lun: int = 1) -> QReplicaError:
    """Return what the creation of a job refuses with; no disk is logged on to before."""
    with pytest.raises(QReplicaError) as refused:
        jobs.create(
            pair.database,
            pair.storage,
            name="daily",
            source_vd="s1",
            address="127.0.0.1",
            node=IQN,
            lun=lun,
            chap=CHAP,
            peer_port=port,
        )
    return refused.value


def is_backup(pair: Pair) -> None:
    with pair.database.session() as session:
        session.get_one(VirtualDisk, SOURCE_VD).type = VdType.BACKUP


def has_a_job(pair: Pair, node: str = OTHER_IQN, vd: str = SOURCE_VD) -> None:
    with pair.database.session() as session:
        session.add(
            Job(
                name="hourly",
                source_vd_id=vd,
                target_subsystem="7" * 32,
                target_node=node,
                target_lun=1,
                target_vd="9" * 32,
                target_vd_name="b9",
                target_serial="b9",
                target_size=SIZE,
            )
        )


def is_rolled_back(pair: Pair) -> None:
    with pair.database.session() as session:
        session.add(HeldBack(vd_id=SOURCE_VD))


def is_closed(pair: Pair) -> None:
    pair.storage.close_group(SOURCE_GROUP)


def has_no_room(pair: Pair) -> None:
    with pair.database.session() as session:
        session.get_one(RaidGroup, SOURCE_GROUP).usable = 2 * SIZE


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (is_backup, SourceIsBackup),
        (has_a_job, SourceReplicated),
        (is_rolled_back, SourceRolledBack),
        (is_closed, GroupClosed),
        (has_no_room, SnapshotSpaceShort),
    ],
)
def test_a_source_vd_that_does_not_qualify_is_refused_in_the_same_words(
    pair: Pair, port: int, spoil: Callable[[Pair], None], error: type[QReplicaError]
) -> None:
    def listed() -> list[qualifying.Source]:
        with pair.database.session(read_only=True) as session:
            return qualifying.sources(session, pair.storage)

    assert [(one.vd.name, one.space, one.obstacle) for one in listed()] == [("s1", 2 * SIZE, None)]
    spoil(pair)
    (one,) = listed()
    assert isinstance(one.obstacle, error)
    assert refusal(pair, port).sentence == one.obstacle.sentence


def too_small(session: Any) -> None:
    session.get_one(VirtualDisk, TARGET_VD).size = SIZE // 2


def not_backup(session: Any) -> None:
    session.get_one(VirtualDisk, TARGET_VD).type = VdType.RAID
    second(session)


def second(session: Any) -> None:
    """Show another backup VD at LUN 2 of the node."""
    other = VirtualDisk(
        name="b2", type=VdType.BACKUP, size=SIZE, snapshot_space=0, raid_group_id=TARGET_GROUP, serial="b2"
    )
    session.add(other)
    session.flush()
    session.add(Lun(node_id="c" * 32, number=2, vd_id=other.id))


def claim(session: Any, vd: str = TARGET_VD) -> None:
    session.add(
        Claim(vd_id=vd, node_id="c" * 32, job_id="8" * 32, source_subsystem="6" * 32, epoch=4, initiator="iqn.x")
    )


def node_claimed(session: Any) -> None:
    """Have a job of another subsystem hold another backup VD of the node: the node cannot be logged on to twice."""
    second(session)
    claim(session, session.scalars(select(VirtualDisk.id).where(VirtualDisk.name == "b2")).one())


def on_two_nodes(session: Any) -> None:
    session.add(Node(id="d" * 32, name="backup-2", iqn=OTHER_IQN, tid=78))
    session.flush()
    session.add(Lun(node_id="d" * 32, number=1, vd_id=TARGET_VD))


def held_back(session: Any) -> None:
    session.add(HeldBack(vd_id=TARGET_VD))


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (too_small, BackupVdTooSmall, "has 24 KiB and the source VD needs 48 KiB"),
        (not_backup, TargetNotBackup, "has type RAID: choose a VD of type BACKUP"),
        (claim, BackupVdClaimed, f"is used by replication job {'8' * 32} already"),
        (node_claimed, BackupVdRefused, f"iSCSI node “{IQN}” is used by replication job"),
        (on_two_nodes, BackupVdRefused, f"attached to iSCSI node {IQN} and also to {OTHER_IQN}"),
        (held_back, BackupVdRefused, "“b1”"),
    ],
)
def test_a_backup_vd_that_does_not_qualify_is_refused_in_the_same_words(
    pair: Pair, port: int, spoil: Callable[[Any], None], error: type[QReplicaError], words: str
) -> None:
    def listed(source_vd: str | None = "s1") -> list[str | None]:
        offered = jobs.list_backup_vds("127.0.0.1", IQN, CHAP, peer_port=port)
        with pair.database.session(read_only=True) as session:
            return wizard.of_backup_vds(session, offered, IQN, "127.0.0.1", source_vd=source_vd)

    assert listed() == [None]
    with pair.target_database.session() as session:
        spoil(session)
    reason = listed()[0]
    assert reason is not None
    assert words in reason
    refused = refusal(pair, port)
    assert isinstance(refused, error)
    assert refused.sentence == reason
    if spoil is too_small:
        assert listed(source_vd=None) == [None]


def test_a_second_log_on_to_a_node_is_refused_wherever_it_can_be_known(pair: Pair, port: int) -> None:
    """The white paper, "Create multiple replication jobs": the explanation and the way out, in each step."""
    with pair.database.session() as session:
        other = VirtualDisk(name="s2", type=VdType.RAID, size=SIZE, raid_group_id=SOURCE_GROUP, serial="s2")
        session.add(other)
        session.flush()
        other_id = other.id
    has_a_job(pair, node=IQN, vd=other_id)
    with pair.target_database.session() as session:
        second(session)
    expected = NodeLoggedOn(job="hourly", node=IQN).sentence
    assert "does not log on to the same node twice" in expected
    assert "attach the backup VD to a LUN of another iSCSI node" in expected
    nodes = jobs.discover_nodes("127.0.0.1", peer_port=port)
    offered = jobs.list_backup_vds("127.0.0.1", IQN, CHAP, peer_port=port)
    with pair.database.session(read_only=True) as session:
        assert wizard.of_nodes(session, nodes) == [expected]
        assert wizard.of_backup_vds(session, offered, IQN, "127.0.0.1", source_vd="s1") == [expected] * 2
    for lun in (1, 2):
        assert refusal(pair, port, lun).sentence == expected


def test_for_a_further_path_only_the_jobs_own_node_and_vd_qualify(pair: Pair, port: int) -> None:
    has_a_job(pair, node=IQN)
    with pair.database.session() as session:
        job = session.scalars(select(Job)).one()
        job.target_vd, job.target_serial = TARGET_VD, "b1"
    with pair.target_database.session() as session:
        second(session)
        claim(session)
        session.scalars(select(Claim)).one().job_id = job.id
    nodes = jobs.discover_nodes("127.0.0.1", peer_port=port)
    offered = jobs.list_backup_vds("127.0.0.1", IQN, CHAP, peer_port=port)
    with pair.database.session() as session:
        assert wizard.of_nodes(session, nodes, "hourly") == [None]
        own, other = wizard.of_backup_vds(session, offered, IQN, "127.0.0.1", job="hourly")
        assert own is None
        assert other is not None
        assert PathToAnotherVd.template.split("{", maxsplit=1)[0] in other
        session.scalars(select(Job)).one().target_node = OTHER_IQN
        session.flush()
        (reason,) = wizard.of_nodes(session, nodes, "hourly")
        assert reason == PathToAnotherNode(found=IQN, job="hourly", expected=OTHER_IQN).sentence
