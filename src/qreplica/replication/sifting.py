"""Decides what a full copy must send onto a backup VD that holds something already. Pure but for reading the source."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from qreplica.replication.digests import of_zeros
from qreplica.storage.driver import Extent, ExtentKind


@dataclass(frozen=True, slots=True)
class Window:
    """What is known of the VD up to ``end``: ``different`` is to be sent, ascending, and ``same`` bytes need not be.

    ``compared`` are the bytes of chunks whose digests were compared; where the target holds zeros there is none.
    """

    end: int
    different: list[Extent]
    same: int
    compared: int


@dataclass(frozen=True, slots=True)
class Theirs:
    """What the target told: the digest of each chunk with data from ``start`` to ``end``, all else there is zeros.

    ``start`` and the offsets of ``digests`` are multiples of ``chunk``; the last chunk may end with the VD before. None
    stands for what nobody can read there.
    """

    start: int
    end: int
    chunk: int
    digests: Mapping[int, str | None]


def sift(extents: Sequence[Extent], start: int, theirs: Theirs, ours: Callable[[int, int], str]) -> Window:
    """Return what of ``extents``, which cover the whole VD, must be sent so that the target holds the same.

    Nothing below ``start`` is sent, which may lie within a chunk. ``ours`` gives the digest of a range of the source;
    it is asked only where both sides hold data.
    """
    different = _Joined()
    compared, at = 0, max(start, theirs.start)
    for offset in sorted(theirs.digests):
        end = min(offset + theirs.chunk, theirs.end)
        if end <= start:
            continue
        different.add(_data(extents, at, offset))
        at = max(offset, start)
        compared += end - at
        if theirs.digests[offset] != _digest(extents, offset, end, ours):
            different.add(clipped(extents, at, end))
        at = end
    different.add(_data(extents, at, theirs.end))
    length = max(0, theirs.end - max(start, theirs.start))
    return Window(theirs.end, different.extents, length - sum(one.length for one in different.extents), compared)


def clipped(extents: Sequence[Extent], start: int, end: int) -> Iterator[Extent]:
    """Yield the parts of ascending, disjoint extents that lie in a range."""
    for index in range(max(0, bisect_right(extents, start, key=attrgetter("offset")) - 1), len(extents)):
        extent = extents[index]
        if extent.offset >= end:
            return
        first, last = max(extent.offset, start), min(extent.end, end)
        if first < last:
            yield Extent(first, last - first, extent.kind)


def _data(extents: Sequence[Extent], start: int, end: int) -> Iterator[Extent]:
    """Yield what must be sent where the target holds zeros."""
    return (one for one in clipped(extents, start, end) if one.kind is ExtentKind.DATA)


def _digest(extents: Sequence[Extent], start: int, end: int, ours: Callable[[int, int], str]) -> str:
    if all(one.kind is ExtentKind.ZERO for one in clipped(extents, start, end)):
        return of_zeros(end - start)
    return ours(start, end - start)


class _Joined:
    """Extents of one kind that touch become one."""

    def __init__(self) -> None:
        self.extents: list[Extent] = []

    def add(self, extents: Iterator[Extent]) -> None:
        for one in extents:
            last = self.extents[-1] if self.extents else None
            if last is not None and last.end == one.offset and last.kind is one.kind:
                self.extents[-1] = Extent(last.offset, last.length + one.length, one.kind)
            else:
                self.extents.append(one)
