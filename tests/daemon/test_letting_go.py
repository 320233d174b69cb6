"""Making target daemons let go of a VD's file: pretended ones here, but for the other controller's."""

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qreplica.daemon.asking import serving_lock
from qreplica.daemon.file_lock import holding
from qreplica.daemon.letting_go import FinishingRollBacks, LettingGo
from qreplica.daemon.other_controller import OtherController, OtherTargetSlow
from qreplica.iscsi import nodes
from qreplica.iscsi.initiator import Portal, Session
from qreplica.iscsi.target.driver import NodeSpec, PortalSpec
from qreplica.iscsi.target.errors import LunMissing, NodeMissing, TargetDaemonDown
from qreplica.iscsi.target.memory import MemoryTargetDriver
from qreplica.iscsi.target.mgmt import Management
from qreplica.iscsi.target.process import TargetProcess
from qreplica.iscsi.target.tgt import TgtDriver
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.state.database import Database
from qreplica.state.models import RaidGroup, Snapshot, SnapshotKind, Subsystem, VdType, VirtualDisk, now
from qreplica.storage import holding_back
from qreplica.storage.driver import RaidLevel
from qreplica.storage.errors import GroupClosed
from qreplica.storage.memory import MemoryDriver
from qreplica.storage.service_errors import RollBackRunning, VdHasHosts
from qreplica.units import GIB, MIB

from ..ports import control_port, free_port  # noqa: TID252
from .running import eventually

HOST = "iqn.1993-08.org.debian:01:a"
GROUP, VD = "a" * 32, "1" * 32
ALL = [("n1", 1), ("n1", 2), ("n2", 5)]


class Other(MemoryTargetDriver):
    """The other controller's, which its own daemon brings in line when it is asked to let go; ``meanwhile`` too."""

    def __init__(self, box: "Box") -> None:
        super().__init__()
        self._box = box
        self.asked: list[Path] = []
        self.meanwhile: Callable[[], object] = list

    def let_go(self, file: Path) -> None:
        self.asked.append(file)
        self.reconcile()
        self.meanwhile()

    def take_up(self, file: Path) -> None:
        self.asked.append(file)
        self.reconcile()

    def reconcile(self) -> None:
        for spec in self._box.specs():
            self.apply_node(spec)


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
        self.own, self.other = MemoryTargetDriver(), Other(self)
        self.targets = [self.own, self.other]
        self.locks = NodeLocks()
        self.lock = place / "roll-back.lock"
        self.let_go = self.letting_go(self.other)
        for target in self.targets:
            for spec in self.specs():
                target.apply_node(spec)

    def letting_go(self, other: Any) -> LettingGo:
        targets = (self.own, [other])
        return LettingGo(self.database, self.storage, targets, self.locks, lock=self.lock)

    @property
    def file(self) -> Path:
        return self.storage.vd_path(GROUP, VD)

    def served(self) -> list[list[tuple[str, int]]]:
        """Return what each controller serves: node and LUN."""
        return [
            sorted((iqn[-2:], lun.number) for iqn, spec in target.specs.items() for lun in spec.luns)
            for target in self.targets
        ]

    def held_back(self) -> list[str]:
        return holding_back.held_back(self.database, GROUP)

    def finish(self) -> int:
        """Finish what was interrupted; return how often it was told that VDs may be served."""
        told: list[None] = []
        FinishingRollBacks(self.lock, lambda: told.append(None))(self.database, self.storage, GROUP)
        return len(told)

    def specs(self) -> list[NodeSpec]:
        with self.database.session(read_only=True) as session:
            return [nodes.spec(session, self.storage, node, []) for node in nodes.listing(session)]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.database.dispose()


def test_nobody_serves_it_meanwhile_and_all_do_after(box: Box) -> None:
    """Other VDs of the same nodes are served all the while."""
    before = [dict(target.specs) for target in box.targets]
    with box.let_go(VD) as not_served:
        assert box.served() == [[("n1", 2)]] * 2
        assert box.held_back() == [VD]
    assert box.other.asked == [box.file] * 2
    assert not_served == []
    assert box.held_back() == []
    assert [target.specs for target in box.targets] == before


def test_who_is_started_anew_meanwhile_leaves_it_out(box: Box) -> None:
    with box.let_go(VD):
        for target in box.targets:
            for iqn in box.iqns:
                target.remove_node(iqn)
        box.other.reconcile()
        for spec in box.specs():
            box.own.apply_node(spec)
        assert box.served() == [[("n1", 2)]] * 2


@pytest.mark.parametrize("controller", [0, 1])
@pytest.mark.parametrize(("number", "lun"), [(0, 1), (1, 5)])
def test_a_host_on_any_node_of_any_controller_is_not_cut_off(box: Box, controller: int, number: int, lun: int) -> None:
    target, iqn = box.targets[controller], box.iqns[number]
    target.log_in(iqn, HOST)
    told = f"because {HOST} is logged in to node n{number + 1} .* detach LUN {lun} of"
    with pytest.raises(VdHasHosts, match=told), box.let_go(VD):
        raise AssertionError
    assert len(target.sessions(iqn)) == 1
    assert box.served() == [ALL] * 2
    assert box.other.asked == []
    assert box.held_back() == []


