"""A superseded job's source VD gives way: to which generation it goes back, what is kept, and what is refused."""

from typing import Any

import pytest
from sqlalchemy import delete, select

from qreplica.errors import QReplicaError
from qreplica.peer import messages
from qreplica.peer.errors import PeerUnreachable
from qreplica.replication import configuration, jobs
from qreplica.replication.configuration import Configuration
from qreplica.replication.giving_way import GivingWay
from qreplica.replication.giving_way_errors import GiveWayNotConfirmed, JobNotSuperseded, NothingInCommon, StillAttached
from qreplica.replication.promotion import promoted
from qreplica.state.models import (
    Event,
    Job,
    JobState,
    Lun,
    Node,
    RecoveryPoint,
    Snapshot,
    SnapshotKind,
    VdType,
    VirtualDisk,
)
from qreplica.storage.service_errors import GroupHasNoRoom, NoSnapshotSpace

from .pair import SOURCE_GROUP, SOURCE_VD, TARGET_VD, Pair, first_copy
from .test_rolled_back import cycle, let_go, pause


class Asked:
    """The other side's answer, without a network."""

    def __init__(self, pair: Pair, error: QReplicaError | None = None) -> None:
        self._pair = pair
        self._error = error

    def promotion(self, iqn: str, vd: str) -> messages.Promoted:
        if self._error is not None:
            raise self._error
        with self._pair.target_database.session(read_only=True) as session:
            return promoted(session, iqn, vd)

    def close(self) -> None:
        pass


def giving_way(pair: Pair, error: QReplicaError | None = None) -> GivingWay:
    return GivingWay(pair.database, pair.storage, pause, let_go(pair), 1, lambda *_: Asked(pair, error))


@pytest.fixture
def superseded(pair: Pair) -> Pair:
    """Generations 1 and 2 were copied, the copy was promoted, a host still wrote here, and the job knows of it."""
    first_copy(pair)
    pair.write(1, 11)
    cycle(pair)
    pair.promoter.promote("b1", confirmed="b1")
    pair.write(2, 22)
    jobs.start(pair.database, "nightly")
    pair.work()
    assert pair.job().state is JobState.SUPERSEDED
    assert not protected(pair)
    with pair.database.session() as session:
        session.get_one(VirtualDisk, SOURCE_VD).snapshot_space = 1 << 26
    return pair


def protected(pair: Pair) -> bool:
    with pair.database.session(read_only=True) as session:
        return session.get_one(VirtualDisk, SOURCE_VD).write_protected


def test_hosts_can_only_read_a_source_whose_copy_was_promoted_if_that_is_configured(pair: Pair) -> None:
    configuration.put(pair.database, Configuration(protect_superseded=True))
    first_copy(pair)
    pair.promoter.promote("b1", confirmed="b1")
    assert not protected(pair)
    jobs.start(pair.database, "nightly")
    pair.work()
    assert pair.job().state is JobState.SUPERSEDED
    assert protected(pair)
    with pair.database.session() as session:
        session.get_one(VirtualDisk, SOURCE_VD).snapshot_space = 1 << 26
        (told,) = session.scalars(select(Event.message).where(Event.kind == "vd-write-protection"))
    assert "qreplica vd write-protect s1 --off" in told
    giving_way(pair).give_way("nightly", "s1")
    assert not protected(pair)


def live(pair: Pair) -> bytes:
    return pair.storage.vd_path(SOURCE_GROUP, SOURCE_VD).read_bytes()


def unchanged(pair: Pair, error: type[QReplicaError], service: GivingWay, confirmed: str | None = "s1") -> None:
    def state() -> Any:
        with pair.database.session(read_only=True) as session:
            vd = session.get_one(VirtualDisk, SOURCE_VD)
            kinds = sorted((one.id, one.kind) for one in session.scalars(select(Snapshot)))
            return vd.type, vd.snapshot_space, kinds, list(session.scalars(select(Job.state))), live(pair)

    before = state()
    with pytest.raises(error):
        service.give_way("nightly", confirmed)
    assert state() == before


def test_it_goes_back_to_the_newest_common_generation_and_keeps_the_rest(superseded: Pair) -> None:
    common, loss = giving_way(superseded).prospect("nightly")
    assert (common.vd, common.generation, loss.changed) == ("s1", 2, 4096)
    diverged, base = live(superseded), superseded.frozen[common.here]
    given = giving_way(superseded).give_way("nightly", "s1")
    assert live(superseded) == base != diverged
    with superseded.database.session(read_only=True) as session:
        vd = session.get_one(VirtualDisk, SOURCE_VD)
        assert (vd.type, vd.snapshot_space) == (VdType.BACKUP, 1 << 26)
        (point,) = session.scalars(select(RecoveryPoint))
        assert (point.generation, point.snapshot_id, point.source_snapshot) == (2, common.here, common.there)
        kinds = {one.name: (one.kind, one.id) for one in session.scalars(select(Snapshot))}
        assert session.scalars(select(Job)).all() == []
    assert given.kept is not None
    assert {kind for kind, _ in kinds.values()} == {SnapshotKind.MANUAL, SnapshotKind.RECOVERY_POINT}
    kept = superseded.storage.snapshot_path(SOURCE_GROUP, SOURCE_VD, kinds[given.kept][1])
    assert kept.read_bytes() == diverged
    with superseded.target_database.session(read_only=True) as session:
        ids = {one.snapshot_id for one in session.scalars(select(RecoveryPoint).where(RecoveryPoint.generation == 2))}
    assert ids == {common.there}


def test_without_the_word_or_while_hosts_could_write_nothing_changes(superseded: Pair) -> None:
    unchanged(superseded, GiveWayNotConfirmed, giving_way(superseded), None)
    unchanged(superseded, GiveWayNotConfirmed, giving_way(superseded), "nightly")
    with superseded.database.session() as session:
        node = Node(name="hosts", iqn="iqn.2026-11.org.qreplica:hosts", tid=5)
        session.add(node)
        session.flush()
        session.add(Lun(node_id=node.id, number=3, vd_id=SOURCE_VD))
    unchanged(superseded, StillAttached, giving_way(superseded))


def test_where_nothing_is_in_common_nothing_changes(superseded: Pair) -> None:
    with superseded.target_database.session() as session:
        session.execute(delete(RecoveryPoint).where(RecoveryPoint.vd_id == TARGET_VD, RecoveryPoint.generation == 2))
    unchanged(superseded, NothingInCommon, giving_way(superseded))


def test_a_side_that_cannot_be_asked_changes_nothing(superseded: Pair) -> None:
    error = PeerUnreachable(address="192.0.2.11", port=3261, reason="no route")
    unchanged(superseded, PeerUnreachable, giving_way(superseded, error))


def test_without_room_for_what_is_kept_nothing_changes(superseded: Pair) -> None:
    with superseded.database.session() as session:
        session.get_one(VirtualDisk, SOURCE_VD).snapshot_space = 0
    unchanged(superseded, (NoSnapshotSpace, GroupHasNoRoom), giving_way(superseded))  # type: ignore[arg-type]


def test_only_a_superseded_job_gives_way(pair: Pair) -> None:
    first_copy(pair)
    unchanged(pair, JobNotSuperseded, giving_way(pair))
