"""Test mounts: what is written to one is seen nowhere else, replication goes on, and its point stays."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from qreplica.errors import NotFound, QReplicaError
from qreplica.iscsi import nodes
from qreplica.iscsi.service_errors import LunTaken, NodeMixed
from qreplica.replication import point_keeping, retention, test_mounting
from qreplica.replication.errors import SourceIsTestMount
from qreplica.replication.qualifying import source_obstacle
from qreplica.replication.retention_errors import NoSuchRecoveryPoint, RetentionOfRaid
from qreplica.state.models import Event, Lun, Node, RaidGroup, Snapshot, VdType, VirtualDisk, now
from qreplica.state.test_mount_models import TestMount
from qreplica.storage import snapshots, virtual_disks
from qreplica.storage.driver import BLOCK
from qreplica.storage.errors import StorageCommandFailed
from qreplica.storage.service_errors import GroupHasNoRoom, NameTaken, SnapshotPinned, VdInUse

from .pair import SIZE, TARGET_GROUP, TARGET_VD, Pair, first_copy
from .test_rolled_back import cycle


@pytest.fixture
def copied(pair: Pair) -> Pair:
    """Generations 1 and 2 are there."""
    first_copy(pair)
    pair.write(1, 11)
    cycle(pair)
    return pair


def make(pair: Pair, point: str = "2", **more: Any) -> str:
    return test_mounting.make(pair.target_database, pair.target_storage, "b1", point, by="olaf", **more)


def end(pair: Pair, name: str) -> None:
    test_mounting.end(pair.target_database, pair.target_storage, name, lambda: None)


def file(pair: Pair, name: str) -> Path:
    with pair.target_database.session(read_only=True) as session:
        vd = virtual_disks.get(session, name)
    return pair.target_storage.vd_path(TARGET_GROUP, vd.id)


def unchanged(pair: Pair, error: type[QReplicaError], point: str = "2", **more: Any) -> None:
    with pytest.raises(error):
        make(pair, point, **more)
    with pair.target_database.session(read_only=True) as session:
        assert list(session.scalars(select(VirtualDisk.name))) == ["b1"]
        assert test_mounting.listing(session) == []
    assert pair.target_storage.list_vds(TARGET_GROUP) == [TARGET_VD]


def test_what_is_written_to_it_is_seen_nowhere_else_and_replication_goes_on(copied: Pair) -> None:
    older, newer = copied.points()
    assert make(copied, "1") == "b1-test-1"
    assert make(copied, "2") == "b1-test-2"
    for name, point in (("b1-test-1", older), ("b1-test-2", newer)):
        assert file(copied, name).read_bytes() == copied.point_bytes(point)
    with file(copied, "b1-test-2").open("r+b") as disk:
        disk.write(b"t" * 3 * BLOCK)
    copied.write(2, 22)
    cycle(copied)
    copied.check_points()
    assert file(copied, "b1-test-2").read_bytes() == b"t" * 3 * BLOCK + copied.point_bytes(newer)[3 * BLOCK :]
    assert file(copied, "b1-test-1").read_bytes() == copied.point_bytes(older)
    for name in ("b1-test-1", "b1-test-2"):
        end(copied, name)
    with copied.target_database.session(read_only=True) as session:
        assert list(session.scalars(select(VirtualDisk.name))) == ["b1"]
    assert copied.target_storage.list_vds(TARGET_GROUP) == [TARGET_VD]
    copied.check_points()


def test_its_point_stays_whatever_the_retention_and_goes_after_it(copied: Pair) -> None:
    make(copied, "1", name="trial")
    point_keeping.set_policy(copied.target_database, "b1", retention.Policy(1, 0, 0, 0, 0))
    for value in (31, 32):
        copied.write(3, value)
        cycle(copied)
    assert [one.generation for one in copied.points()] == [1, 4]
    with copied.target_database.session(read_only=True) as session:
        (kept, _) = point_keeping.listing(session, "b1")
    assert kept.kept_by == ["in-use"]
    with pytest.raises(SnapshotPinned, match="test mount trial"):
        snapshots.delete(copied.target_database, copied.target_storage, "b1", kept.name)
    end(copied, "trial")
    copied.write(3, 33)
    cycle(copied)
    assert [one.generation for one in copied.points()] == [5]


def test_what_it_is_made_of_cannot_be_deleted_nor_can_it_be_replicated(copied: Pair) -> None:
    make(copied)
    with copied.target_database.session() as session:
        for lun in session.scalars(select(Lun)):
            session.delete(lun)
    with pytest.raises(VdInUse, match="test mount b1-test-2"):
        virtual_disks.delete(copied.target_database, copied.target_storage, "b1")
    with copied.target_database.session() as session:
        found = source_obstacle(session, virtual_disks.get(session, "b1-test-2"))
    assert isinstance(found, SourceIsTestMount)


def test_what_cannot_be_made_leaves_nothing(copied: Pair) -> None:
    unchanged(copied, NoSuchRecoveryPoint, "9")
    unchanged(copied, NameTaken, name="b1")
    unchanged(copied, NotFound, node="nowhere")
    unchanged(copied, NodeMixed, node="backup-1")
    with copied.target_database.session() as session:
        session.get_one(RaidGroup, TARGET_GROUP).usable = SIZE + (1 << 26) + SIZE - 1
    unchanged(copied, GroupHasNoRoom)


def test_one_is_attached_where_hosts_are_told(copied: Pair) -> None:
    with copied.target_database.session() as session:
        nodes.create(session, name="rehearsal")
    make(copied, node="rehearsal", lun=7)
    with copied.target_database.session(read_only=True) as session:
        (lun,) = test_mounting.get(session, "b1-test-2").vd.luns
        assert (lun.node.name, lun.number) == ("rehearsal", 7)
    with pytest.raises(LunTaken):
        make(copied, "1", node="rehearsal", lun=7)
    with copied.target_database.session(read_only=True) as session:
        assert [one.vd.name for one in test_mounting.listing(session)] == ["b1-test-2"]
    served: list[int] = []

    def reconcile() -> None:
        with copied.target_database.session(read_only=True) as session:
            served.append(len(session.scalars(select(Node).where(Node.name == "rehearsal")).one().luns))

    test_mounting.end(copied.target_database, copied.target_storage, "b1-test-2", reconcile)
    assert served == [0]


def test_only_points_of_backup_vds_are_tried(copied: Pair) -> None:
    make(copied, name="trial")
    with pytest.raises(RetentionOfRaid):
        test_mounting.make(copied.target_database, copied.target_storage, "trial", "1", by="olaf")
    with pytest.raises(NotFound):
        end(copied, "b1")
    with copied.target_database.session(read_only=True) as session:
        assert virtual_disks.get(session, "b1").type is VdType.BACKUP


def test_a_crash_in_the_middle_leaves_nothing(copied: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StorageCommandFailed(command="clone", reason="the disk is gone")

    monkeypatch.setattr(copied.target_storage, "clone_vd", fail)
    unchanged(copied, StorageCommandFailed)
    monkeypatch.undo()

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(copied.target_storage, "clone_vd", die)
    monkeypatch.setattr(virtual_disks, "_remove", die)
    with pytest.raises(Killed):
        make(copied)
    monkeypatch.undo()
    with copied.target_database.session(read_only=True) as session:
        assert session.scalars(select(VirtualDisk).where(VirtualDisk.name == "b1-test-2")).one().incomplete
    virtual_disks.undo_incomplete(copied.target_database, copied.target_storage, TARGET_GROUP)
    with copied.target_database.session(read_only=True) as session:
        assert session.scalars(select(TestMount)).all() == []
        assert session.scalars(select(Snapshot)).all()
    make(copied)


def test_somebody_is_reminded_once_a_day(copied: Pair) -> None:
    make(copied)

    def told(hours: float) -> list[str]:
        at = now() + timedelta(hours=hours)
        test_mounting.remind(copied.target_database, copied.target_storage, TARGET_GROUP, lambda: at)
        with copied.target_database.session(read_only=True) as session:
            return list(session.scalars(select(Event.message).where(Event.kind == "test-mount-left")))

    assert told(23) == []
    (first,) = told(25)
    assert first.startswith("This test mount of recovery point 2 of b1 is there for 25 h")
    assert "end it with “qreplica test-mount end b1-test-2”" in first
    assert len(told(26)) == 1
    assert len(told(50)) == 2
