"""The TCP connections of a tgtd: by which portal each came in, which tgtd itself does not tell."""

import contextlib
import socket
from collections.abc import Container, Iterator

from qreplica.iscsi.target.driver import PortalSpec, TargetConnection
from qreplica.iscsi.target.sockets import tcp_sockets


def connections(pid: int) -> list[TargetConnection]:
    """Return those of the process that are established. Raises OSError when it is gone."""
    with contextlib.ExitStack() as stack:
        return [found for _, found in _established(pid, stack)]


def end_others(pid: int, portals: Container[PortalSpec]) -> None:
    """End every connection that came in by none of ``portals``. Idempotent. Raises OSError when it is gone."""
    with contextlib.ExitStack() as stack:
        for one, found in _established(pid, stack):
            if found.portal not in portals:
                with contextlib.suppress(OSError):  # the other end was faster
                    one.shutdown(socket.SHUT_RDWR)


def _established(pid: int, stack: contextlib.ExitStack) -> Iterator[tuple[socket.socket, TargetConnection]]:
    for one in tcp_sockets(pid, stack):
        with contextlib.suppress(OSError):  # ENOTCONN: it listens, or has ended meanwhile
            peer, local = one.getpeername(), one.getsockname()
            yield one, TargetConnection(PortalSpec(*local[:2]), peer[0])
