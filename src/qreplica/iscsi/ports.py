"""The iSCSI ports of the controllers, as their configuration names them."""

from collections.abc import Iterable

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from qreplica.daemon.config import PortConfig
from qreplica.state.models import Controller, Port, PortSetting


def note(session: Session, controller: int, ports: Iterable[PortConfig]) -> None:
    """Bring the table to what the controller was configured with; idempotent.

    Its last port is the QReplica port if the other controller's is. Nobody is logged in by any of them yet. What was
    set for a port that is there no more is forgotten.
    """
    owner = session.get(Controller, controller)
    if owner is None:
        owner = Controller(number=controller)
        session.add(owner)
    present = {port.number: port for port in owner.ports}
    wanted = {port.number: port for port in ports}
    for number, port in present.items():
        if number not in wanted:
            owner.ports.remove(port)
            gone = (PortSetting.controller == controller, PortSetting.number == number)
            session.execute(delete(PortSetting).where(*gone))
    for number, configured in wanted.items():
        row = present.get(number)
        if row is None:
            row = Port(number=number, qreplica=_others_is_qreplica(session, controller, number))
            owner.ports.append(row)
        row.hosts = []
        row.interface, row.address = configured.interface, configured.address
        row.prefix_length = configured.prefix_length


def _others_is_qreplica(session: Session, controller: int, number: int) -> bool:
    others = select(Port.qreplica).where(Port.controller != controller, Port.number == number)
    return any(session.scalars(others))


def open_to_hosts(session: Session, controller: int) -> frozenset[str]:
    """Return the addresses of the controller's ports that hosts may log in by."""
    chosen = select(Port.address).where(Port.controller == controller, Port.qreplica.is_(False))
    return frozenset(session.scalars(chosen))


def listing(session: Session) -> list[Port]:
    """Return all ports by controller and number."""
    return list(session.scalars(select(Port).order_by(Port.controller, Port.number)))


def controllers(session: Session) -> list[Controller]:
    """Return the controllers by number."""
    return list(session.scalars(select(Controller).order_by(Controller.number)))
