"""A job to a disk of another maker: never by accident, and only to one that fits and is nobody's."""

import subprocess
from pathlib import Path

import pytest
from sqlalchemy import select

from qreplica.iscsi.errors import NodeUnknown
from qreplica.peer.errors import PeerUnreachable
from qreplica.peer.server import peer_app
from qreplica.replication import jobs
from qreplica.replication.errors import NodeLoggedOn
from qreplica.replication.plain_errors import (
    ForeignDisk,
    PlainTargetIsOurs,
    PlainTargetNotEmpty,
    PlainTargetReserved,
    PlainTargetTooSmall,
    PlainTargetUnfit,
    PlainTargetUsed,
)
from qreplica.replication.plain_keys import key_of
from qreplica.state.models import Event, Job, VdType, VirtualDisk
from qreplica.state.plain_models import PlainTarget
from qreplica.units import MIB

from ..pair import IQN as OURS  # noqa: TID252
from ..serving import served  # noqa: TID252
from .world import DISK_SIZE, IQN, NAA, World

pytestmark = pytest.mark.root


def _nothing_is_left(world: World) -> None:
    with world.pair.database.session(read_only=True) as session:
        assert session.scalars(select(Job)).all() == []
        assert session.scalars(select(PlainTarget)).all() == []
    with world.host() as host:
        assert host.reservations(1).standing().keys == ()


def test_a_plain_target_is_made_on_purpose_and_reserved(world: World) -> None:
    world.create()
    with world.pair.database.session(read_only=True) as session:
        status = jobs.status_of(session, "daily")
        event = session.scalars(select(Event).where(Event.kind == "job-created")).one()
    assert status.plain is not None
    assert (status.plain.disk, status.plain.fenced) == (NAA, True)
    assert status.plain.initiator == f"iqn.2026-11.org.qreplica:initiator-{'5' * 12}"
    assert "no recovery points" in status.plain.missing[0]
    assert "no recovery points" in event.message
    assert (status.target_subsystem, status.target_vd, status.target_size) == ("IET VIRTUAL-DISK", NAA, DISK_SIZE)
    with world.host() as host:
        standing = host.reservations(1).standing()
    assert standing.holder is not None
    assert standing.holder.key == key_of(status.id, status.epoch)
    assert world.content() == bytes(DISK_SIZE)


def test_without_the_word_a_foreign_disk_is_refused_and_says_what_it_would_lack(world: World) -> None:
    with pytest.raises(ForeignDisk) as caught:
        jobs.create(
            world.pair.database,
            world.pair.storage,
            name="daily",
            source_vd="s1",
            address="127.0.0.1",
            node=IQN,
            lun=1,
            port=world.tgtd.port,
            peer_port=world.peer_port,
        )
    for words in ("IET VIRTUAL-DISK", NAA, "no recovery points", "--plain-target"):
        assert words in caught.value.sentence
    _nothing_is_left(world)


def test_a_target_that_does_not_answer_is_called_that(world: World) -> None:
    with pytest.raises(PeerUnreachable):
        jobs.create(
            world.pair.database,
            world.pair.storage,
            name="daily",
            source_vd="s1",
            address="127.0.0.1",
            node=IQN,
            lun=1,
            port=world.peer_port,
            peer_port=world.peer_port,
        )


def test_our_own_disks_are_no_plain_targets(world: World, tmp_path: Path) -> None:
    world.show(tmp_path / "disk", tid=2, iqn="iqn.2024-05.com.example:ours", params="vendor_id=QREPLICA")
    with pytest.raises(PlainTargetIsOurs, match="vendor is QREPLICA"):
        world.create(node="iqn.2024-05.com.example:ours")
    with (
        served(peer_app(world.pair.target_database, 1, world.pair.recovery, world.pair.promoter)) as port,
        pytest.raises(PlainTargetIsOurs, match="subsystem target offers it"),
    ):
        world.create(node=OURS, peer_port=port)
    _nothing_is_left(world)


