"""Command descriptor blocks (SPC-4, SBC-3), and the numbers in them."""

import struct
from collections.abc import Sequence

INQUIRY = "INQUIRY"
READ_CAPACITY = "READ CAPACITY"
REPORT_LUNS = "REPORT LUNS"
READ = "READ"
WRITE = "WRITE"
WRITE_SAME = "WRITE SAME"
UNMAP = "UNMAP"
SYNCHRONIZE_CACHE = "SYNCHRONIZE CACHE"
MODE_SENSE = "MODE SENSE"
RESERVE_IN = "PERSISTENT RESERVE IN"
RESERVE_OUT = "PERSISTENT RESERVE OUT"
#: A task management function (SAM-5, 7.7), no command.
RESET = "LOGICAL UNIT RESET"


def inquiry(length: int, page: int | None = None) -> bytes:
    """INQUIRY (SPC-4, 6.6): standard data, or a vital product data page."""
    return struct.pack(">BBBHB", 0x12, page is not None, page or 0, length, 0)


def read_capacity_16(length: int) -> bytes:
    """READ CAPACITY(16) (SBC-3, 5.16)."""
    return struct.pack(">BBQIBB", 0x9E, 0x10, 0, length, 0, 0)


def report_luns(length: int) -> bytes:
    """REPORT LUNS (SPC-4, 6.33), all that are addressable by LUN."""
    return struct.pack(">BBBBBBIBB", 0xA0, 0, 0, 0, 0, 0, length, 0, 0)


def mode_sense_6(length: int) -> bytes:
    """MODE SENSE(6) (SPC-4, 6.13): all pages, without block descriptors."""
    return struct.pack(">BBBBBB", 0x1A, 0x08, 0x3F, 0, length, 0)


def persistent_reserve_in(action: int, length: int) -> bytes:
    """Ask with a service action of PERSISTENT RESERVE IN (SPC-4, 6.15)."""
    return struct.pack(">BB5xHB", 0x5E, action, length, 0)


def persistent_reserve_out(action: int, kind: int, length: int) -> bytes:
    """Change by a service action of PERSISTENT RESERVE OUT (SPC-4, 6.16): a reservation's type, for the whole LUN."""
    return struct.pack(">BBB2xIB", 0x5F, action, kind, length, 0)


def reserve_out_list(key: int, action_key: int, *, through_power_loss: bool) -> bytes:
    """Return the parameter list of PERSISTENT RESERVE OUT (SPC-4, 6.16.3); the last asks for APTPL."""
    return struct.pack(">QQ4xB3x", key, action_key, 1 if through_power_loss else 0)


def read_16(lba: int, blocks: int) -> bytes:
    """READ(16) (SBC-3, 5.15)."""
    return struct.pack(">BBQIBB", 0x88, 0, lba, blocks, 0, 0)


def write_16(lba: int, blocks: int) -> bytes:
    """WRITE(16) (SBC-3, 5.38)."""
    return struct.pack(">BBQIBB", 0x8A, 0, lba, blocks, 0, 0)


def write_same_16(lba: int, blocks: int, *, unmap: bool) -> bytes:
    """WRITE SAME(16) (SBC-3, 5.44): repeat one block; with ``unmap`` a zero block gives its space back."""
    return struct.pack(">BBQIBB", 0x93, 0x08 if unmap else 0, lba, blocks, 0, 0)


def unmap(length: int) -> bytes:
    """UNMAP (SBC-3, 5.28) with a parameter list of ``length`` bytes."""
    return struct.pack(">BBIBHB", 0x42, 0, 0, 0, length, 0)


def unmap_list(ranges: Sequence[tuple[int, int]]) -> bytes:
    """Return UNMAP's parameter list for (LBA, blocks) pairs."""
    size = 16 * len(ranges)
    head = struct.pack(">HHI", size + 6, size, 0)
    return head + b"".join(struct.pack(">QII", lba, blocks, 0) for lba, blocks in ranges)


def synchronize_cache_16() -> bytes:
    """SYNCHRONIZE CACHE(16) (SBC-3, 5.27): everything, and answer only when done."""
    return struct.pack(">BBQIBB", 0x91, 0, 0, 0, 0, 0)
