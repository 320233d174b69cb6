"""Sizes, rates and durations: bytes and seconds inside, binary units and words at the edges."""

import re
from fractions import Fraction

from qreplica.errors import Invalid

KIB = 1024
MIB = 1024**2
GIB = 1024**3
TIB = 1024**4

_UNITS = {"": 1, "B": 1, "K": KIB, "M": MIB, "G": GIB, "T": TIB}
#: From here on a number of the next smaller unit would be written as 1024.00.
_ONE = 1 - 0.005 / 1024
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]?)(?:I?B)?", re.ASCII | re.IGNORECASE)


_MINUTES = {"": 1, "m": 1, "min": 1, "h": 60, "d": 24 * 60}
_INTERVAL = re.compile(r"(?P<number>\d{1,9})\s*(?P<unit>m|min|h|d|)", re.ASCII | re.IGNORECASE)


class NotASize(Invalid):
    """A text that should be a size is not one."""

    kind = "not-a-size"
    template = "“{text}” is not a size: write a number with a binary unit, such as 512MiB or 10GiB."


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` names: ``4096``, ``512M``, ``1.5 GiB``; every unit is binary.

    Raises NotASize for anything else, and for a fraction of a byte.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise NotASize(text=text)
    size = Fraction(match["number"]) * _UNITS[match["unit"].upper()]
    if size.denominator != 1:
        raise NotASize(text=text)
    return size.numerator


def format_size(size: float) -> str:
    """Return ``size`` bytes with the largest binary unit that keeps the number, as written, at 1 or more.

    Whole numbers of a unit are written without a fraction, so that figures in sentences stay exact where they can.
    """
    if abs(size) < KIB:
        return f"{size:.0f} B"
    unit, name = next(
        (unit, name)
        for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"))
        if abs(size) / unit >= _ONE
    )
    value = size / unit
    return f"{value:.0f} {name}" if value.is_integer() else f"{value:.2f} {name}"


class NotAnInterval(Invalid):
    """A text that should be an interval of whole minutes is not one."""

    kind = "not-an-interval"
    template = "“{text}” is not an interval: write a whole number of minutes, hours or days, such as 30m, 2h or 1d."


def parse_minutes(text: str) -> int:
    """Return the minutes that ``text`` names: ``30``, ``30m``, ``2h``, ``1d``. Raises NotAnInterval."""
    match = _INTERVAL.fullmatch(text.strip())
    if match is None:
        raise NotAnInterval(text=text)
    return int(match["number"]) * _MINUTES[match["unit"].lower()]


def format_minutes(minutes: int) -> str:
    """Return an interval as ``parse_minutes`` takes it, in the largest unit that it has a whole number of."""
    unit, name = next((unit, name) for unit, name in ((24 * 60, "d"), (60, "h"), (1, "m")) if minutes % unit == 0)
    return f"{minutes // unit}{name}"


def format_rate(bytes_per_second: float) -> str:
    """Return a transfer rate for people, such as ``812.40 MiB/s``."""
    return f"{format_size(bytes_per_second)}/s"


def format_duration(seconds: float) -> str:
    """Return a duration for people: ``4.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if round(seconds, 1) < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - minutes in an hour
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
