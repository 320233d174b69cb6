"""Sparse disk images: what is written in one, and how two differ."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qreplica.storage.driver import BLOCK
from qreplica.storage.extents import Range
from qreplica.storage.holes import written
from qreplica.units import MIB

_CHUNK = MIB


@dataclass(frozen=True, slots=True)
class Difference:
    """A range of a newer image, in bytes: changed content, or a hole where the older one had content."""

    offset: int
    length: int
    hole: bool


def differences(older: int, newer: int) -> Iterator[Difference]:
    """Yield what turns image ``older`` into ``newer`` (file descriptors, same size): ascending, in whole blocks.

    Blocks are compared by content; one that became a hole is listed as such if it was not zero before.
    """
    last: Difference | None = None
    for block, hole in _different_blocks(older, newer):
        if last is not None and last.offset + last.length == block and last.hole == hole:
            last = Difference(last.offset, last.length + BLOCK, hole)
            continue
        if last is not None:
            yield last
        last = Difference(block, BLOCK, hole)
    if last is not None:
        yield last


def written_ranges(image: int) -> list[Range]:
    """Return the (start, end) ranges of an image that are not holes."""
    return list(written(image, [(0, os.fstat(image).st_size)]))


def copy(image: Path, to: Path) -> None:
    """Copy an image, holes as holes."""
    with image.open("rb") as source, to.open("xb") as destination:
        destination.truncate(os.fstat(source.fileno()).st_size)
        for start, end in written_ranges(source.fileno()):
            at = start
            while at < end:
                at += os.copy_file_range(source.fileno(), destination.fileno(), end - at, at, at)


def _different_blocks(older: int, newer: int) -> Iterator[tuple[int, bool]]:
    """Yield the offset of each block that differs, and whether it is a hole in ``newer``."""
    before, after = _chunks(older), _chunks(newer)
    holds = _Inside(written_ranges(newer))
    for chunk in sorted(before | after):
        old, new = (os.pread(image, _CHUNK, chunk) for image in (older, newer))
        if old == new:
            continue
        for start in range(0, len(new), BLOCK):
            if old[start : start + BLOCK] != new[start : start + BLOCK]:
                yield chunk + start, not holds(chunk + start)


def _chunks(image: int) -> set[int]:
    return {chunk for start, end in written_ranges(image) for chunk in range(start // _CHUNK * _CHUNK, end, _CHUNK)}


class _Inside:
    """Tells of ascending offsets whether they lie in one of some ascending ranges."""

    def __init__(self, ranges: list[Range]) -> None:
        self._ranges = ranges
        self._at = 0

    def __call__(self, offset: int) -> bool:
        while self._at < len(self._ranges) and self._ranges[self._at][1] <= offset:
            self._at += 1
        return self._at < len(self._ranges) and self._ranges[self._at][0] <= offset
