"""Asks a portal which nodes it offers (SendTargets, RFC 7143, appendix C)."""

from qreplica.iscsi.errors import PortalInvalid
from qreplica.iscsi.initiator.connection import Connection
from qreplica.iscsi.initiator.model import Chap, FoundNode, KeepAlive, Portal


def discover(
    portal: Portal,
    initiator_name: str,
    chap: Chap | None = None,
    *,
    interface: str | None = None,
    timeout: float = 10.0,
) -> list[FoundNode]:
    """Return the nodes that the target behind ``portal`` offers to this initiator, in its order.

    ``timeout`` is in seconds, for the login and for the answer each. Portals whose address is no IP address are
    left out. Raises PortalUnreachable, NotIscsi, ChapRefused, LoginRefused, InterfaceUnusable, SessionLost.
    """
    connection = Connection(
        portal,
        None,
        initiator_name,
        chap=chap,
        mutual=None,
        interface=interface,
        header_digest=False,
        timeout=timeout,
        keep_alive=KeepAlive(),
    )
    try:
        return _parse(connection.discover(timeout))
    finally:
        connection.close()


def _parse(text: str) -> list[FoundNode]:
    found: list[tuple[str, list[Portal]]] = []
    for line in text.splitlines():
        if not line.startswith("\t"):
            found.append((line, []))
        elif found and (portal := _portal(line.strip())):
            found[-1][1].append(portal)
    # libiscsi hands out the nodes, and the portals of each, last first.
    return [FoundNode(iqn, tuple(reversed(portals))) for iqn, portals in reversed(found)]


def _portal(text: str) -> Portal | None:
    """Parse ``address[:port][,group]``, where an IPv6 address is in brackets."""
    address, _, _group = text.partition(",")
    host, port = address, "3260"
    if not address.endswith("]") and ":" in address:
        host, _, port = address.rpartition(":")
    try:
        return Portal(host.strip("[]"), int(port))
    except (PortalInvalid, ValueError):
        return None
