"""Finds the written parts of a sparse file with SEEK_DATA and SEEK_HOLE (lseek(2)); reads nothing."""

import errno
import os
from collections.abc import Iterable, Iterator

from qreplica.storage.driver import BLOCK
from qreplica.storage.extents import Range


def written(fd: int, within: Iterable[Range]) -> Iterator[Range]:
    """Yield the written ranges of ``fd`` that meet the ascending, disjoint, aligned ranges ``within``.

    They are widened to whole blocks, clipped to the range they are in, ascending, and disjoint. One that fills its
    range's beginning may be one of a run that a neighbouring range goes on with.
    """
    data: Range = (0, 0)
    for start, end in within:
        at = start
        while at < end:
            if at >= data[1]:
                data = _next_data(fd, at)
            piece = (max(data[0], at), min(data[1], end))
            if piece[0] >= end:
                break
            yield piece
            at = piece[1]


def next_written(fd: int, at: int) -> int | None:
    """Return the first offset from ``at`` on that is no hole, None when there is none."""
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None


def _next_data(fd: int, at: int) -> Range:
    start = next_written(fd, at)
    if start is None:
        beyond = 1 << 62
        return (beyond, beyond)
    end = os.lseek(fd, start, os.SEEK_HOLE)
    return (start // BLOCK * BLOCK, -(-end // BLOCK) * BLOCK)
