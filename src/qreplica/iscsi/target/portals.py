"""The portals of one tgtd."""

import ipaddress

from qreplica.iscsi.target import parse
from qreplica.iscsi.target.connections import end_others
from qreplica.iscsi.target.driver import PortalSpec
from qreplica.iscsi.target.errors import PortalUnusable, TargetCommandFailed
from qreplica.iscsi.target.mgmt import Management, Mode, Op


def listening(tgtd: Management) -> frozenset[PortalSpec]:
    """Return what tgtd listens on."""
    return parse.portals(tgtd.request(Mode.PORTAL, Op.SHOW))


def listen_on(tgtd: Management, portals: frozenset[PortalSpec]) -> None:
    """Listen on exactly these: close first, then open what can be opened.

    Who came in by another one is cut off. Raises PortalUnusable.
    """
    wanted = frozenset(_canonical(portal) for portal in portals)
    present = listening(tgtd)
    for portal in present - wanted:
        _close(tgtd, portal)
    end_others(tgtd, wanted)
    unusable = None
    for portal in sorted(wanted - present, key=_parameter):
        try:
            tgtd.request(Mode.PORTAL, Op.NEW, _parameter(portal))
        except TargetCommandFailed:
            unusable = portal
    if unusable is not None:
        raise PortalUnusable(address=unusable.address, port=unusable.port)


def _close(tgtd: Management, portal: PortalSpec) -> None:
    """Close a portal, unless somebody else has: who starts a tgtd takes its first one away too."""
    try:
        tgtd.request(Mode.PORTAL, Op.DELETE, _parameter(portal))
    except TargetCommandFailed:
        if portal in listening(tgtd):
            raise


def _canonical(portal: PortalSpec) -> PortalSpec:
    """Return the portal with its address as tgtd writes it. Raises PortalUnusable for what is no address."""
    try:
        return PortalSpec(str(ipaddress.ip_address(portal.address)), portal.port)
    except ValueError as error:
        raise PortalUnusable(address=portal.address, port=portal.port) from error


def _parameter(portal: PortalSpec) -> str:
    """Return a portal as a request names it; an IPv6 address goes in brackets."""
    address = f"[{portal.address}]" if ":" in portal.address else portal.address
    return f"portal={address}:{portal.port}"
