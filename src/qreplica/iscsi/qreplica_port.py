"""The QReplica port: the last iSCSI port of both controllers, for replication alone.

White paper, “Setup the QReplica port”: hosts cannot log in there once it is enabled, and sessions of jobs leave through
it and nowhere else. Each controller's reconcile loop closes and opens the portal, and cuts off who came in by it.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.cluster import standing
from qreplica.events import log
from qreplica.iscsi.service_errors import HostsOnPort, JobRunsMeanwhile, NoSuchPort, NotTheLastPort
from qreplica.state.models import Job, JobState, Port, Severity

#: The port that can be one.
NUMBER = 4
_RUNNING = (JobState.RUNNING, JobState.STOPPING)


def enable(session: Session, port: tuple[int, int], *, drop_hosts: bool = False, controller: int) -> None:
    """Make the last port of both controllers the QReplica port; ``port`` is that of one of them, and its number.

    Hosts that use it are cut off within seconds if ``drop_hosts``. ``controller`` is the one that is asked. Idempotent.
    Raises NoSuchPort, NotTheLastPort, JobRunsMeanwhile, HostsOnPort.
    """
    ports = _both(session, port)
    if all(one.qreplica for one in ports):
        return
    _refuse_running(session, "enabled")
    alive = {one.number for one in standing.listing(session, controller) if one.alive}
    hosts = [f"{host} on controller {one.controller}" for one in ports if one.controller in alive for host in one.hosts]
    if hosts and not drop_hosts:
        raise HostsOnPort(port=NUMBER, count=len(hosts), hosts=", ".join(hosts))
    for one in ports:
        one.qreplica = True
    dropped = f" {len(hosts)} session(s) of hosts are ended for it: {', '.join(hosts)}." if hosts else ""
    _record(session, "enabled", f"Port {NUMBER} of both controllers is the QReplica port now.{dropped}", controller)


def disable(session: Session, port: tuple[int, int], *, controller: int) -> None:
    """Give the last port of both controllers back to hosts. Idempotent.

    Raises NoSuchPort, NotTheLastPort, JobRunsMeanwhile.
    """
    ports = _both(session, port)
    if not any(one.qreplica for one in ports):
        return
    _refuse_running(session, "disabled")
    for one in ports:
        one.qreplica = False
    _record(session, "disabled", f"Port {NUMBER} of both controllers is an iSCSI port for hosts again.", controller)


def _both(session: Session, port: tuple[int, int]) -> list[Port]:
    """Return the last port of every controller that has been started."""
    owner, number = port
    if session.get(Port, port) is None:
        raise NoSuchPort(controller=owner, port=number)
    if number != NUMBER:
        raise NotTheLastPort(port=number, last=NUMBER)
    return list(session.scalars(select(Port).where(Port.number == NUMBER).order_by(Port.controller)))


def running_jobs(session: Session) -> list[str]:
    """Return the names of the jobs that send by the port just now, if there is one."""
    return list(session.scalars(select(Job.name).where(Job.state.in_(_RUNNING)).order_by(Job.name)))


def _refuse_running(session: Session, what: str) -> None:
    if running := running_jobs(session):
        raise JobRunsMeanwhile(what=what, jobs=", ".join(running))


def _record(session: Session, what: str, message: str, controller: int) -> None:
    log.record(session, Severity.INFO, f"qreplica-port-{what}", f"port {NUMBER}", message, controller=controller)
