"""Which extents hold more than is still used of them, and what must be rewritten for them to go; pure.

btrfs keeps an extent whole as long as one block of it is in use (its *bookend*). An extent that no snapshot shares goes
as soon as all that is left of it in the live file was written anew elsewhere.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from qreplica.storage.btrfs_extents import FileExtent


@dataclass(slots=True)
class BadlyUsed:
    """An extent of which the ``parts`` (offset and length in the file) are all that the live file still uses.

    ``size`` and ``used`` in bytes; ``generation`` is the transaction that wrote it.
    """

    extent: int
    size: int
    generation: int
    anchor: int
    used: int = 0
    parts: list[tuple[int, int]] = field(default_factory=list)

    @property
    def wasted(self) -> int:
        """The bytes that rewriting the parts gives back."""
        return self.size - self.used


def badly_used(parts: Iterable[FileExtent], start: int, end: int, worth: float) -> list[BadlyUsed]:
    """Return the extents anchored in ``start`` to ``end`` of the file of which it is worth rewriting what is left.

    ``parts`` are all of the file's from ``start`` to the longest extent's length after ``end``. ``worth`` is how many
    bytes each rewritten byte must give back. In the order of the file.
    """
    extents: dict[int, BadlyUsed] = {}
    for part in parts:
        if start <= part.anchor < end:
            known = extents.get(part.extent)
            if known is None:
                known = BadlyUsed(part.extent, part.extent_length, part.generation, part.anchor)
                extents[part.extent] = known
            known.used += part.length
            known.parts.append((part.offset, part.length))
    return [one for one in extents.values() if one.wasted > 0 and one.wasted >= worth * one.used]


def without(extents: Iterable[BadlyUsed], shared: Collection[int]) -> list[BadlyUsed]:
    """Return those that are not among the ``shared`` ones: rewriting a shared one frees nothing and costs sharing."""
    return [one for one in extents if one.extent not in shared]


def best(extents: Iterable[BadlyUsed], budget: int, room: int) -> list[BadlyUsed]:
    """Return those that give back most for what is rewritten, as many as ``budget`` bytes of rewriting allow.

    At least one, if there is one of which no more than ``room`` bytes are left. The best first.
    """
    chosen: list[BadlyUsed] = []
    for one in sorted(extents, key=lambda one: one.used / one.wasted):
        if one.used > room:
            continue
        if chosen and one.used > budget:
            break
        chosen.append(one)
        budget, room = budget - one.used, room - one.used
    return chosen


def rewriting(extent: BadlyUsed, longest: int) -> list[tuple[int, int]]:
    """Return the ranges to rewrite for the extent to go, none longer than ``longest`` bytes; each will be an extent."""
    return [
        (at, min(longest, offset + length - at))
        for offset, length in extent.parts
        for at in range(offset, offset + length, longest)
    ]
