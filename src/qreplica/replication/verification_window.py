"""Compares a range of a source snapshot with the recovery point of the same generation, by each side's digests."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from qreplica.peer import messages
from qreplica.replication import digests
from qreplica.replication.differing import Range, differing
from qreplica.replication.errors import SourceUnreadable


class Peer(Protocol):
    """What is asked of the target; ``PeerClient`` says what the call promises."""

    def compare_point(self, iqn: str, compare: messages.ComparePoint) -> messages.PointDigests:
        """Return what a recovery point holds from an offset on."""

    def close(self) -> None:
        """Close what is open."""


@dataclass(frozen=True, slots=True)
class Base:
    """The generation that both sides hold, by the source's snapshot."""

    generation: int
    snapshot: str
    group: str
    vd: str


class Window:
    """Compares ranges of one generation; the target is asked while the source is read."""

    def __init__(self, peer: Peer, node: str, job: str, base: Base, other_side: ThreadPoolExecutor) -> None:
        self._peer = peer
        self._node = node
        self._job = job
        self._base = base
        self._other_side = other_side

    def compare(self, fd: int, offset: int, end: int, chunk: int) -> tuple[int, list[Range], int]:
        """Return how far it was compared, what differs by then, and how many bytes were read here.

        Raises what asking the target does, and SourceUnreadable.
        """
        about = messages.ComparePoint(
            job=self._job,
            generation=self._base.generation,
            source_snapshot=self._base.snapshot,
            offset=offset,
            end=end,
            chunk=chunk,
        )
        asked = self._other_side.submit(self._peer.compare_point, self._node, about)
        try:
            ours = digests.look(fd, offset, end, chunk, of=digests.quick_digest)
        except OSError as error:
            raise SourceUnreadable(offset=offset, length=chunk, reason=error) from error
        theirs = asked.result()
        for at, found in ours.digests.items():
            if found is None:
                raise SourceUnreadable(offset=at, length=chunk, reason="it could not be read to be verified")
        until = min(ours.end, theirs.end)
        wrong = differing(offset, until, chunk, ours.digests, theirs.digests, _zeros)
        return until, wrong, len(ours.digests) * chunk


def _zeros(length: int) -> str:
    return digests.of_zeros(length, digests.quick_digest)
