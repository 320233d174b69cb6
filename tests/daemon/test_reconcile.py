"""Bringing a target daemon in line with the database, over drivers in memory."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select

from qreplica.daemon import asking
from qreplica.daemon.config import Config, PortConfig
from qreplica.daemon.file_lock import holding
from qreplica.daemon.reconcile import Reconciler
from qreplica.errors import QReplicaError
from qreplica.iscsi import nodes, ports
from qreplica.iscsi.target.driver import NodeSpec, PortalSpec
from qreplica.iscsi.target.errors import FencingTimedOut, PortalUnusable, TargetDaemonDown
from qreplica.iscsi.target.memory import MemoryTargetDriver
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.state.database import Database
from qreplica.state.errors import StateBusy
from qreplica.state.models import Event, Node, RaidGroup, Subsystem, VirtualDisk
from qreplica.state.types import Secret
from qreplica.storage import holding_back
from qreplica.storage.driver import RaidLevel
from qreplica.storage.memory import MemoryDriver
from qreplica.units import GIB, MIB

from .running import eventually

PORTALS = frozenset({PortalSpec("127.0.0.1", 3260), PortalSpec("127.0.0.2", 3260)})


class FailingTarget(MemoryTargetDriver):
    """Keeps what it was told in order, and fails where ``failures`` says."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.failures: dict[str, QReplicaError] = {}

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failures:
            raise self.failures[name]

    def apply_node(self, spec: NodeSpec) -> None:
        self._call(f"apply {spec.iqn.rpartition('.')[2]}")
        super().apply_node(spec)

    def remove_node(self, iqn: str) -> None:
        self._call(f"remove {iqn.rpartition('.')[2]}")
        super().remove_node(iqn)

    def nodes(self) -> dict[str, int]:
        self._call("nodes")
        return super().nodes()

    def set_portals(self, portals: frozenset[PortalSpec]) -> None:
        self._call("portals")
        super().set_portals(portals)


class World:
    """A database with two nodes, one of which shows a VD, and what is to follow it."""

    def __init__(self, directory: Path) -> None:
        Secret.unlock(Fernet.generate_key())
        config = Config(
            subsystem="source",
            controller=2,
            state_dir=directory,
            runtime_dir=directory,
            tgt_control_port=1,
            ports=tuple(PortConfig(number=number, interface="lo", address=f"127.0.0.{number}") for number in (1, 2)),
        )
        self.database = Database(config.database_url)
        self.database.upgrade()
        self.storage = MemoryDriver(directory / "rg")
        disk = directory / "disk"
        with disk.open("wb") as file:
            file.truncate(2 * GIB)
        self.storage.create_group("g1", [disk], RaidLevel.JBOD)
        self.storage.create_vd("g1", "vd1", MIB)
        with self.database.session() as session:
            session.add(Subsystem(name="source", iqn_prefix=config.iqn_prefix))
            ports.note(session, 2, config.ports)
            session.add(RaidGroup(id="g1", name="rg1", level=RaidLevel.JBOD, usable=GIB, reserve=0))
            session.flush()
            session.add(VirtualDisk(id="vd1", name="v1", type="RAID", size=MIB, raid_group_id="g1", serial="s1"))
            session.flush()
            self.a = nodes.create(session, name="a").iqn
            self.b = nodes.create(session, name="b").iqn
            nodes.attach(session, node="a", vd="v1")
        self.target = FailingTarget()
        self.locks = NodeLocks()
        self.config = config
        self.reconciler = Reconciler(config, self.database, self.storage, self.target, self.locks)

    def failing(self) -> QReplicaError | None:
        try:
            self.reconciler.reconcile_now()
        except QReplicaError as error:
            return error
        return None

    def events(self) -> list[tuple[str, str]]:
        with self.database.session(read_only=True) as session:
            found = session.scalars(select(Event).order_by(Event.id)).all()
        assert all(event.controller == 2 for event in found)
        return [(event.subject, event.kind) for event in found]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.reconciler.stop()
    made.database.dispose()


