"""Cuts a plan's extents into what single commands carry."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from qreplica.storage.driver import Extent, ExtentKind


@dataclass(frozen=True, slots=True)
class Totals:
    """Bytes of a list of extents: all of them, and those of kind ZERO."""

    all: int
    zeros: int


def totals(extents: Iterable[Extent]) -> Totals:
    """Add up the extents."""
    everything = zeros = 0
    for extent in extents:
        everything += extent.length
        if extent.kind is ExtentKind.ZERO:
            zeros += extent.length
    return Totals(everything, zeros)


def covered(extents: Iterable[Extent], checkpoint: int) -> int:
    """Return how many bytes of the extents lie below ``checkpoint``."""
    done = 0
    for extent in extents:
        if extent.offset >= checkpoint:
            break
        done += min(extent.end, checkpoint) - extent.offset
    return done


def cut(extents: Iterable[Extent], start: int, chunk: int, most_zeros: int) -> Iterator[tuple[int, int, bool]]:
    """Yield (offset, length, zero) for each command that the extents from byte ``start`` on need, ascending.

    Data goes in commands of at most ``chunk`` bytes. An extent that fits in one stays one; a larger one is cut at
    multiples of ``chunk``, where the target's writes are cheapest. Zeros go in commands of at most ``most_zeros``.
    """
    data = ExtentKind.DATA
    for extent in extents:
        offset, end = extent.offset, extent.offset + extent.length
        if end <= start:
            continue
        offset = max(offset, start)
        is_data = extent.kind is data
        most = chunk if is_data else most_zeros
        if end - offset <= most:
            yield offset, end - offset, not is_data
            continue
        while offset < end:
            length = min(end - offset, most - offset % most)
            yield offset, length, not is_data
            offset += length
