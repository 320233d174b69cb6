"""What every target driver promises."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qreplica.iscsi.target.driver import (
    Counters,
    Credentials,
    LunSpec,
    NodeSpec,
    PortalSpec,
    TargetConnection,
    TargetDriver,
)
from qreplica.iscsi.target.errors import (
    AccountTaken,
    FenceNeedsNewTid,
    LunFileUnusable,
    LunMissing,
    NodeMissing,
    NodeSpecInvalid,
    TidTaken,
)
from qreplica.iscsi.target.memory import MemoryTargetDriver

HOST = "iqn.2026-11.org.qreplica:host"
OTHER = "iqn.2026-11.org.qreplica:test.other"


class Memory:
    """The memory driver, and how an initiator logs in to it."""

    def __init__(self) -> None:
        self.driver = MemoryTargetDriver()

        self.portal = PortalSpec("127.0.0.1")
        self.driver.set_portals(frozenset({self.portal}))

    def log_in(self, iqn: str, name: str) -> bool:
        return self.driver.log_in(iqn, name, "127.0.0.1", self.portal) is not None


class Tgt:
    """The same of tgtd."""

    def __init__(self, tgtd: Any, login_refused: type[Exception]) -> None:
        self.driver = tgtd.driver
        self._login_refused = login_refused
        self._tgtd = tgtd
        self._initiators: list[Any] = []
        tgtd.open()
        self.portal = PortalSpec(*tgtd.address)

    def log_in(self, iqn: str, name: str) -> bool:
        initiator = self._tgtd.initiator(iqn, name)
        self._initiators.append(initiator)
        try:
            initiator.log_in()
        except self._login_refused:
            return False
        return True

    def close(self) -> None:
        for initiator in self._initiators:
            initiator.close()


@pytest.fixture(params=["memory", pytest.param("tgt", marks=pytest.mark.root)])
def kind(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "memory":
        yield Memory()
    else:
        tgt = Tgt(request.getfixturevalue("tgtd"), request.getfixturevalue("login_refused"))
        yield tgt
        tgt.close()


@pytest.fixture
def driver(kind: Any) -> TargetDriver:
    return kind.driver


def test_a_node_exists_after_apply_and_not_after_removal(driver: TargetDriver, node: Callable[..., NodeSpec]) -> None:
    spec = node()
    assert driver.nodes() == {}
    driver.apply_node(spec)
    driver.apply_node(spec)
    assert driver.nodes() == {spec.iqn: spec.tid}
    driver.remove_node(spec.iqn)
    driver.remove_node(spec.iqn)
    assert driver.nodes() == {}


def test_only_admitted_initiators_get_in(kind: Any, driver: TargetDriver, node: Callable[..., NodeSpec]) -> None:
    spec = node()
    driver.apply_node(spec)
    assert kind.log_in(spec.iqn, HOST)
    assert not kind.log_in(spec.iqn, f"{HOST}2")
    assert [session.initiator for session in driver.sessions(spec.iqn)] == [HOST]
    assert driver.sessions(spec.iqn)[0].addresses == ("127.0.0.1",)


def test_none_admits_everybody_and_an_empty_set_nobody(
    kind: Any, driver: TargetDriver, node: Callable[..., NodeSpec]
) -> None:
    driver.apply_node(node(initiators=None))
    assert kind.log_in(node().iqn, "iqn.2026-11.com.example:any")
    driver.apply_node(node(initiators=frozenset()))
    assert not kind.log_in(node().iqn, "iqn.2026-11.com.example:any")
    assert not kind.log_in(node().iqn, HOST)


def test_a_changed_admission_leaves_sessions_alone(
    kind: Any, driver: TargetDriver, node: Callable[..., NodeSpec]
) -> None:
    spec = node()
    driver.apply_node(spec)
    assert kind.log_in(spec.iqn, HOST)
    before = driver.sessions(spec.iqn)
    driver.apply_node(replace(spec, initiators=frozenset({f"{HOST}2"})))
    assert driver.sessions(spec.iqn) == before
    assert not kind.log_in(spec.iqn, HOST)
    assert kind.log_in(spec.iqn, f"{HOST}2")


def test_another_number_makes_another_node(kind: Any, driver: TargetDriver, node: Callable[..., NodeSpec]) -> None:
    spec = node()
    driver.apply_node(spec)
    assert kind.log_in(spec.iqn, HOST)
    driver.apply_node(replace(spec, tid=7))
    assert driver.nodes() == {spec.iqn: 7}
    assert driver.sessions(spec.iqn) == []


def test_a_fence_ends_sessions_and_admits_the_new_name_only(
    kind: Any, driver: TargetDriver, node: Callable[..., NodeSpec]
) -> None:
    spec = node()
    driver.apply_node(spec)
    assert kind.log_in(spec.iqn, HOST)
    driver.fence_node(replace(spec, tid=8, initiators=frozenset({f"{HOST}:e2"})), 10)
    assert driver.nodes() == {spec.iqn: 8}
    assert driver.sessions(spec.iqn) == []
    assert not kind.log_in(spec.iqn, HOST)
    assert kind.log_in(spec.iqn, f"{HOST}:e2")


def test_a_fence_of_a_node_that_is_not_there_makes_it(driver: TargetDriver, node: Callable[..., NodeSpec]) -> None:
    driver.fence_node(node(), 10)
    assert driver.nodes() == {node().iqn: node().tid}


def test_a_fence_needs_a_new_number(kind: Any, driver: TargetDriver, node: Callable[..., NodeSpec]) -> None:
    spec = node()
    driver.apply_node(spec)
    assert kind.log_in(spec.iqn, HOST)
    with pytest.raises(FenceNeedsNewTid):
        driver.fence_node(spec, 10)
    assert len(driver.sessions(spec.iqn)) == 1


def test_a_number_belongs_to_one_node(driver: TargetDriver, node: Callable[..., NodeSpec]) -> None:
    driver.apply_node(node())
    with pytest.raises(TidTaken):
        driver.apply_node(node(iqn=OTHER))
    with pytest.raises(TidTaken):
        driver.fence_node(node(iqn=OTHER), 10)
    assert driver.nodes() == {node().iqn: node().tid}


def test_a_chap_name_has_one_secret(driver: TargetDriver, node: Callable[..., NodeSpec]) -> None:
    driver.apply_node(node(chap=Credentials("host", "first-secret-1")))
    with pytest.raises(AccountTaken) as refused:
        driver.apply_node(node(5, iqn=OTHER, chap=Credentials("host", "other-secret-2")))
    assert "secret-" not in str(refused.value)
    assert driver.nodes() == {node().iqn: node().tid}
    driver.apply_node(node(5, iqn=OTHER, chap=Credentials("host", "first-secret-1")))
    assert driver.nodes() == {node().iqn: node().tid, OTHER: 5}


def test_a_chap_name_is_free_again_once_its_node_is_gone(driver: TargetDriver, node: Callable[..., NodeSpec]) -> None:
    driver.apply_node(node(chap=Credentials("host", "first-secret-1")))
    driver.remove_node(node().iqn)
    driver.apply_node(node(5, iqn=OTHER, chap=Credentials("host", "other-secret-2")))
    assert driver.nodes() == {OTHER: 5}


def test_bad_input_changes_nothing(
    driver: TargetDriver, node: Callable[..., NodeSpec], lun: Callable[..., LunSpec]
) -> None:
    spec = node()
    driver.apply_node(spec)
    missing = lun(path=Path("/nonexistent/vd"))
    for change, error in (
        ({"luns": (missing,)}, LunFileUnusable),
        ({"tid": 0}, NodeSpecInvalid),
        ({"initiators": frozenset({"not a name"})}, NodeSpecInvalid),
    ):
        bad = replace(spec, **change)  # type: ignore[arg-type]  # the loop mixes fields
        with pytest.raises(error):
            driver.apply_node(bad)
        with pytest.raises(error):
            driver.fence_node(replace(bad, tid=bad.tid and 9), 10)
    assert driver.nodes() == {spec.iqn: spec.tid}
    assert driver.counters(spec.iqn, 1) == Counters(0, 0, 0, 0)


def test_what_is_not_there_is_named(driver: TargetDriver, node: Callable[..., NodeSpec]) -> None:
    with pytest.raises(NodeMissing):
        driver.sessions(OTHER)
    with pytest.raises(NodeMissing):
        driver.counters(OTHER, 1)
    driver.apply_node(node())
    with pytest.raises(LunMissing):
        driver.counters(node().iqn, 2)


def test_portals_are_exactly_those_asked_for(driver: TargetDriver) -> None:
    first, second, third = (PortalSpec(f"127.0.0.{number}", 0xC0DE) for number in (61, 62, 63))
    driver.set_portals(frozenset({first, second}))
    driver.set_portals(frozenset({first, second}))
    assert driver.portals() == {first, second}
    driver.set_portals(frozenset({second, third}))
    assert driver.portals() == {second, third}
    driver.set_portals(frozenset())
    assert driver.portals() == frozenset()


def test_who_came_in_by_a_portal_is_cut_off_when_that_is_taken_away(
    kind: Any, driver: TargetDriver, node: Callable[..., NodeSpec]
) -> None:
    spec, other = node(), PortalSpec("127.0.0.64", 0xC0DE)
    driver.apply_node(spec)
    driver.set_portals(frozenset({kind.portal, other}))
    assert driver.connections() == []
    assert kind.log_in(spec.iqn, HOST)
    driver.set_portals(frozenset({kind.portal, other}))
    assert driver.connections() == [TargetConnection(kind.portal, "127.0.0.1")]
    assert [one.initiator for one in driver.sessions(spec.iqn)] == [HOST]
    driver.set_portals(frozenset({other}))
    deadline = time.monotonic() + 30
    while driver.sessions(spec.iqn) or driver.connections():
        assert time.monotonic() < deadline, "it was not cut off"
        time.sleep(0.02)