@pytest.mark.parametrize("controller", [0, 1])
def test_a_host_that_came_while_they_let_go_is_not_cut_off(box: Box, controller: int) -> None:
    target, iqn = box.targets[controller], box.iqns[1]
    box.other.meanwhile = lambda: target.log_in(iqn, HOST)
    with pytest.raises(VdHasHosts, match=f"{HOST} is logged in to node n2"), box.let_go(VD):
        raise AssertionError
    assert len(target.sessions(iqn)) == 1
    assert box.held_back() == []
    assert box.served() == [ALL] * 2


def test_what_fails_meanwhile_leaves_the_nodes_served(box: Box) -> None:
    with pytest.raises(ZeroDivisionError), box.let_go(VD):
        raise ZeroDivisionError
    assert box.served() == [ALL] * 2
    assert box.held_back() == []


def test_what_is_decided_and_was_not_done_stays_held_back(box: Box) -> None:
    def decide() -> None:
        with box.database.session() as session:
            facts = {"vd_id": VD, "kind": SnapshotKind.MANUAL, "size": MIB, "taken_at": now()}
            session.add(Snapshot(id="5" * 32, name="s1", **facts))
            session.flush()
            holding_back.decide(session, VD, "5" * 32, "It was rolled back.")
        raise ZeroDivisionError

    box.storage.take_snapshot(GROUP, VD, "5" * 32)
    with pytest.raises(ZeroDivisionError), box.let_go(VD):
        decide()
    assert box.served() == [[("n1", 2)]] * 2
    assert box.finish() == 1
    assert box.held_back() == []


