"""What targets return: INQUIRY data, vital product data pages, capacities, lists of LUNs.

Each function takes the bytes that really arrived; what a target left out reads as zero or empty.
"""

import struct

from qreplica.iscsi.initiator.model import BlockLimits, Capacity, Designator, Inquiry, Provisioning

_BINARY = 1


def _text(data: bytes) -> str:
    return data.decode("ascii", "replace").strip(" \0")


def inquiry(data: bytes) -> Inquiry:
    """Read standard INQUIRY data (SPC-4, 6.6.2)."""
    data = data.ljust(36, b" ")
    return Inquiry(_text(data[8:16]), _text(data[16:32]), _text(data[32:36]), data[0] & 0x1F)


def is_absent(data: bytes) -> bool:
    """Whether INQUIRY data, a page too, say that there is no such LUN (qualifier 011b, SPC-4, 6.6.2)."""
    return bool(data) and data[0] >> 5 == 3  # noqa: PLR2004 - the qualifier's value


def page(data: bytes, code: int) -> bytes:
    """Return the body of a vital product data page (SPC-4, 7.8); empty if it is not page ``code``."""
    if len(data) < 4 or data[1] != code:  # noqa: PLR2004 - the header's size
        return b""
    return data[4 : 4 + int.from_bytes(data[2:4], "big")]


def serial(body: bytes) -> str:
    """Read unit serial number, page 0x80 (SPC-4, 7.8.15)."""
    return _text(body)


def designators(body: bytes) -> list[Designator]:
    """Read device identification, page 0x83 (SPC-4, 7.8.6)."""
    found = []
    while len(body) >= 4:  # noqa: PLR2004 - a designator's header
        code_set, kind, length = body[0] & 0x0F, body[1] & 0x0F, body[3]
        value = body[4 : 4 + length]
        text = value.hex() if code_set == _BINARY else _text(value)
        found.append(Designator(kind, (body[1] >> 4) & 3, text))
        body = body[4 + length :]
    return found


def block_limits(body: bytes) -> BlockLimits:
    """Read block limits, page 0xB0 (SBC-3, 6.5.3)."""
    body = body.ljust(60, b"\0")
    transfer, optimal = struct.unpack_from(">II", body, 4)
    unmap, ranges = struct.unpack_from(">II", body, 16)
    (write_same,) = struct.unpack_from(">Q", body, 32)
    return BlockLimits(transfer, optimal, unmap, ranges, write_same)


def provisioning(body: bytes) -> Provisioning:
    """Read logical block provisioning, page 0xB2 (SBC-3, 6.5.4)."""
    flags = body.ljust(4, b"\0")[1]
    return Provisioning(bool(flags & 0x80), bool(flags & 0x40), bool(flags & 0x04))


def capacity(data: bytes) -> Capacity:
    """Read READ CAPACITY(16) data (SBC-3, 5.16.2)."""
    last, block_size = struct.unpack_from(">QI", data)
    return Capacity(last + 1, block_size, bool(data[14] & 0x80))


def is_write_protected(data: bytes) -> bool:
    """Read MODE SENSE(6) data: the WP bit of the device-specific parameter (SBC-3, 6.4.1)."""
    return len(data) > 2 and bool(data[2] & 0x80)  # noqa: PLR2004 - the byte's place


def luns(data: bytes) -> list[int]:
    """Read REPORT LUNS data: the LUNs in flat or peripheral addressing (SAM-5, 4.7), ascending."""
    size = int.from_bytes(data[:4], "big")
    entries = (data[at : at + 8] for at in range(8, min(len(data), 8 + size) - 7, 8))
    return sorted(int.from_bytes(entry[:2], "big") & 0x3FFF for entry in entries)
