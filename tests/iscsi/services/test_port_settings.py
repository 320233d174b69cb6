"""What is set for a port is kept for its controller's next start, and checked against all other ports."""

from typing import Any

import pytest
from sqlalchemy import select

from qreplica.daemon.config import PortConfig
from qreplica.iscsi import port_settings, ports, qreplica_port
from qreplica.iscsi.addressing import Addressing
from qreplica.iscsi.service_errors import (
    HostsUsePort,
    JobsUsePort,
    NoSuchPort,
    NothingToSet,
    PortAddressTaken,
    PortGatewayInvalid,
    PortMtuInvalid,
    PortSubnetsOverlap,
)
from qreplica.state.models import Controller, Event, Job, JobState, Port, PortSetting, VirtualDisk, now

from .world import World

HOST = "iqn.2026-11.org.example:host (192.168.1.100)"


@pytest.fixture
def ported(world: World) -> World:
    """Two controllers, each with ports 1 and 4 in subnets of their own."""
    for controller in (1, 2):
        configured = [
            PortConfig(number=number, interface=f"p{number}", address=f"10.{controller}.{number}.1")
            for number in (1, 4)
        ]
        world.do(ports.note, controller=controller, ports=configured)
        with world.database.session() as session:
            session.get_one(Controller, controller).heartbeat_at = now()
    return world


def put(world: World, port: tuple[int, int] = (2, 1), **changes: Any) -> None:
    drop_hosts = changes.pop("drop_hosts", False)
    world.do(port_settings.put, port=port, changes=changes, drop_hosts=drop_hosts, controller=1)


def change(world: World, **columns: object) -> None:
    with world.database.session() as session:
        port = session.get_one(Port, (2, 4))
        for name, value in columns.items():
            setattr(port, name, value)


def pending(world: World, port: tuple[int, int] = (2, 1)) -> Addressing | None:
    return world.read(lambda session: port_settings.pending(session, session.get_one(Port, port)))


def test_what_is_set_waits_for_the_controllers_start(ported: World) -> None:
    assert pending(ported) is None
    put(ported, address="10.2.1.7", prefix_length=25, gateway="10.2.1.1")
    wanted = Addressing("10.2.1.7", 25, "10.2.1.1")
    assert pending(ported) == wanted
    assert ported.read(lambda session: session.get_one(Port, (2, 1)).address) == "10.2.1.1"
    with ported.unchanged():
        put(ported, address="10.2.1.7")
    put(ported, mtu=9000)
    assert pending(ported) == Addressing("10.2.1.7", 25, "10.2.1.1", 9000)
    put(ported, gateway=None, mtu=None)
    assert pending(ported) == Addressing("10.2.1.7", 25)
    put(ported, address="10.2.1.1", prefix_length=24)
    assert pending(ported) is None
    event = ported.read(lambda session: session.scalars(select(Event).order_by(Event.id)).all()[0])
    assert (event.kind, event.subject) == ("port-set", "port 1")
    assert "Port 1 of controller 2 has 10.2.1.7/25, gateway 10.2.1.1 from the next start" in event.message


@pytest.mark.parametrize(
    ("port", "changes", "error"),
    [
        ((1, 2), {"address": "10.0.0.1"}, NoSuchPort),
        ((2, 1), {}, NothingToSet),
        ((2, 1), {"address": "10.1.1.1"}, PortAddressTaken),
        ((2, 1), {"address": "10.2.4.9"}, PortSubnetsOverlap),
        ((2, 1), {"prefix_length": 16}, PortSubnetsOverlap),
        ((2, 1), {"gateway": "10.2.2.1"}, PortGatewayInvalid),
        ((2, 1), {"mtu": 1000}, PortMtuInvalid),
    ],
)
def test_what_is_refused_changes_nothing(
    ported: World, port: tuple[int, int], changes: dict[str, Any], error: type[Exception]
) -> None:
    with ported.unchanged(), pytest.raises(error):
        put(ported, port, **changes)


def test_an_address_that_another_port_waits_for_is_taken(ported: World) -> None:
    put(ported, (1, 1), address="10.7.0.1")
    with ported.unchanged(), pytest.raises(PortAddressTaken, match=r"that of port 1 of controller 1"):
        put(ported, (2, 1), address="10.7.0.1")
    with ported.unchanged(), pytest.raises(PortSubnetsOverlap):
        put(ported, (1, 4), address="10.7.0.2")
    put(ported, (2, 1), address="10.7.0.2")


def test_the_interfaces_largest_mtu_counts(ported: World) -> None:
    change(ported, largest_mtu=1500)
    with ported.unchanged(), pytest.raises(PortMtuInvalid, match="from 1280 to 1500"):
        put(ported, (2, 4), mtu=9000)
    put(ported, (2, 4), mtu=1400)


def test_the_qreplica_port_stays_while_a_job_runs(ported: World) -> None:
    ported.do(qreplica_port.enable, port=(1, 4), controller=1)
    facts = {"target_subsystem": "t", "target_node": "n", "target_lun": 1, "target_vd": "b", "target_serial": "s"}
    with ported.database.session() as session:
        vd = session.scalars(select(VirtualDisk).where(VirtualDisk.name == "v1")).one()
        session.add(Job(name="nightly", source_vd_id=vd.id, target_size=vd.size, state=JobState.RUNNING, **facts))
    with ported.unchanged(), pytest.raises(JobsUsePort, match="nightly"):
        put(ported, (2, 4), mtu=9000, drop_hosts=True)
    put(ported, (2, 1), mtu=9000)  # another port is no matter of the job's
    with ported.database.session() as session:
        session.query(Job).one().state = JobState.IDLE
    put(ported, (2, 4), mtu=9000)


def test_hosts_that_use_it_are_named_or_dropped(ported: World) -> None:
    change(ported, hosts=[HOST])
    with ported.unchanged(), pytest.raises(HostsUsePort, match="1 host session"):
        put(ported, (2, 4), address="10.2.4.2")
    put(ported, (2, 4), address="10.2.4.2", drop_hosts=True)
    message = ported.read(lambda session: session.scalars(select(Event.message).order_by(Event.id)).all()[-1])
    assert f"1 session(s) of hosts end then: {HOST}." in message
    with ported.database.session() as session:
        session.get_one(Controller, 2).heartbeat_at = None
    put(ported, (2, 4), address="10.2.4.3")  # what a dead controller saw last hinders nothing


def test_the_setting_of_a_port_that_is_no_more_is_forgotten(ported: World) -> None:
    put(ported, (2, 1), mtu=9000)
    put(ported, (2, 4), mtu=9000)
    left = [PortConfig(number=4, interface="p4", address="10.2.4.1")]
    ported.do(ports.note, controller=2, ports=left)
    assert ported.read(lambda session: [one.number for one in session.scalars(select(PortSetting))]) == [4]
