"""Interval algebra on extents; pure."""

from collections.abc import Iterable, Iterator

from qreplica.storage.driver import BLOCK, Extent, ExtentKind

Range = tuple[int, int]
"""Offset of the first byte, offset after the last."""


def cover(ranges: Iterable[Range], size: int) -> list[Range]:
    """Return ``ranges`` widened to whole blocks, clipped to ``size``, ascending, with neighbours and overlaps merged.

    ``size`` is a multiple of BLOCK; empty ranges and those beyond it vanish.
    """
    widened = sorted(
        (start // BLOCK * BLOCK, min(-(-end // BLOCK) * BLOCK, size)) for start, end in ranges if start < end
    )
    merged: list[Range] = []
    for start, end in widened:
        if start >= end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def classify(ranges: Iterable[Range], data: Iterable[Range]) -> Iterator[Extent]:
    """Cut ``ranges`` into DATA where they meet ``data``, and ZERO elsewhere; both are ascending and disjoint."""
    parts = iter(data)
    part = next(parts, None)
    for start, end in ranges:
        at = start
        while part is not None and part[0] < end:
            if part[1] > at:
                data_start = max(part[0], at)
                if data_start > at:
                    yield Extent(at, data_start - at, ExtentKind.ZERO)
                at = min(part[1], end)
                yield Extent(data_start, at - data_start, ExtentKind.DATA)
            if part[1] > end:
                break
            part = next(parts, None)
        if at < end:
            yield Extent(at, end - at, ExtentKind.ZERO)
