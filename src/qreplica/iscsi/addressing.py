"""How a port is reached: address, subnet, gateway and MTU, and what is wrong with those that somebody wants. No I/O."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from qreplica.iscsi.service_errors import (
    PortAddressInvalid,
    PortAddressTaken,
    PortGatewayInvalid,
    PortMtuInvalid,
    PortSubnetsOverlap,
)

#: Bytes: what every IPv6 link carries (RFC 8200, 5), and the largest jumbo frame that switches commonly do.
LEAST_MTU, LARGEST_MTU = 1280, 9216
_LONGEST_PREFIX = 32
#: A subnet with a longer prefix has neither a network nor a broadcast address (RFC 3021).
LONGEST_WITH_BROADCAST = 30
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")


@dataclass(frozen=True, slots=True)
class Addressing:
    """An IPv4 address in its subnet, the router to other networks, and the MTU (bytes; None: whatever it is)."""

    address: str
    prefix_length: int
    gateway: str | None = None
    mtu: int | None = None

    @property
    def subnet(self) -> ipaddress.IPv4Network:
        """The subnet of the address."""
        return ipaddress.IPv4Network((self.address, self.prefix_length), strict=False)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.IPv4Address(self.address).is_loopback

    def __str__(self) -> str:
        """For people."""
        router = "" if self.gateway is None else f", gateway {self.gateway}"
        mtu = "" if self.mtu is None else f", MTU {self.mtu} bytes"
        return f"{self.address}/{self.prefix_length}{router}{mtu}"


@dataclass(frozen=True, slots=True)
class OtherPort:
    """Another port of the subsystem: ``present`` is what it uses, ``next`` what after a restart; often the same."""

    controller: int
    number: int
    present: Addressing
    next: Addressing


def check(
    wanted: Addressing,
    port: tuple[int, int],
    before: Addressing,
    others: Iterable[OtherPort],
    largest_mtu: int | None = None,
) -> None:
    """Refuse what cannot work for ``port``, which is a controller and a number, and is to have ``before`` until now.

    ``largest_mtu`` is the interface's (bytes), None where that is not known. An overlap with another port's subnet that
    is there already may stay: the white paper's network has all ports in one. Raises PortAddressInvalid,
    PortAddressTaken, PortSubnetsOverlap, PortGatewayInvalid, PortMtuInvalid.
    """
    controller, number = port
    _check_address(wanted, controller, number, may_be_loopback=before.is_loopback)
    for other in others:
        if wanted.address in {other.present.address, other.next.address}:
            raise PortAddressTaken(
                address=wanted.address,
                port=number,
                controller=controller,
                other_port=other.number,
                other_controller=other.controller,
            )
        if other.controller == controller and not wanted.is_loopback:
            theirs = other.next.subnet
            if wanted.subnet.overlaps(theirs) and not before.subnet.overlaps(theirs):
                raise PortSubnetsOverlap(
                    port=number, controller=controller, subnet=wanted.subnet, other_port=other.number, other=theirs
                )
    _check_gateway(wanted, controller, number)
    _check_mtu(wanted.mtu, controller, number, largest_mtu)


def _check_address(wanted: Addressing, controller: int, number: int, *, may_be_loopback: bool) -> None:
    def refuse(reason: str) -> PortAddressInvalid:
        return PortAddressInvalid(
            address=wanted.address,
            prefix_length=wanted.prefix_length,
            port=number,
            controller=controller,
            reason=reason,
        )

    try:
        address = ipaddress.ip_address(wanted.address)
    except ValueError as error:
        raise refuse("it is not an IP address") from error
    if isinstance(address, ipaddress.IPv6Address):
        raise refuse("it is an IPv6 address, and ports speak IPv4")
    if not 1 <= wanted.prefix_length <= _LONGEST_PREFIX:
        raise refuse("a prefix has from 1 to 32 bits")
    if address.is_loopback and not may_be_loopback:
        raise refuse("it is a loopback address, which no other machine reaches")
    reason = _no_hosts(address, wanted)
    if reason is not None:
        raise refuse(reason)


def _no_hosts(address: ipaddress.IPv4Address, wanted: Addressing) -> str | None:
    """Return why an address is not a host's, None when it can be."""
    if address in _THIS_NETWORK:
        return "an address that begins with 0 is no host's"
    if address.is_multicast:
        return "it is a multicast address"
    if address.is_reserved:
        return "it is of a range that is reserved"
    if wanted.prefix_length > LONGEST_WITH_BROADCAST:
        return None
    if address == wanted.subnet.network_address:
        return f"it is the network address of {wanted.subnet}"
    return f"it is the broadcast address of {wanted.subnet}" if address == wanted.subnet.broadcast_address else None


def _check_gateway(wanted: Addressing, controller: int, number: int) -> None:
    if wanted.gateway is None:
        return

    def refuse(reason: str) -> PortGatewayInvalid:
        return PortGatewayInvalid(
            gateway=wanted.gateway, port=number, controller=controller, reason=reason, subnet=wanted.subnet
        )

    try:
        gateway = ipaddress.IPv4Address(wanted.gateway)
    except ValueError as error:
        raise refuse("it is not an IPv4 address") from error
    if wanted.is_loopback:
        raise refuse("nothing leaves by a loopback address")
    if gateway not in wanted.subnet:
        raise refuse(f"it is not in the port's subnet {wanted.subnet}")
    if str(gateway) == wanted.address:
        raise refuse("it is the port's own address")
    reason = _no_hosts(gateway, wanted)
    if reason is not None:
        raise refuse(reason)


def _check_mtu(mtu: int | None, controller: int, number: int, largest: int | None) -> None:
    most = min(LARGEST_MTU, largest or LARGEST_MTU)
    if mtu is not None and not LEAST_MTU <= mtu <= most:
        raise PortMtuInvalid(mtu=mtu, port=number, controller=controller, least=LEAST_MTU, most=most)