def test_a_node_that_is_not_there_is_named_with_our_name(world: World) -> None:
    with pytest.raises(NodeUnknown, match="initiator-555555555555"):
        world.create(node=f"{IQN}-2")
    _nothing_is_left(world)


def test_a_disk_that_does_not_fit_is_refused(world: World, tmp_path: Path) -> None:
    with world.pair.database.session() as session:
        session.scalars(select(VirtualDisk)).one().size = 5 * MIB
    with pytest.raises(PlainTargetTooSmall):
        world.create()
    _nothing_is_left(world)
    with world.pair.database.session() as session:
        session.scalars(select(VirtualDisk)).one().size = MIB
    world.show(tmp_path / "disk", tid=2, iqn="iqn.2024-05.com.example:big-blocks", block=8192)
    with pytest.raises(PlainTargetUnfit, match="8192"):
        world.create(node="iqn.2024-05.com.example:big-blocks")
    world.show(tmp_path / "disk", tid=3, iqn="iqn.2024-05.com.example:read-only", params="readonly=1")
    with pytest.raises(PlainTargetUnfit, match="write protected"):
        world.create(node="iqn.2024-05.com.example:read-only")
    with pytest.raises(PlainTargetUnfit, match="device type 0x0c"):
        world.create(lun=0)
    _nothing_is_left(world)


def test_a_disk_of_4096_byte_blocks_fits(world: World, tmp_path: Path) -> None:
    world.show(tmp_path / "disk", tid=2, iqn="iqn.2024-05.com.example:blocks", block=4096)
    world.create(node="iqn.2024-05.com.example:blocks")
    world.replicate()


def test_a_disk_that_another_host_has_is_refused(world: World) -> None:
    with world.host() as host:
        host.reservations(1).register(0xABC)
        with pytest.raises(PlainTargetReserved, match="0x0000000000000abc"):
            world.create()
        host.reservations(1).reserve(0xABC)
        with pytest.raises(PlainTargetReserved):
            world.create()
        host.reservations(1).clear(0xABC)
    _nothing_is_left(world)


def test_a_disk_of_another_job_is_refused_however_it_is_reached(world: World, tmp_path: Path) -> None:
    world.create()
    with world.pair.database.session() as session:
        first = session.scalars(select(VirtualDisk).where(VirtualDisk.name == "s1")).one()
        facts = {"raid_group_id": first.raid_group_id, "size": first.size, "snapshot_space": first.snapshot_space}
        session.add(VirtualDisk(id="5" * 32, name="s2", type=VdType.RAID, serial="s2", **facts))
    with pytest.raises(NodeLoggedOn):
        world.create(name="weekly", source_vd="s2")
    world.show(tmp_path / "disk", tid=2, iqn=f"{IQN}-2", params="scsi_id=IET     00010001")
    with pytest.raises(PlainTargetUsed, match="“daily”"):
        world.create(name="weekly", source_vd="s2", node=f"{IQN}-2")


def test_a_disk_that_is_not_empty_wants_its_identity(world: World) -> None:
    subprocess.run(["mkfs.ext4", "-q", "-F", str(world.file)], check=True)
    before = world.content()
    with pytest.raises(PlainTargetNotEmpty, match=f"ext4.*--overwrite {NAA}"):
        world.create()
    with pytest.raises(PlainTargetNotEmpty):
        world.create(overwrite="naa.1")
    assert world.content() == before
    _nothing_is_left(world)
    world.create(overwrite=NAA)
    assert world.content() == before
    world.replicate()


@pytest.mark.parametrize("at", [0, MIB - 1, DISK_SIZE - 1])
def test_one_byte_makes_a_disk_not_empty(world: World, at: int) -> None:
    with world.file.open("r+b") as disk:
        disk.seek(at)
        disk.write(b"\1")
    with pytest.raises(PlainTargetNotEmpty, match="not all zeros"):
        world.create()
