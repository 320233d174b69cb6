"""The table of ports follows the controllers' configurations."""

from qreplica.daemon.config import PortConfig
from qreplica.iscsi import ports

from .world import World


def configured(*numbers: int, network: int = 1) -> list[PortConfig]:
    return [
        PortConfig(number=number, interface=f"port{number}", address=f"192.168.{network}.{number}", prefix_length=24)
        for number in numbers
    ]


def noted(world: World) -> list[tuple[int, int, str, str]]:
    return world.read(
        lambda session: [
            (port.controller, port.number, port.interface, port.address) for port in ports.listing(session)
        ]
    )


def test_ports_are_noted_changed_and_forgotten(world: World) -> None:
    world.do(ports.note, controller=2, ports=configured(1, 2, network=2))
    world.do(ports.note, controller=1, ports=configured(2, 1))
    first = [(1, 1, "port1", "192.168.1.1"), (1, 2, "port2", "192.168.1.2")]
    second = [(2, 1, "port1", "192.168.2.1"), (2, 2, "port2", "192.168.2.2")]
    assert noted(world) == first + second
    with world.unchanged():
        world.do(ports.note, controller=1, ports=configured(1, 2))
    world.do(ports.note, controller=1, ports=configured(2, 3, network=9))
    assert noted(world) == [(1, 2, "port2", "192.168.9.2"), (1, 3, "port3", "192.168.9.3"), *second]
    assert world.read(lambda session: [one.number for one in ports.controllers(session)]) == [1, 2]


def test_a_port_for_replication_stays_one(world: World) -> None:
    world.do(ports.note, controller=1, ports=configured(3, 4))

    def enable(session: object) -> None:
        for port in ports.listing(session):  # type: ignore[arg-type] # given by ``do``
            port.qreplica = port.number == 4

    world.do(enable)
    world.do(ports.note, controller=1, ports=configured(3, 4))
    assert world.read(lambda session: [port.qreplica for port in ports.listing(session)]) == [False, True]