def test_one_node_that_cannot_be_served_again_is_told_of_and_keeps_no_other_from_it(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = box.own.apply_node

    def apply_node(spec: NodeSpec) -> None:
        if spec.iqn == box.iqns[0]:
            raise TargetDaemonDown(control_port=1, reason="it is pretended to be")
        real(spec)

    with box.let_go(VD) as not_served:
        monkeypatch.setattr(box.own, "apply_node", apply_node)
    assert [type(error) for error in not_served] == [TargetDaemonDown]
    assert box.served()[0] == [("n1", 2), ("n2", 5)]
    assert box.held_back() == []


@pytest.mark.parametrize("name", ["a0", "z9"])
def test_a_node_that_gets_it_meanwhile_is_served_after(box: Box, name: str) -> None:
    with box.let_go(VD), box.database.session() as session:
        nodes.create(session, name=name)
        nodes.attach(session, node=name, vd="v1")
    assert box.served()[0] == sorted([*ALL, (name, 1)])


def test_nobody_waits_for_a_nodes_lock_meanwhile(box: Box) -> None:
    """So that what holds one may wait for the state or the engine."""
    got = threading.Event()

    def reconcile() -> None:
        with box.locks.hold(box.iqns[0]):
            got.set()

    with box.let_go(VD):
        other = threading.Thread(target=reconcile)
        other.start()
        assert got.wait(60)
    other.join()


def test_two_at_once_wait_for_each_other(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qreplica.daemon.letting_go._PATIENCE", 0.1)
    with box.let_go(VD), pytest.raises(RollBackRunning, match="v2 is not rolled back"), box.let_go("2" * 32):
        raise AssertionError
    with box.let_go("2" * 32):
        assert box.served()[0] == [("n1", 1), ("n2", 5)]


def test_what_a_crash_left_is_finished_by_whoever_looks_and_nothing_that_goes_on_is(box: Box) -> None:
    assert box.finish() == 0
    with box.let_go(VD):
        assert box.finish() == 0
        assert box.held_back() == [VD]
    for vd in (VD, "2" * 32):
        holding_back.hold_back(box.database, vd)
    with holding(box.lock):
        assert box.finish() == 0
    assert box.finish() == 2
    assert box.held_back() == []


def test_what_cannot_be_finished_yet_is_told_of_and_keeps_no_other_from_it(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = box.storage.vd_path

    def vd_path(group: str, vd: str) -> Path:
        if vd == VD:
            raise GroupClosed(group=group)
        return real(group, vd)

    with box.database.session() as session:
        for one in session.query(VirtualDisk):
            one.size = 2 * MIB
    for vd in (VD, "2" * 32):
        holding_back.hold_back(box.database, vd)
    resize = box.storage.resize_vd
    monkeypatch.setattr(
        box.storage, "resize_vd", lambda group, vd, size: vd_path(group, vd) and resize(group, vd, size)
    )
    with pytest.raises(GroupClosed):
        box.finish()
    assert box.held_back() == [VD]
    assert real(GROUP, "2" * 32).stat().st_size == 2 * MIB
    monkeypatch.undo()
    assert box.finish() == 1
    assert box.held_back() == []


def test_another_vd_of_the_node_that_is_not_there_is_in_nobodys_way(box: Box) -> None:
    box.storage.delete_vd(GROUP, "2" * 32)
    with box.let_go(VD) as not_served:
        assert box.served() == [[], []]
    assert not_served == []
    assert box.served() == [[("n1", 1), ("n2", 5)]] * 2


def test_a_vd_that_is_nowhere_attached_needs_nothing(box: Box) -> None:
    with box.database.session() as session:
        nodes.detach(session, node="n1", lun=1)
        nodes.detach(session, node="n2", lun=5)
    before = [dict(target.specs) for target in box.targets]
    with box.let_go(VD):
        assert box.own.specs == before[0]


@pytest.fixture
def tgtd(tmp_path: Path) -> Iterator[TargetProcess]:
    process = TargetProcess(Management(control_port()), tmp_path / "2.pid", lambda _: None)
    process.start()
    yield process
    process.kill()


@pytest.mark.root
def test_the_other_controllers_hosts_are_seen(box: Box, tgtd: TargetProcess, tmp_path: Path) -> None:
    other = OtherController(box.database, 2, tmp_path / "2.pid")
    with pytest.raises(NodeMissing):
        other.sessions(box.iqns[0])
    driver, port = TgtDriver(tgtd.management), free_port()
    spec = box.specs()[0]
    driver.apply_node(spec)
    driver.set_portals(frozenset({PortalSpec("127.0.0.1", port)}))
    let_go = box.letting_go(other)
    with Session.connect(Portal("127.0.0.1", port), spec.iqn, HOST):
        assert [one.initiator for one in other.sessions(spec.iqn)] == [HOST]
        with pytest.raises(VdHasHosts, match=HOST), let_go(VD):
            raise AssertionError
    tgtd.kill()
    assert other.sessions(box.iqns[0]) == []


@pytest.mark.root
def test_the_other_controllers_target_daemon_is_waited_for_and_goes_on(
    box: Box, tgtd: TargetProcess, tmp_path: Path
) -> None:
    """Its own daemon, a thread here, takes the VD away; a host of another node of it notices nothing."""
    other = OtherController(box.database, 2, tmp_path / "2.pid")
    driver, port = TgtDriver(tgtd.management), free_port()
    with box.database.session() as session:
        iqn = nodes.create(session, name="n3").iqn
        nodes.attach(session, node="n3", vd="v2")
    for spec in box.specs():
        driver.apply_node(spec)
    driver.set_portals(frozenset({PortalSpec("127.0.0.1", port)}))
    asked = threading.Event()

    def reconcile() -> None:
        for look in (box.held_back, lambda: not box.held_back()):
            eventually(look)
            asked.set()
            for spec in box.specs():
                driver.apply_node(spec)

    with Session.connect(Portal("127.0.0.1", port), iqn, HOST) as session:
        daemon = threading.Thread(target=reconcile)
        daemon.start()
        with box.letting_go(other)(VD):
            assert asked.is_set()
            with pytest.raises(LunMissing):
                driver.counters(box.iqns[0], 1)
            with pytest.raises(LunMissing):
                driver.counters(box.iqns[1], 5)
            session.write(1, 0, b"v2" * 2048)
        assert driver.counters(box.iqns[0], 1).write_bytes == 0
        daemon.join()
        assert session.read(1, 0, 4096) == b"v2" * 2048


@pytest.mark.root
@pytest.mark.parametrize("why", ["it keeps the file", "its daemon is at work all the while"])
def test_one_that_does_not_let_go_is_ended(box: Box, tgtd: TargetProcess, tmp_path: Path, why: str) -> None:
    other = OtherController(box.database, 2, tmp_path / "2.pid", let_go_seconds=0.2)
    driver = TgtDriver(tgtd.management)
    with holding(serving_lock(tmp_path / "2.pid")) if why != "it keeps the file" else nullcontext():
        if why == "it keeps the file":
            driver.apply_node(box.specs()[0])
        other.let_go(box.file)
    assert tgtd.wait(30)


@pytest.mark.root
def test_one_that_does_not_take_it_up_is_told_of(box: Box, tgtd: TargetProcess, tmp_path: Path) -> None:
    other = OtherController(box.database, 2, tmp_path / "2.pid", let_go_seconds=0.2)
    with pytest.raises(OtherTargetSlow, match="Controller 2 has not served"):
        other.take_up(box.file)
    TgtDriver(tgtd.management).apply_node(box.specs()[0])
    other.take_up(box.file)
    tgtd.kill()
    other.take_up(box.file)


@pytest.mark.root
def test_one_that_has_not_got_the_file_is_left_alone(box: Box, tgtd: TargetProcess, tmp_path: Path) -> None:
    driver = TgtDriver(tgtd.management)
    driver.apply_node(replace(box.specs()[0], luns=box.specs()[0].luns[1:]))
    OtherController(box.database, 2, tmp_path / "2.pid", let_go_seconds=0.2).let_go(box.file)
    assert list(driver.nodes()) == [box.iqns[0]]
