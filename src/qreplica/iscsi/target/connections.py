"""The TCP connections of a tgtd: by which portal each came in, which tgtd itself does not tell."""

import contextlib
import socket
from collections.abc import Container, Iterator

from qreplica.iscsi.target.driver import PortalSpec, TargetConnection
from qreplica.iscsi.target.errors import TargetDaemonDown
from qreplica.iscsi.target.mgmt import Management
from qreplica.iscsi.target.sockets import tcp_sockets


def connections(tgtd: Management) -> list[TargetConnection]:
    """Return those that are established. Raises TargetDaemonDown."""
    with _established(tgtd) as found:
        return [connection for _, connection in found]


def end_others(tgtd: Management, portals: Container[PortalSpec]) -> None:
    """End every connection that came in by none of ``portals``. Idempotent. Raises TargetDaemonDown."""
    with _established(tgtd) as found:
        for one, connection in found:
            if connection.portal not in portals:
                with contextlib.suppress(OSError):  # the other end was faster
                    one.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _established(tgtd: Management) -> Iterator[list[tuple[socket.socket, TargetConnection]]]:
    found = []
    with contextlib.ExitStack() as stack:
        try:
            for one in tcp_sockets(tgtd.pid(), stack):
                with contextlib.suppress(OSError):  # ENOTCONN: it listens, or has ended meanwhile
                    peer, local = one.getpeername(), one.getsockname()
                    found.append((one, TargetConnection(PortalSpec(*local[:2]), peer[0])))
        except OSError as error:
            raise TargetDaemonDown(control_port=tgtd.control_port, reason=error.strerror) from error
        yield found
