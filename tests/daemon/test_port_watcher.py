"""Which hosts are logged in by which port is written down."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from qreplica.daemon.config import PortConfig
from qreplica.daemon.port_watcher import PortWatcher
from qreplica.iscsi import ports
from qreplica.iscsi.target.driver import NodeSpec, PortalSpec
from qreplica.iscsi.target.memory import MemoryTargetDriver
from qreplica.state.database import Database

NODE, HOST = "iqn.2026-11.org.qreplica:n", "iqn.2026-11.org.example:host"
FIRST, LAST, ELSEWHERE = PortalSpec("192.168.1.1"), PortalSpec("192.168.1.4"), PortalSpec("192.168.1.4", 9)


class World:
    def __init__(self, place: Path) -> None:
        self.database = Database(f"sqlite:///{place / 'state.db'}")
        self.database.upgrade()
        for controller in (1, 2):
            configured = [
                PortConfig(number=number, interface="p", address=f"192.168.{controller}.{number}") for number in (1, 4)
            ]
            with self.database.session() as session:
                ports.note(session, controller, configured)
        self.target = MemoryTargetDriver()
        self.target.apply_node(NodeSpec(1, NODE, initiators=None))
        self.target.set_portals(frozenset({FIRST, LAST, ELSEWHERE}))
        self.watcher = PortWatcher(self.database, 1, self.target, 3260)

    def seen(self) -> dict[tuple[int, int], list[str]]:
        self.watcher.round()
        with self.database.session(read_only=True) as session:
            return {(one.controller, one.number): one.hosts for one in ports.listing(session) if one.hosts}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.dispose()


def test_hosts_are_seen_by_the_port_they_came_in_by_and_forgotten_when_they_leave(world: World) -> None:
    assert world.seen() == {}
    world.target.log_in(NODE, HOST, "192.168.1.100", LAST)
    assert world.seen() == {(1, 4): [f"{HOST} (192.168.1.100)"]}
    world.target.log_in(NODE, f"{HOST}2", "192.168.1.101", FIRST)
    world.target.log_in(NODE, f"{HOST}3", "192.168.1.102", ELSEWHERE)
    assert world.seen() == {(1, 4): [f"{HOST} (192.168.1.100)"], (1, 1): [f"{HOST}2 (192.168.1.101)"]}
    world.target.set_portals(frozenset({FIRST}))
    assert world.seen() == {(1, 1): [f"{HOST}2 (192.168.1.101)"]}


def test_what_has_not_changed_is_not_written_again(world: World) -> None:
    world.target.log_in(NODE, HOST, "192.168.1.100", LAST)
    world.watcher.round()
    with world.database.session() as session:
        for port in ports.listing(session):
            port.hosts = []
    assert world.seen() == {}
