"""Which ranges of two disks differ, by the digests of their chunks; and extents that are to send them too. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import attrgetter

from qreplica.storage.driver import Extent, ExtentKind
from qreplica.units import MIB

#: A range in bytes: offset and length.
Range = tuple[int, int]


def differing(  # noqa: PLR0917 - a range, and what both sides told of it
    start: int,
    end: int,
    chunk: int,
    ours: Mapping[int, str | None],
    theirs: Mapping[int, str | None],
    zeros: Callable[[int], str],
) -> list[Range]:
    """Return where two disks differ between ``start`` and ``end``, ascending; neighbours are one range.

    Each has the digest of its chunks with data, by offsets that are multiples of ``chunk``, None for one that cannot be
    read; the others are ``zeros``. The last chunk may end before, with the disk.
    """
    found: list[Range] = []
    for offset in sorted(ours.keys() | theirs.keys()):
        if start <= offset < end:
            length = min(chunk, end - offset)
            one = ours.get(offset, zeros(length))
            if one is None or one != theirs.get(offset, zeros(length)):
                found.append((offset, length))
    return joined(found)


def joined(ranges: Iterable[Range]) -> list[Range]:
    """Return ranges that cover the same bytes, ascending and apart from each other."""
    made: list[Range] = []
    for offset, length in sorted(ranges):
        if made and offset <= sum(made[-1]):
            first, _ = made[-1]
            made[-1] = (first, max(sum(made[-1]), offset + length) - first)
        else:
            made.append((offset, length))
    return made


def bounded(ranges: Iterable[Range], most: int) -> list[Range]:
    """Return at most so many ranges that cover at least the same bytes: of more, those near each other become one."""
    made, gap = joined(ranges), MIB
    while len(made) > most:
        made = [(offset, length - gap) for offset, length in joined((at, size + gap) for at, size in made)]
        gap *= 2
    return made


def with_ranges(extents: Sequence[Extent], ranges: Iterable[Range], size: int) -> list[Extent]:
    """Return the extents of a delta, and between them, as data, what of the ranges below ``size`` they do not cover.

    The extents are ascending and disjoint; so is what is returned.
    """
    return sorted(chain(extents, _uncovered(extents, ranges, size)), key=attrgetter("offset"))


def _uncovered(extents: Sequence[Extent], ranges: Iterable[Range], size: int) -> Iterable[Extent]:
    index = 0
    for offset, length in joined(ranges):
        at, end = offset, min(offset + length, size)
        while index < len(extents) and extents[index].end <= at:
            index += 1
        after = index
        while at < end:
            covered = extents[after] if after < len(extents) else None
            until = end if covered is None else min(end, covered.offset)
            if at < until:
                yield Extent(at, until - at, ExtentKind.DATA)
            at = end if covered is None else max(until, covered.end)
            after += 1
