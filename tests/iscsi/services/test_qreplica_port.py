"""The last port of both controllers becomes the QReplica port, and an iSCSI port again."""

import pytest
from sqlalchemy import select

from qreplica.daemon.config import PortConfig
from qreplica.iscsi import ports, qreplica_port
from qreplica.iscsi.service_errors import HostsOnPort, JobRunsMeanwhile, NoSuchPort, NotTheLastPort
from qreplica.state.models import Controller, Event, Job, JobState, Port, VirtualDisk, now

from .world import World

HOST = "iqn.2026-11.org.example:host (192.168.1.100)"


def note(world: World, controller: int, *numbers: int) -> None:
    configured = [
        PortConfig(number=number, interface=f"p{number}", address=f"192.168.{controller}.{number}")
        for number in numbers
    ]
    world.do(ports.note, controller=controller, ports=configured)


@pytest.fixture
def ported(world: World) -> World:
    for controller in (1, 2):
        note(world, controller, 1, 4)
        with world.database.session() as session:
            session.get_one(Controller, controller).heartbeat_at = now()
    return world


def enabled(world: World) -> list[tuple[int, int]]:
    chosen = select(Port).where(Port.qreplica.is_(True)).order_by(Port.controller)
    return world.read(lambda session: [(one.controller, one.number) for one in session.scalars(chosen)])


def change(world: World, **columns: object) -> None:
    with world.database.session() as session:
        port = session.get_one(Port, (2, 4))
        for name, value in columns.items():
            setattr(port, name, value)


def job(world: World, state: JobState) -> None:
    facts = {"target_subsystem": "t", "target_node": "n", "target_lun": 1, "target_vd": "b", "target_serial": "s"}
    with world.database.session() as session:
        vd = session.scalars(select(VirtualDisk).where(VirtualDisk.name == "v1")).one()
        session.merge(
            Job(id="j1", name="nightly", source_vd_id=vd.id, target_size=vd.size, controller=1, state=state, **facts)
        )


def test_that_of_one_controller_is_that_of_both(ported: World) -> None:
    ported.do(qreplica_port.enable, port=(1, 4), controller=1)
    assert enabled(ported) == [(1, 4), (2, 4)]
    with ported.unchanged():
        ported.do(qreplica_port.enable, port=(2, 4), controller=1)
    assert ported.read(lambda session: ports.open_to_hosts(session, 1)) == {"192.168.1.1"}
    ported.do(qreplica_port.disable, port=(2, 4), controller=1)
    assert enabled(ported) == []
    with ported.unchanged():
        ported.do(qreplica_port.disable, port=(1, 4), controller=1)
    assert ported.read(lambda session: ports.open_to_hosts(session, 1)) == {"192.168.1.1", "192.168.1.4"}
    told = ported.read(lambda session: list(session.scalars(select(Event.kind).order_by(Event.id))))
    assert told[-2:] == ["qreplica-port-enabled", "qreplica-port-disabled"]


def test_a_controller_that_is_started_later_has_it_too(world: World) -> None:
    note(world, 1, 4)
    world.do(qreplica_port.enable, port=(1, 4), controller=1)
    note(world, 2, 3, 4)
    assert enabled(world) == [(1, 4), (2, 4)]


@pytest.mark.parametrize(("port", "error"), [((1, 1), NotTheLastPort), ((1, 3), NoSuchPort), ((3, 4), NoSuchPort)])
def test_no_other_port_can_be_it(ported: World, port: tuple[int, int], error: type[Exception]) -> None:
    for what in (qreplica_port.enable, qreplica_port.disable):
        with ported.unchanged(), pytest.raises(error):
            ported.do(what, port=port, controller=1)


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.STOPPING])
def test_nothing_changes_while_a_job_runs(ported: World, state: JobState) -> None:
    job(ported, state)
    with ported.unchanged(), pytest.raises(JobRunsMeanwhile, match="nightly"):
        ported.do(qreplica_port.enable, port=(1, 4), drop_hosts=True, controller=1)
    job(ported, JobState.IDLE)
    ported.do(qreplica_port.enable, port=(1, 4), controller=1)
    job(ported, state)
    with ported.unchanged(), pytest.raises(JobRunsMeanwhile, match="disabled"):
        ported.do(qreplica_port.disable, port=(1, 4), controller=1)
    # A job that waits for a path may wait for just this.
    job(ported, JobState.WAITING)
    ported.do(qreplica_port.disable, port=(1, 4), controller=1)


def test_hosts_that_use_it_are_named_or_dropped(ported: World) -> None:
    change(ported, hosts=[HOST])
    with ported.unchanged(), pytest.raises(HostsOnPort) as caught:
        ported.do(qreplica_port.enable, port=(1, 4), controller=1)
    assert f"{HOST} on controller 2" in str(caught.value)
    ported.do(qreplica_port.enable, port=(1, 4), drop_hosts=True, controller=1)
    assert enabled(ported) == [(1, 4), (2, 4)]
    message = ported.read(lambda session: session.scalars(select(Event.message).order_by(Event.id)).all()[-1])
    assert HOST in message


def test_what_a_dead_controller_saw_last_hinders_nothing(ported: World) -> None:
    change(ported, hosts=[HOST])
    with ported.database.session() as session:
        session.get_one(Controller, 2).heartbeat_at = None
    ported.do(qreplica_port.enable, port=(1, 4), controller=1)
    assert enabled(ported) == [(1, 4), (2, 4)]
    note(ported, 2, 1, 4)
    assert ported.read(lambda session: session.get_one(Port, (2, 4)).hosts) == []
