"""Sense data in words (SPC-4, 4.5.6 and annex F): the keys, and the codes that block devices send."""

UNIT_ATTENTION = 6
ILLEGAL_REQUEST = 5

LUN_NOT_SUPPORTED = 0x2500
WRITE_PROTECTED = 0x2700

#: Unit attentions that only tell of changes. Others, such as a reset, can mean that unflushed data was lost.
NEWS = frozenset({0x2A01, 0x2A06, 0x2A09, 0x3F03, 0x3F0E})

_KEYS = (
    "no sense",
    "recovered error",
    "not ready",
    "medium error",
    "hardware error",
    "illegal request",
    "unit attention",
    "data protect",
    "blank check",
    "vendor specific",
    "copy aborted",
    "aborted command",
    "reserved",
    "volume overflow",
    "miscompare",
    "completed",
)

_CODES = {
    0x0400: "not ready",
    0x0401: "becoming ready",
    0x0402: "needs to be started",
    0x0403: "needs manual intervention",
    0x0404: "format in progress",
    0x040A: "access is changing over",
    0x040B: "the port is on standby",
    0x040C: "the port is unavailable",
    0x0414: "space allocation in progress",
    0x0800: "communication failed",
    0x0C00: "write error",
    0x0C02: "write error, reallocation failed",
    0x1000: "block guard check failed",
    0x1100: "unrecovered read error",
    0x1D00: "miscompare during verify",
    0x1A00: "wrong parameter list length",
    0x2000: "unknown command",
    0x2100: "block address out of range",
    0x2400: "invalid field in the command",
    0x2500: "no such LUN",
    0x2600: "invalid field in the parameter list",
    0x2700: "write protected",
    0x2707: "no space left for a thin disk",
    0x2800: "medium may have changed",
    0x2900: "power on, reset or bus reset",
    0x2901: "power on",
    0x2902: "bus reset",
    0x2903: "device reset",
    0x2904: "internal reset",
    0x2907: "connection lost to the nexus",
    0x2A01: "mode parameters changed",
    0x2A03: "reservations were preempted",
    0x2A04: "reservations were released",
    0x2A05: "registrations were preempted",
    0x2A06: "access state changed",
    0x2A09: "the capacity has changed",
    0x2F00: "commands were cleared by another initiator",
    0x3807: "the threshold of a thin disk was reached",
    0x3A00: "no medium",
    0x3F01: "microcode changed",
    0x3F03: "INQUIRY data changed",
    0x3F0E: "the list of LUNs has changed",
    0x4400: "internal failure of the target",
    0x4900: "invalid message",
    0x5506: "out of buffers",
}


def in_words(key: int, code: int) -> str:
    """Return a sense key and an additional sense code with its qualifier: ``medium error: write error (0x0c00)``."""
    words = _CODES.get(code)
    return f"{_KEYS[key & 0x0F]}: {words} (0x{code:04x})" if words else f"{_KEYS[key & 0x0F]} (0x{code:04x})"
