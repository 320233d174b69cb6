"""Compares a source snapshot with what the backup VD holds, some way ahead of the pump that sends what differs.

Window by window: while the target reads one, the source reads the one before, and the pump sends what differed in the
one before that. What was found the same is the pump's to make durable like what it sent: what the target read may have
been in its page cache only.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from types import TracebackType
from typing import Self

from qreplica.peer.errors import NoSuchRoute
from qreplica.peer.messages import Begin, Compare, Digests
from qreplica.replication import digests
from qreplica.replication.links import Peer
from qreplica.replication.reading import read_into
from qreplica.replication.sifting import Theirs, Window, clipped, sift
from qreplica.storage.driver import Extent
from qreplica.units import KIB

#: How finely is compared (bytes). Of small scattered changes finer chunks send less; each costs 83 bytes of an answer.
CHUNK = 64 * KIB


def asking(peer: Peer, node: str, begin: Begin, chunk: int) -> Callable[[int], Digests]:
    """Return what asks the target, from an offset on, what it holds of the full copy that was begun."""

    def ask(offset: int) -> Digests:
        about = Compare(
            job=begin.job,
            epoch=begin.epoch,
            generation=begin.generation,
            manifest=begin.manifest,
            offset=offset,
            end=begin.size,
            chunk=chunk,
        )
        return peer.compare(node, about)

    return ask


class Comparison:
    """One comparison, from ``start`` on. A context, on whose end nothing of it goes on.

    ``ask`` asks the target from an offset on; it runs in the ``executor``, one at a time. ``source`` is a file
    descriptor of the snapshot, which ``extents`` cover; ``end`` is its size. The session that will make durable what is
    the same must be open already: were the target to lose power in between, only a session that ends with it tells.
    """

    def __init__(  # noqa: PLR0917 - what is compared with what
        self,
        ask: Callable[[int], Digests],
        source: int,
        extents: Sequence[Extent],
        start: int,
        end: int,
        executor: Executor,
        chunk: int = CHUNK,
    ) -> None:
        self._ask = ask
        self._source = source
        self._extents = extents
        self._start = start
        self._end = end
        self._executor = executor
        self._chunk = chunk
        self._buffer = memoryview(bytearray(chunk))
        self._at = start // chunk * chunk
        self._asked: Future[Digests] = executor.submit(ask, self._at)
        self._sifted: Future[Window] = executor.submit(self._sift)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is under way uses the file, and the way to the target.
        self._executor.shutdown(cancel_futures=True)

    def window(self, patience: float) -> Window | None:
        """Return the next window; None when it is not known within ``patience`` seconds. Not to be asked at the end.

        Raises what asking raises, and SourceUnreadable.
        """
        wait([self._sifted], patience)
        if not self._sifted.done():
            return None
        window = self._sifted.result()
        if window.end < self._end:
            self._sifted = self._executor.submit(self._sift)
        return window

    def _sift(self) -> Window:
        try:
            told = self._asked.result()
        except NoSuchRoute:
            # A target that cannot tell what it holds: all is sent.
            rest = list(clipped(self._extents, self._start, self._end))
            return Window(self._end, rest, same=0, compared=0)
        at, self._at = self._at, told.end
        if told.end < self._end:
            self._asked = self._executor.submit(self._ask, told.end)
        return sift(self._extents, self._start, Theirs(at, told.end, self._chunk, told.digests), self._ours)

    def _ours(self, offset: int, length: int) -> str:
        view = self._buffer[:length]
        read_into(self._source, view, offset)
        return digests.digest(view)
