"""Making target daemons let go of a VD's file: pretended ones here, but for the other controller's."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qreplica.daemon.letting_go import LettingGo
from qreplica.daemon.other_controller import OtherController
from qreplica.iscsi import nodes
from qreplica.iscsi.initiator import Portal, Session
from qreplica.iscsi.target.driver import NodeSpec, PortalSpec
from qreplica.iscsi.target.errors import NodeMissing
from qreplica.iscsi.target.memory import MemoryTargetDriver
from qreplica.iscsi.target.mgmt import Management
from qreplica.iscsi.target.process import TargetProcess
from qreplica.iscsi.target.tgt import TgtDriver
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.state.database import Database
from qreplica.state.models import Node, RaidGroup, Subsystem, VdType, VirtualDisk
from qreplica.storage.driver import RaidLevel
from qreplica.storage.memory import MemoryDriver
from qreplica.storage.service_errors import VdHasHosts
from qreplica.units import GIB, MIB

from .running import free_port

HOST = "iqn.1993-08.org.debian:01:a"
GROUP = "a" * 32


class Box:
    """A subsystem whose VDs “v1” and “v2” are LUNs 1 and 2 of node “n1”, “v1” also LUN 5 of “n2”, over two targets."""

    def __init__(self, place: Path) -> None:
        self.database = Database(f"sqlite:///{place / 'state.db'}")
        self.database.upgrade()
        self.storage = MemoryDriver(place / "rg")
        disk = place / "disk"
        with disk.open("xb") as file:
            file.truncate(GIB)
        self.storage.create_group(GROUP, [disk], RaidLevel.JBOD)
        with self.database.session() as session:
            session.add(Subsystem(name="source", iqn_prefix="iqn.2026-11.org.qreplica"))
            session.add(RaidGroup(id=GROUP, name="rg1", level=RaidLevel.JBOD, usable=GIB, reserve=0))
            session.flush()
            for name in ("v1", "v2"):
                self.storage.create_vd(GROUP, name[1] * 32, MIB)
                session.add(
                    VirtualDisk(
                        id=name[1] * 32, name=name, type=VdType.RAID, size=MIB, raid_group_id=GROUP, serial=name
                    )
                )
            session.flush()
            self.iqns = [nodes.create(session, name=name).iqn for name in ("n1", "n2")]
            nodes.attach(session, node="n1", vd="v1")
            nodes.attach(session, node="n1", vd="v2")
            nodes.attach(session, node="n2", vd="v1", lun=5)
        self.targets = [MemoryTargetDriver(), MemoryTargetDriver()]
        self.locks = NodeLocks()
        self.let_go = LettingGo(self.database, self.targets, self.spec_of, self.locks)
        for target in self.targets:
            for spec in self.specs():
                target.apply_node(spec)

    def spec_of(self, session: object, node: Node) -> NodeSpec:
        return nodes.spec(session, self.storage, node)  # type: ignore[arg-type] # it is one

    def specs(self) -> list[NodeSpec]:
        with self.database.session(read_only=True) as session:
            return [self.spec_of(session, node) for node in nodes.listing(session)]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.database.dispose()


def test_no_node_that_shows_it_is_served_meanwhile_and_all_are_after(box: Box) -> None:
    before = [dict(target.specs) for target in box.targets]
    with box.let_go("1" * 32):
        assert [target.nodes() for target in box.targets] == [{}, {}]
    assert [dict(target.specs) for target in box.targets] == before
    with box.let_go("2" * 32):
        assert [list(target.nodes()) for target in box.targets] == [[box.iqns[1]]] * 2


@pytest.mark.parametrize("controller", [0, 1])
@pytest.mark.parametrize(("number", "lun"), [(0, 1), (1, 5)])
def test_a_host_on_any_node_of_any_controller_is_not_cut_off(box: Box, controller: int, number: int, lun: int) -> None:
    target, iqn = box.targets[controller], box.iqns[number]
    target.log_in(iqn, HOST)
    told = f"because {HOST} is logged in to node n{number + 1} .* detach LUN {lun} of"
    with pytest.raises(VdHasHosts, match=told), box.let_go("1" * 32):
        raise AssertionError
    assert len(target.sessions(iqn)) == 1
    assert all(len(one.nodes()) == 2 for one in box.targets)


def test_what_fails_meanwhile_leaves_the_nodes_served(box: Box) -> None:
    with pytest.raises(ZeroDivisionError), box.let_go("1" * 32):
        raise ZeroDivisionError
    assert all(len(one.nodes()) == 2 for one in box.targets)


def test_a_node_that_gets_it_meanwhile_is_served_by_the_file_of_after(box: Box) -> None:
    with box.let_go("1" * 32), box.database.session() as session:
        nodes.create(session, name="n3")
        nodes.attach(session, node="n3", vd="v1")
    assert all(len(one.nodes()) == 3 for one in box.targets)


def test_whoever_else_serves_the_node_waits(box: Box) -> None:
    got = threading.Event()

    def reconcile() -> None:
        with box.locks.hold(box.iqns[0]):
            got.set()

    with box.let_go("1" * 32):
        other = threading.Thread(target=reconcile)
        other.start()
        assert not got.wait(0.1)
    other.join()
    assert got.is_set()


def test_a_vd_that_is_nowhere_attached_needs_nothing(box: Box) -> None:
    with box.database.session() as session:
        nodes.detach(session, node="n1", lun=1)
        nodes.detach(session, node="n2", lun=5)
    with box.let_go("1" * 32):
        assert all(len(one.nodes()) == 2 for one in box.targets)


@pytest.mark.root
def test_the_other_controllers_hosts_are_seen(box: Box, tmp_path: Path) -> None:
    pid_file = tmp_path / "2.pid"
    other = OtherController(box.database, 2, pid_file)
    assert other.sessions(box.iqns[0]) == []
    management, port = Management(20_000 + os.getpid() % 10_000), free_port()
    process = TargetProcess(management, pid_file, lambda _: None)
    process.start()
    try:
        with pytest.raises(NodeMissing):
            other.sessions(box.iqns[0])
        driver = TgtDriver(management)
        spec = box.specs()[0]
        driver.apply_node(spec)
        driver.set_portals(frozenset({PortalSpec("127.0.0.1", port)}))
        let_go = LettingGo(box.database, (box.targets[0], other), box.spec_of, box.locks)
        with Session.connect(Portal("127.0.0.1", port), spec.iqn, HOST):
            assert [one.initiator for one in other.sessions(spec.iqn)] == [HOST]
            with pytest.raises(VdHasHosts, match=HOST), let_go("1" * 32):
                raise AssertionError
        with let_go("1" * 32):
            assert process.wait(30)
    finally:
        process.kill()
    assert other.sessions(box.iqns[0]) == []
    shutil.rmtree(tmp_path / "rg")
