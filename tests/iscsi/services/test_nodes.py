"""iSCSI nodes: what is refused, whom they admit, and what target daemons are to serve."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from qreplica.errors import NotFound, QReplicaError
from qreplica.iscsi import nodes
from qreplica.iscsi.service_errors import (
    BackupVdAttached,
    ChapNameTaken,
    LunClaimed,
    LunNumberInvalid,
    LunTaken,
    NodeHasLuns,
    NodeMixed,
    NoSuchLun,
)
from qreplica.iscsi.target.driver import LARGEST_TID, Credentials
from qreplica.iscsi.target.validation import check
from qreplica.names import (
    ChapIncomplete,
    ChapNameInvalid,
    ChapSecretInvalid,
    NotAName,
    NotAnInitiator,
    NotAnIqn,
)
from qreplica.state.models import Claim, Node
from qreplica.storage import holding_back
from qreplica.storage.errors import GroupClosed
from qreplica.storage.service_errors import NameTaken, NoSuchSnapshot
from qreplica.units import MIB

from .world import World

HOST = "iqn.1993-08.org.debian:01:host"
OTHER = "iqn.1993-08.org.debian:01:other"
CHAP = {"chap_user": "user", "chap_secret": "a-secret-of-some-length"}
MUTUAL = {"mutual_user": "us", "mutual_secret": "another-secret-of-ours"}


def test_a_node_gets_a_name_of_the_subsystem_and_admits_all(world: World) -> None:
    node = world.node("disks_1")
    assert node.iqn == "iqn.2026-11.org.qreplica:alpha.disks-1"
    assert world.serve("disks_1").initiators is None
    assert world.target.log_in(node.iqn, HOST) is not None


def test_numbers_differ_and_fit_in_a_designator(world: World) -> None:
    numbers = {world.node(f"n{number}").tid for number in range(20)}
    assert len(numbers) == 20
    assert all(1 <= number <= LARGEST_TID for number in numbers)


def test_a_node_may_be_given_its_name(world: World) -> None:
    world.node(iqn="iqn.2020-01.com.example:storage:disks-1")
    assert world.serve().iqn == "iqn.2020-01.com.example:storage:disks-1"


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (NotAName, {"name": "Node"}),
        (NotAName, {"name": "n/1"}),
        (NotAnIqn, {"iqn": "disks"}),
        (NotAnIqn, {"iqn": "iqn.2026-13.org.example:x"}),
        (NotAnIqn, {"iqn": "iqn.2026-11.org.example:with_underscore"}),
        (NotAnIqn, {"iqn": "iqn.2026-11.org.example:UPPER"}),
        (NotAnIqn, {"iqn": "iqn.2026-11.org.example:x\n"}),
        (NotAnIqn, {"iqn": "iqn.2026-11.org.example:" + "x" * 200}),
        (NotAnIqn, {"iqn": "eui.02004567A425678D"}),
        (NotAnInitiator, {"initiators": ["host"]}),
        (NotAnInitiator, {"initiators": [HOST, "iqn.1993-08.org.debian:01:a,b"]}),
        (NotAnInitiator, {"initiators": ["iqn.1993-08.org.debian:01:a b"]}),
        (NotAnInitiator, {"initiators": ["ALL"]}),
        (NotAnInitiator, {"initiators": ["192.0.2.1"]}),
        (ChapIncomplete, {"chap_user": "user"}),
        (ChapIncomplete, {"chap_secret": "a-secret-of-length"}),
        (ChapIncomplete, {**MUTUAL}),
        (ChapIncomplete, {**CHAP, "mutual_user": "us"}),
        (ChapIncomplete, {**CHAP, "mutual_user": "user", "mutual_secret": "another-secret"}),
        (ChapIncomplete, {**CHAP, "mutual_user": "us", "mutual_secret": CHAP["chap_secret"]}),
        (ChapNameInvalid, {**CHAP, "chap_user": ""}),
        (ChapNameInvalid, {**CHAP, "chap_user": "two words"}),
        (ChapNameInvalid, {**CHAP, "chap_user": "a,b"}),
        (ChapNameInvalid, {**CHAP, "chap_user": "u" * 65}),
        (ChapSecretInvalid, {**CHAP, "chap_secret": "eleven-char"}),
        (ChapSecretInvalid, {**CHAP, "chap_secret": "s" * 65}),
        (ChapSecretInvalid, {**CHAP, "chap_secret": "a secret with spaces"}),
        (ChapSecretInvalid, {**CHAP, "chap_secret": "a-secret-with-ü"}),
    ],
)
def test_what_cannot_be_a_node_is_refused(world: World, error: type[QReplicaError], facts: dict[str, Any]) -> None:
    with world.unchanged(), pytest.raises(error) as caught:
        world.do(nodes.create, **{"name": "n1", **facts})
    for secret in (facts.get("chap_secret"), facts.get("mutual_secret")):
        assert secret is None or secret not in str(caught.value.problem())


@pytest.mark.parametrize(
    "initiator",
    [
        HOST,
        "iqn.1991-05.com.microsoft:HOST_1.example.com",
        "eui.02004567A425678D",
        "naa.52004567BA64678D",
        "naa.62004567BA64678D0123456789ABCDEF",
    ],
)
def test_what_a_target_daemon_takes_is_taken(world: World, initiator: str) -> None:
    world.node(initiators=[initiator], **CHAP, **MUTUAL)
    world.attach("v1")
    spec = world.spec()
    check(spec)
    assert spec.initiators == {initiator}


def test_names_are_taken_once(world: World) -> None:
    first = world.node()
    with world.unchanged():
        with pytest.raises(NameTaken, match="already a node “n1”"):
            world.node(iqn="iqn.2026-11.org.example:x")
        with pytest.raises(NameTaken, match=f"already a node “{first.iqn}”"):
            world.node("n2", iqn=first.iqn)


def test_secrets_are_served_and_not_to_be_read_in_the_file(world: World) -> None:
    world.node(**CHAP, **MUTUAL)
    spec = world.serve()
    assert spec.chap == Credentials(CHAP["chap_user"], CHAP["chap_secret"])
    assert spec.mutual_chap == Credentials(MUTUAL["mutual_user"], MUTUAL["mutual_secret"])
    with sqlite3.connect(world.database.place) as connection:
        rows = str(connection.execute("SELECT * FROM nodes").fetchall())
    connection.close()
    for file in Path(world.database.place).parent.glob("state.db*"):
        for secret in (CHAP["chap_secret"], MUTUAL["mutual_secret"]):
            assert secret not in rows
            assert secret.encode() not in file.read_bytes()


def test_chap_is_changed_and_taken_away(world: World) -> None:
    world.node(**CHAP, **MUTUAL)
    changed = {"chap_user": "user", "chap_secret": "changed-secret-12"}
    world.do(lambda session: nodes.set_chap(session, nodes.get(session, "n1"), **changed))
    assert world.serve().chap == Credentials("user", "changed-secret-12")
    assert world.spec().mutual_chap is None
    world.do(lambda session: nodes.set_chap(session, nodes.get(session, "n1"), chap_user=None, chap_secret=None))
    assert world.serve().chap is None


def test_a_chap_name_has_one_secret(world: World) -> None:
    world.node(**CHAP)
    world.node("n2", **CHAP)
    with world.unchanged():
        with pytest.raises(ChapNameTaken, match="CHAP name user is used by node n1 with another secret"):
            world.node("n3", chap_user="user", chap_secret="another-secret")
        with pytest.raises(ChapNameTaken):
            world.node("n3", chap_user="u", chap_secret="s" * 12, mutual_user="user", mutual_secret="another-secret")


def test_luns_get_the_next_free_number(world: World) -> None:
    world.node()
    assert world.attach("v1", lun=2).number == 2
    assert world.attach("v2").number == 1
    world.do(nodes.detach, node="n1", lun=1)
    assert world.attach("v2").number == 1


def test_a_lun_shows_the_disk_by_its_own_identity(world: World) -> None:
    world.node()
    world.node("n2")
    first, other = world.attach("v1"), world.attach("v2")
    elsewhere = world.attach("v1", "n2")
    one, two = world.serve().luns
    assert (one.number, two.number) == (first.number, other.number)
    assert one.path == world.storage.vd_path(first.vd.raid_group_id, first.vd_id)
    assert (one.identity.vendor, one.identity.product, one.identity.serial) == (
        "QREPLICA",
        "VIRTUAL-DISK",
        first.vd.serial,
    )
    assert one.identity != two.identity
    assert world.serve("n2").luns[0].identity == one.identity
    assert elsewhere.number == 1
    assert not one.read_only


def test_a_snapshot_is_shown_read_only_as_a_disk_of_its_own(world: World) -> None:
    world.node()
    live, snapshot = world.attach("v1"), world.snapshot()
    frozen = world.attach("v1", snapshot="s1")
    disk, view = world.serve().luns
    assert view.read_only
    assert view.path == world.storage.snapshot_path(live.vd.raid_group_id, live.vd_id, snapshot)
    assert view.identity.serial != disk.identity.serial
    assert view.identity.scsi_id != disk.identity.scsi_id
    assert (disk.number, view.number) == (live.number, frozen.number)


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (NotFound, {"node": "n9", "vd": "v1"}),
        (NotFound, {"node": "n1", "vd": "v9"}),
        (NoSuchSnapshot, {"node": "n1", "vd": "v2", "snapshot": "s1"}),
        (LunNumberInvalid, {"node": "n1", "vd": "v2", "lun": 0}),
        (LunNumberInvalid, {"node": "n1", "vd": "v2", "lun": 256}),
        (LunTaken, {"node": "n1", "vd": "v2", "lun": 5}),
        (NodeMixed, {"node": "n1", "vd": "b1"}),
    ],
)
def test_what_cannot_be_attached_is_refused(world: World, error: type[QReplicaError], facts: dict[str, Any]) -> None:
    world.node()
    world.attach("v1", lun=5)
    with world.unchanged(), pytest.raises(error):
        world.do(nodes.attach, **facts)


def test_a_full_node_is_told_of(world: World) -> None:
    world.node()
    with world.database.session() as session:
        for number in range(1, 256):
            nodes.attach(session, node="n1", vd="v1", lun=number)
    with world.unchanged(), pytest.raises(LunNumberInvalid):
        world.attach("v1")


def test_a_backup_vd_is_on_one_node_only_and_with_its_like(world: World) -> None:
    world.node("backups")
    world.node("more")
    world.attach("b1", "backups")
    with world.unchanged():
        with pytest.raises(BackupVdAttached, match="b1 is already LUN 1 of node backups"):
            world.attach("b1", "more")
        with pytest.raises(BackupVdAttached):
            world.attach("b1", "backups")
        with pytest.raises(NodeMixed, match="v1 cannot be attached to node backups"):
            world.attach("v1", "backups")
    assert world.attach("b2", "backups").number == 2


def test_a_recovery_point_is_shown_to_hosts_while_its_vd_is_replicated(world: World) -> None:
    world.node("backups")
    world.node("hosts", initiators=[HOST])
    world.attach("b1", "backups")
    world.snapshot("b1", "point-1")
    world.attach("b1", "hosts", snapshot="point-1")
    spec = world.serve("hosts")
    assert spec.initiators == {HOST}
    assert spec.luns[0].read_only


def test_a_node_with_backup_vds_admits_only_who_claimed_them(world: World) -> None:
    node = world.node("backups")
    world.attach("b1", "backups")
    assert world.serve("backups").initiators == frozenset()
    assert world.target.log_in(node.iqn, HOST) is None
    world.claim("b1", "backups", "iqn.2026-11.org.qreplica:job-1:e4")
    assert world.serve("backups").initiators == {"iqn.2026-11.org.qreplica:job-1:e4"}
    assert world.target.log_in(node.iqn, HOST) is None
    assert world.target.log_in(node.iqn, "iqn.2026-11.org.qreplica:job-1:e4") is not None


def test_a_configured_initiator_is_not_admitted_to_backup_vds(world: World) -> None:
    world.node("backups", initiators=[HOST])
    world.attach("b1", "backups")
    assert world.spec("backups").initiators == frozenset()
    world.do(lambda session: nodes.set_initiators(session, nodes.get(session, "backups"), None))
    assert world.spec("backups").initiators == frozenset()


def test_a_host_that_was_there_before_never_sees_a_backup_vd(world: World) -> None:
    node = world.node("backups")
    world.serve("backups")
    assert world.target.log_in(node.iqn, HOST) is not None
    world.attach("b1", "backups")
    world.serve("backups")
    assert world.target.sessions(node.iqn) == []


def test_another_backup_vd_does_not_disturb_the_job_on_the_node(world: World) -> None:
    node = world.node("backups")
    world.attach("b1", "backups")
    world.claim("b1", "backups", HOST)
    world.serve("backups")
    world.target.log_in(node.iqn, HOST)
    world.attach("b2", "backups")
    world.do(lambda session: nodes.set_initiators(session, nodes.get(session, "backups"), [OTHER]))
    world.serve("backups")
    assert [session.initiator for session in world.target.sessions(node.iqn)] == [HOST]


def test_who_is_no_longer_admitted_is_cut_off(world: World) -> None:
    node = world.node()
    world.attach("v1")

    def admit(*names: str) -> list[str]:
        world.do(lambda session: nodes.set_initiators(session, nodes.get(session, "n1"), list(names)))
        world.serve()
        return [session.initiator for session in world.target.sessions(node.iqn)]

    world.serve()
    world.target.log_in(node.iqn, OTHER)
    assert admit(HOST) == []
    assert world.target.log_in(node.iqn, OTHER) is None
    world.target.log_in(node.iqn, HOST)
    assert admit(HOST, OTHER) == [HOST]
    world.target.log_in(node.iqn, OTHER)
    assert admit(OTHER, HOST) == [HOST, OTHER]
    assert admit(OTHER) == []
    assert world.spec().initiators == {OTHER}


def test_a_claimed_lun_is_not_detached(world: World) -> None:
    world.node("backups")
    world.attach("b1", "backups")
    world.claim("b1", "backups", HOST, job="j1")
    with world.unchanged(), pytest.raises(LunClaimed, match="replication job j1 holds it"):
        world.do(nodes.detach, node="backups", lun=1)
    world.claim("b1", "backups", HOST, job="")
    world.do(nodes.detach, node="backups", lun=1)
    assert world.spec("backups").luns == ()


def test_a_recovery_point_of_a_claimed_vd_may_be_detached(world: World) -> None:
    world.node("backups")
    world.node("hosts")
    world.attach("b1", "backups")
    world.claim("b1", "backups", HOST)
    world.snapshot("b1", "point-1")
    world.attach("b1", "hosts", snapshot="point-1")
    world.do(nodes.detach, node="hosts", lun=1)
    assert world.spec("hosts").luns == ()


def test_what_is_not_there_is_not_detached(world: World) -> None:
    world.node()
    with world.unchanged():
        with pytest.raises(NoSuchLun, match="n1 has no LUN 1"):
            world.do(nodes.detach, node="n1", lun=1)
        with pytest.raises(NotFound):
            world.do(nodes.detach, node="n9", lun=1)


def test_a_node_is_deleted_when_it_has_no_luns(world: World) -> None:
    with world.unchanged():
        world.node("backups", initiators=[HOST], **CHAP)
        world.attach("b1", "backups")
        with pytest.raises(NodeHasLuns, match=r"backups still has 1 LUN"):
            world.do(nodes.delete, name="backups")
        world.claim("b1", "backups", HOST, job="")
        world.do(nodes.detach, node="backups", lun=1)
        assert world.read(lambda session: session.query(Claim).count()) == 1
        world.do(nodes.delete, name="backups")
    with pytest.raises(NotFound, match="no node “backups”"):
        world.do(nodes.delete, name="backups")


def test_a_lun_whose_file_is_not_there_is_left_out_only_when_asked(world: World) -> None:
    world.node()
    lun = world.attach("v1")
    world.storage.close_group(lun.vd.raid_group_id)
    with pytest.raises(GroupClosed):
        world.spec()
    left_out: list[QReplicaError] = []
    with world.database.session(read_only=True) as session:
        spec = nodes.spec(session, world.storage, nodes.get(session, "n1"), left_out)
    assert spec.luns == ()
    assert [type(error) for error in left_out] == [GroupClosed]


def test_a_vd_that_is_held_back_is_left_out_and_its_snapshots_are_not(world: World) -> None:
    world.node()
    live, _ = world.attach("v1"), world.snapshot()
    frozen, other = world.attach("v1", snapshot="s1"), world.attach("v2")
    holding_back.hold_back(world.database, live.vd_id)
    assert [lun.number for lun in world.serve().luns] == [frozen.number, other.number]
    assert holding_back.serve_again(world.database, live.vd_id)
    assert [lun.number for lun in world.serve().luns] == [live.number, frozen.number, other.number]


def test_they_are_listed_by_name(world: World) -> None:
    for name in ("n2", "n1", "n3"):
        world.node(name)
    world.attach("v1", "n2", lun=7)
    world.attach("v2", "n2", lun=3)
    world.attach("v1", "n1")

    def names(session: Any) -> tuple[list[str], list[tuple[str, int]]]:
        found: list[Node] = nodes.listing(session)
        return [node.name for node in found], [(lun.node.name, lun.number) for lun in nodes.luns(session)]

    assert world.read(names) == (["n1", "n2", "n3"], [("n1", 1), ("n2", 3), ("n2", 7)])


def test_sizes_of_luns_are_those_of_their_vds(world: World) -> None:
    world.node()
    world.attach("v1")
    assert world.serve().luns[0].path.stat().st_size == 4 * MIB
