"""At its start a controller brings its ports to what was set, or leaves them as they were."""

import socket
from collections.abc import Container, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from qreplica.daemon.config import Config, PortConfig
from qreplica.daemon.port_start import in_force
from qreplica.daemon.state import open_state
from qreplica.iscsi import port_settings
from qreplica.iscsi.addressing import Addressing
from qreplica.iscsi.interfaces import Interface, InterfaceNotSet
from qreplica.state.database import Database
from qreplica.state.models import Event, Port, PortSetting

from ..ports import free_port  # noqa: TID252


class Interfaces:
    """Some in memory; nothing can be brought to ``refused``."""

    def __init__(self) -> None:
        self.addresses: dict[str, set[str]] = {"p1": {"127.0.0.11"}, "p2": {"127.0.0.12"}}
        self.mtu = {"p1": 1500, "p2": 1500}
        self.refused: set[str] = set()

    def look(self, name: str) -> Interface | None:
        if name not in self.mtu:
            return None
        held = frozenset((one, 8) for one in self.addresses[name])
        return Interface(1, is_up=True, mtu=self.mtu[name], largest_mtu=9000, addresses=held)

    def bring(self, name: str, wanted: Addressing, leave: Container[str]) -> None:
        if name not in self.mtu:
            raise InterfaceNotSet(interface=name, addressing=wanted, reason="there is no such interface")
        self.mtu[name] = wanted.mtu or self.mtu[name]
        if wanted.address in self.refused:
            raise InterfaceNotSet(interface=name, addressing=wanted, reason="somebody has it")
        self.addresses[name] = {one for one in self.addresses[name] if one not in leave} | {wanted.address}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    # Of loopback, so that they can be listened on.
    ports = tuple(
        PortConfig(number=number, interface=f"p{number}", address=f"127.0.0.1{number}", prefix_length=8)
        for number in (1, 2)
    )
    return Config(
        subsystem="source",
        controller=1,
        state_dir=tmp_path,
        runtime_dir=tmp_path,
        tgt_control_port=1,
        peer_port=free_port(),
        ports=ports,
    )


@pytest.fixture
def database(config: Config) -> Iterator[Database]:
    made = open_state(config)
    yield made
    made.dispose()


@pytest.fixture
def interfaces() -> Interfaces:
    return Interfaces()


def put(database: Database, **changes: object) -> None:
    with database.session() as session:
        port_settings.put(session, (1, 1), changes, controller=1)


def used(database: Database) -> list[tuple[str, str | None, int | None]]:
    with database.session(read_only=True) as session:
        return [(one.address, one.gateway, one.mtu) for one in session.scalars(select(Port).order_by(Port.number))]


def told(database: Database) -> list[str]:
    with database.session(read_only=True) as session:
        return list(session.scalars(select(Event.message).where(Event.kind == "port-not-set")))


def test_without_a_setting_the_file_counts_and_nothing_is_touched(
    config: Config, database: Database, interfaces: Interfaces
) -> None:
    interfaces.refused = {"127.0.0.11", "127.0.0.12"}
    assert in_force(config, database, interfaces) == config
    assert used(database) == [("127.0.0.11", None, 1500), ("127.0.0.12", None, 1500)]


def test_what_was_set_is_taken_and_the_old_address_left(
    config: Config, database: Database, interfaces: Interfaces
) -> None:
    in_force(config, database, interfaces)
    put(database, address="127.0.0.21", mtu=9000)
    for _ in range(2):
        now = in_force(config, database, interfaces)
        assert [one.address for one in now.ports] == ["127.0.0.21", "127.0.0.12"]
        assert used(database) == [("127.0.0.21", None, 9000), ("127.0.0.12", None, 1500)]
        assert interfaces.addresses == {"p1": {"127.0.0.21"}, "p2": {"127.0.0.12"}}
    put(database, address="127.0.0.31")
    in_force(config, database, interfaces)
    assert interfaces.addresses["p1"] == {"127.0.0.31"}
    assert told(database) == []


def test_the_files_address_that_came_back_by_itself_is_left_again(
    config: Config, database: Database, interfaces: Interfaces
) -> None:
    in_force(config, database, interfaces)
    put(database, address="127.0.0.21")
    in_force(config, database, interfaces)
    interfaces.addresses["p1"] = {"127.0.0.11"}  # as after a restart of the machine
    in_force(config, database, interfaces)
    assert interfaces.addresses["p1"] == {"127.0.0.21"}


def test_an_address_that_another_port_has_by_now_is_not_taken_from_it(
    config: Config, database: Database, interfaces: Interfaces
) -> None:
    shared = config.model_copy(
        update={"ports": (config.ports[0], config.ports[1].model_copy(update={"interface": "p1"}))}
    )
    in_force(shared, database, interfaces)
    interfaces.addresses["p1"] = {"127.0.0.11", "127.0.0.12"}
    put(database, address="127.0.0.21")
    in_force(shared, database, interfaces)
    moved = shared.ports[1].model_copy(update={"address": "127.0.0.11"})
    interfaces.addresses["p1"] |= {"127.0.0.11"}
    in_force(shared.model_copy(update={"ports": (shared.ports[0], moved)}), database, interfaces)
    assert "127.0.0.11" in interfaces.addresses["p1"]


def test_what_cannot_be_set_is_told_and_the_port_stays_as_it_was(
    config: Config, database: Database, interfaces: Interfaces
) -> None:
    in_force(config, database, interfaces)
    put(database, address="127.0.0.21")
    in_force(config, database, interfaces)
    put(database, address="127.0.0.31", mtu=9000)
    interfaces.refused = {"127.0.0.31"}
    now = in_force(config, database, interfaces)
    assert now.ports[0].address == "127.0.0.21"
    assert used(database)[0] == ("127.0.0.21", None, 1500)
    assert interfaces.addresses["p1"] == {"127.0.0.21"}
    (message,) = told(database)
    assert "Port 1 of controller 1 stays at 127.0.0.21/8" in message
    assert "somebody has it" in message
    interfaces.refused = set()
    in_force(config, database, interfaces)
    assert used(database)[0] == ("127.0.0.31", None, 9000)


def test_an_address_where_somebody_listens_is_not_taken(
    config: Config, database: Database, interfaces: Interfaces
) -> None:
    in_force(config, database, interfaces)
    put(database, address="127.0.0.21")
    with socket.create_server(("127.0.0.21", config.peer_port)):
        now = in_force(config, database, interfaces)
    assert now.ports[0].address == "127.0.0.11"
    assert "cannot be listened on because Address already in use" in told(database)[0]


def test_a_missing_interface_keeps_no_daemon_from_starting(
    config: Config, database: Database, interfaces: Interfaces
) -> None:
    in_force(config, database, interfaces)
    put(database, address="127.0.0.21")
    del interfaces.mtu["p1"]
    assert in_force(config, database, interfaces).ports[0].address == "127.0.0.11"
    assert used(database)[0] == ("127.0.0.11", None, None)
    assert "there is no such interface" in told(database)[0]


def test_a_setting_outlives_the_row_of_its_port(config: Config, database: Database, interfaces: Interfaces) -> None:
    in_force(config, database, interfaces)
    put(database, address="127.0.0.21")
    with database.session() as session:
        session.delete(session.get_one(Port, (1, 1)))
        assert session.get(PortSetting, (1, 1)) is not None
    assert in_force(config, database, interfaces).ports[0].address == "127.0.0.21"
