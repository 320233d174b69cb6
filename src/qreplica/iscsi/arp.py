"""Asks the network whether somebody has an IPv4 address already, and tells it who has it now (RFC 5227)."""

import ipaddress
import select
import socket
import struct
import time

_ARP, _IPV4 = 0x0806, 0x0800
_REQUEST = 1
_ETHERNET = 1
_BROADCAST, _UNKNOWN = b"\xff" * 6, b"\x00" * 6
_NOBODY = b"\x00" * 4
#: The body of a packet for Ethernet and IPv4 (RFC 826), and how long it is.
_FORMAT = struct.Struct("!HHBBH6s4s6s4s")
_HEADER = 14
#: Less patient than RFC 5227, which asks for seconds: a neighbour on a port's network answers within milliseconds.
_PROBES, _PAUSE = 3, 0.2


def holder(interface: str, address: str) -> str | None:
    """Return the hardware address of who else has ``address`` on the interface's network, None when nobody answers.

    Nor does anybody where the interface is no Ethernet. Raises OSError.
    """
    wanted = ipaddress.IPv4Address(address).packed
    with _opened(interface) as raw:
        own, kind = _own(raw)
        if kind != _ETHERNET:
            return None
        for _ in range(_PROBES):
            raw.send(_frame(own, _NOBODY, wanted))
            deadline = time.monotonic() + _PAUSE
            while (left := deadline - time.monotonic()) > 0 and select.select([raw], [], [], left)[0]:
                sender, claimed = _sender(raw.recv(2048))
                if claimed == wanted and sender != own:
                    return sender.hex(":")
    return None


def announce(interface: str, address: str) -> None:
    """Tell the interface's network that the address is here now, so that nobody goes on with what it knew before.

    Raises OSError.
    """
    ours = ipaddress.IPv4Address(address).packed
    with _opened(interface) as raw:
        own, kind = _own(raw)
        if kind == _ETHERNET:
            raw.send(_frame(own, ours, ours))


def _opened(interface: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(_ARP))
    try:
        raw.bind((interface, _ARP))
    except OSError:
        raw.close()
        raise
    return raw


def _own(raw: socket.socket) -> tuple[bytes, int]:
    """Return the interface's hardware address and its kind."""
    _, _, _, kind, own = raw.getsockname()
    return own, kind


def _frame(own: bytes, sender: bytes, target: bytes) -> bytes:
    body = _FORMAT.pack(_ETHERNET, _IPV4, len(own), len(target), _REQUEST, own, sender, _UNKNOWN, target)
    return _BROADCAST + own + struct.pack("!H", _ARP) + body


def _sender(frame: bytes) -> tuple[bytes, bytes]:
    """Return who a packet says that it is from; nobody for one that is too short."""
    body = frame[_HEADER : _HEADER + _FORMAT.size]
    if len(body) < _FORMAT.size:
        return b"", b""
    fields = _FORMAT.unpack(body)
    return fields[5], fields[6]