@pytest.fixture
def busy(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the database refuse every session, or not."""
    real = world.database.session

    def make(*, refuse: bool) -> None:
        def refused(**_: Any) -> Any:
            raise StateBusy(place="x", reason="y")

        monkeypatch.setattr(world.database, "session", refused if refuse else real)

    return make


def test_all_is_brought_in_line_and_portals_come_last(world: World) -> None:
    assert world.failing() is None
    assert set(world.target.nodes()) == {world.a, world.b}
    (lun,) = world.target.specs[world.a].luns
    assert (lun.number, lun.path) == (1, world.storage.vd_path("g1", "vd1"))
    assert world.target.portals() == PORTALS
    assert world.target.calls[:4] == ["apply a", "apply b", "nodes", "portals"]
    assert world.events() == []
    assert world.reconciler.tried_once


def test_what_is_not_wanted_is_removed(world: World) -> None:
    world.target.apply_node(NodeSpec(7, "iqn.2026-11.org.example:left.over"))
    assert world.failing() is None
    assert set(world.target.nodes()) == {world.a, world.b}


def test_a_deleted_node_goes_and_a_changed_one_changes(world: World) -> None:
    world.reconciler.reconcile_now()
    with world.database.session() as session:
        nodes.delete(session, "b")
        nodes.set_initiators(session, nodes.get(session, "a"), ["iqn.2026-11.org.example:host"])
    world.reconciler.reconcile_now()
    assert set(world.target.nodes()) == {world.a}
    assert world.target.specs[world.a].initiators == {"iqn.2026-11.org.example:host"}


def test_a_node_made_while_others_are_removed_stays(world: World) -> None:
    """A claim may have the target serve a node that was made after the round had read which there are."""
    real = world.target.nodes

    def late() -> dict[str, int]:
        with world.database.session() as session:
            if session.scalar(select(Node).where(Node.name == "c")) is None:
                made = nodes.create(session, name="c")
                MemoryTargetDriver.apply_node(world.target, nodes.spec(session, world.storage, made))
        return real()

    world.target.nodes = late  # type: ignore[method-assign] # one thing happens in between
    world.reconciler.reconcile_now()
    assert len(real()) == 3


def test_a_failure_is_told_once_until_it_changes_and_holds_nothing_up(world: World) -> None:
    world.target.failures["apply a"] = FencingTimedOut(iqn=world.a, count=1, seconds=1.0)
    assert isinstance(world.failing(), FencingTimedOut)
    assert set(world.target.nodes()) == {world.b}
    assert world.target.portals() == PORTALS
    assert world.failing() is None
    assert world.events() == [("node a", "fencing-timed-out")]
    world.target.failures["apply a"] = FencingTimedOut(iqn=world.a, count=2, seconds=1.0)
    assert isinstance(world.failing(), FencingTimedOut)
    assert len(world.events()) == 2
    del world.target.failures["apply a"]
    assert world.failing() is None
    assert set(world.target.nodes()) == {world.a, world.b}
    world.target.failures["apply a"] = FencingTimedOut(iqn=world.a, count=2, seconds=1.0)
    assert isinstance(world.failing(), FencingTimedOut)
    assert len(world.events()) == 3


def test_a_removal_that_fails_holds_no_other_up(world: World) -> None:
    for number, name in enumerate(("x", "y"), 1):
        world.target.apply_node(NodeSpec(number, f"iqn.2026-11.org.example:left.{name}"))
    world.target.failures["remove x"] = FencingTimedOut(iqn="x", count=1, seconds=1.0)
    assert isinstance(world.failing(), FencingTimedOut)
    assert set(world.target.nodes()) == {world.a, world.b, "iqn.2026-11.org.example:left.x"}
    assert world.target.portals() == PORTALS


def test_portals_that_fail_are_told_of(world: World) -> None:
    world.target.failures["portals"] = PortalUnusable(address="127.0.0.1", port=3260)
    assert isinstance(world.failing(), PortalUnusable)
    assert world.events() == [("portals", "portal-unusable")]


def test_a_lun_without_its_file_leaves_the_others_served(world: World) -> None:
    world.storage.create_vd("g1", "vd2", MIB)
    with world.database.session() as session:
        session.add(VirtualDisk(id="vd2", name="v2", type="RAID", size=MIB, raid_group_id="g1", serial="s2"))
        session.flush()
        nodes.attach(session, node="a", vd="v2")
    world.storage.delete_vd("g1", "vd1")
    error = world.failing()
    assert error is not None
    assert error.kind == "vd-missing"
    assert [lun.number for lun in world.target.specs[world.a].luns] == [2]
    assert world.events() == [("node a", "vd-missing")]


def test_that_the_daemon_is_down_is_its_supervisors_news(world: World) -> None:
    down = TargetDaemonDown(control_port=1, reason="nothing listens")
    world.target.failures = dict.fromkeys(["apply a", "apply b", "nodes", "portals"], down)
    assert world.failing() is down
    assert world.events() == []
    assert not world.reconciler.tried_once
    world.target.failures.clear()
    assert world.failing() is None
    assert world.reconciler.tried_once


def test_without_the_database_nothing_is_touched_and_all_goes_on(world: World, busy: Callable[..., None]) -> None:
    world.target.apply_node(NodeSpec(7, "iqn.2026-11.org.example:left.over"))
    world.target.calls.clear()
    busy(refuse=True)
    assert isinstance(world.failing(), StateBusy)
    assert world.target.calls == []
    assert not world.reconciler.tried_once
    busy(refuse=False)
    assert world.failing() is None
    assert set(world.target.nodes()) == {world.a, world.b}


def test_a_failure_that_could_not_be_written_down_is_told_later(
    world: World, busy: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.target.failures["portals"] = PortalUnusable(address="127.0.0.1", port=3260)
    real = world.target.set_portals

    def then_busy(portals: frozenset[PortalSpec]) -> None:
        busy(refuse=True)
        real(portals)

    monkeypatch.setattr(world.target, "set_portals", then_busy)
    assert isinstance(world.failing(), PortalUnusable)
    busy(refuse=False)
    assert world.events() == []
    monkeypatch.setattr(world.target, "set_portals", real)
    assert isinstance(world.failing(), PortalUnusable)
    assert world.events() == [("portals", "portal-unusable")]


def test_the_database_failing_in_the_middle_is_no_complete_round(
    world: World, busy: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = world.target.apply_node

    def then_busy(spec: NodeSpec) -> None:
        real(spec)
        busy(refuse=True)

    monkeypatch.setattr(world.target, "apply_node", then_busy)
    assert isinstance(world.failing(), StateBusy)
    assert not world.reconciler.tried_once


def test_a_state_read_before_a_claim_is_never_applied_after_it(world: World) -> None:
    """The node's lock is held from reading to applying."""
    applied: list[bool] = []
    real = MemoryTargetDriver.apply_node

    def watched(spec: NodeSpec) -> None:
        def claim() -> None:
            with world.locks.hold(spec.iqn):
                applied.append(spec.iqn in world.target.specs)

        other = threading.Thread(target=claim)
        other.start()
        other.join(0.05)
        real(world.target, spec)
        assert not applied
        waiting.append(other)

    waiting: list[threading.Thread] = []
    world.target.apply_node = watched  # type: ignore[method-assign] # as a claim would meet it
    with world.database.session() as session:
        nodes.delete(session, "b")
    world.reconciler.reconcile_now()
    for thread in waiting:
        thread.join()
    assert applied == [True]


def test_the_loop_reconciles_at_start_and_when_woken(world: World) -> None:
    world.reconciler.start()
    assert eventually(lambda: world.reconciler.tried_once)
    with world.database.session() as session:
        nodes.delete(session, "b")
    world.reconciler.wake()
    assert eventually(lambda: set(world.target.specs) == {world.a})
    world.reconciler.stop()
    world.reconciler.stop()


def test_the_loop_reconciles_when_the_other_controller_asks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qreplica.daemon.reconcile._EVERY", 3600.0)
    world.reconciler.start()
    assert eventually(lambda: world.reconciler.tried_once)

    def seen() -> bool:
        asking.ask(world.config.tgtd_pid_file)
        return world.target.specs[world.a].luns == ()

    holding_back.hold_back(world.database, "vd1")
    assert eventually(seen)


def test_who_asks_is_answered_when_all_is_in_line(
    world: World, busy: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file = world.config.tgtd_pid_file
    assert asking.answered(pid_file, asking.ask(pid_file), 0), "no target daemon runs there"
    monkeypatch.setattr("qreplica.daemon.asking.running_tgtd", lambda _: 1)
    asking.answer(pid_file, time.monotonic_ns() + 10**12)  # of the time before the machine's restart
    world.reconciler.start()
    assert eventually(lambda: world.reconciler.tried_once)
    with world.database.session() as session:
        nodes.delete(session, "b")
    assert asking.answered(pid_file, asking.ask(pid_file), 60)
    assert set(world.target.specs) == {world.a}
    busy(refuse=True)
    assert not asking.answered(pid_file, asking.ask(pid_file), 0.5)
    busy(refuse=False)


def test_the_loop_survives_the_database(world: World, busy: Callable[..., None]) -> None:
    busy(refuse=True)
    world.reconciler.start()
    world.reconciler.wake()
    busy(refuse=False)

    def tried() -> bool:
        world.reconciler.wake()
        return world.reconciler.tried_once

    assert eventually(tried)


def test_what_is_decided_while_it_is_applied_is_in_force_before_portals_open(world: World) -> None:
    """As when the other controller answers a claim and ends our target daemon for it."""
    hosts = ["iqn.2026-11.org.example:host-1", "iqn.2026-11.org.example:host-2"]
    real = world.target.apply_node

    def decide_meanwhile(spec: NodeSpec) -> None:
        if hosts:
            with world.database.session() as session:
                nodes.set_initiators(session, nodes.get(session, "a"), [hosts.pop()])
        real(spec)

    world.target.apply_node = decide_meanwhile  # type: ignore[method-assign] # for this test
    assert world.failing() is None
    assert world.target.calls[:4] == ["apply a", "apply a", "apply a", "apply b"]
    assert world.target.specs[world.a].initiators == {"iqn.2026-11.org.example:host-1"}


def test_portals_stay_closed_while_what_was_decided_meanwhile_cannot_be_read(
    world: World, busy: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = world.target.apply_node

    def decide_meanwhile(spec: NodeSpec) -> None:
        with world.database.session() as session:
            nodes.set_initiators(session, nodes.get(session, "a"), ["iqn.2026-11.org.example:host"])
        real(spec)
        busy(refuse=True)

    monkeypatch.setattr(world.target, "apply_node", decide_meanwhile)
    assert isinstance(world.failing(), StateBusy)
    assert world.target.portals() == frozenset()
    busy(refuse=False)
    monkeypatch.setattr(world.target, "apply_node", real)
    assert world.failing() is None
    assert world.target.portals() == PORTALS
    assert world.target.specs[world.a].initiators == {"iqn.2026-11.org.example:host"}


def test_a_vd_that_is_held_back_is_not_served_also_by_a_target_daemon_that_is_new(world: World) -> None:
    world.reconciler.reconcile_now()
    holding_back.hold_back(world.database, "vd1")
    world.reconciler.reconcile_now()
    assert world.target.specs[world.a].luns == ()
    world.target.remove_node(world.a)
    world.reconciler.reconcile_now()
    assert world.target.specs[world.a].luns == ()
    holding_back.serve_again(world.database, "vd1")
    world.reconciler.reconcile_now()
    assert [lun.number for lun in world.target.specs[world.a].luns] == [1]
    assert world.events() == []


def test_one_that_is_held_back_while_it_is_applied_is_taken_away_again(world: World) -> None:
    """And nobody takes it for let go of in between, because the serving lock is held."""
    real = world.target.apply_node
    held: list[bool] = []

    def decide_meanwhile(spec: NodeSpec) -> None:
        holding_back.hold_back(world.database, "vd1")
        real(spec)
        with holding(asking.serving_lock(world.config.tgtd_pid_file), 0) as got:
            held.append(not got)

    world.target.apply_node = decide_meanwhile  # type: ignore[method-assign] # for this test
    assert world.failing() is None
    assert world.target.specs[world.a].luns == ()
    assert held == [True] * 3
    with holding(asking.serving_lock(world.config.tgtd_pid_file), 0) as got:
        assert got


def test_a_node_deleted_while_it_is_applied_is_removed_again(world: World) -> None:
    real = world.target.apply_node

    def delete_meanwhile(spec: NodeSpec) -> None:
        if spec.iqn == world.b:
            with world.database.session() as session:
                nodes.delete(session, "b")
        real(spec)

    world.target.apply_node = delete_meanwhile  # type: ignore[method-assign] # for this test
    assert world.failing() is None
    assert set(world.target.nodes()) == {world.a}
