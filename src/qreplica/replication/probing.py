"""Finds out whether a path that failed works again, without claiming anything or logging in."""

import socket

from qreplica.iscsi.errors import PortalUnreachable
from qreplica.peer.client import PeerClient
from qreplica.replication.links import Target, Way, check_subsystem

#: Seconds for each of the two questions.
PATIENCE = 3.0


def probe(target: Target, way: Way) -> None:
    """Return if both TCP ports answer there, and as the job's target with its node. A plain target has but one port.

    Raises PortalUnreachable, PathToAnotherSubsystem, NodeNotOffered, and what ``PeerClient.nodes`` does.
    """
    _connect(way, target.interface)
    if target.plain is not None:
        return
    with PeerClient(way.address, way.peer_port, None, interface=target.interface, timeout=PATIENCE) as client:
        here = client.nodes()
    check_subsystem(here, target, way)


def _connect(way: Way, interface: str | None) -> None:
    family = socket.AF_INET6 if ":" in way.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as link:
        link.settimeout(PATIENCE)
        try:
            if interface is not None:
                link.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
            link.connect((way.address, way.port))
        except OSError as error:
            raise PortalUnreachable(portal=way.portal, reason=error.strerror or str(error)) from error
