"""Reads the source snapshot."""

import os
from collections import deque
from collections.abc import Sequence

from qreplica.replication.errors import SourceUnreadable
from qreplica.replication.pieces import cut
from qreplica.storage.driver import Extent
from qreplica.units import MIB

_NEVER = 1 << 63  # an offset that is not reached
_MOST_ASKED = 256  # ranges that the kernel is asked to read ahead


def read_into(source: int, view: memoryview, offset: int) -> None:
    """Fill ``view`` from ``offset`` of the file ``source``. Raises SourceUnreadable."""
    try:
        got = os.preadv(source, [view], offset)
    except OSError as error:
        raise SourceUnreadable(offset=offset, length=len(view), reason=error.strerror) from error
    if got != len(view):
        raise SourceUnreadable(offset=offset, length=len(view), reason="it ends before")


class ReadAhead:
    """Has the kernel read data that will be sent soon, so that the pump seldom waits for the disks.

    Counted in data, not in distance: of scattered changes as many are asked for at once as disks can use.
    """

    def __init__(self, source: int, extents: Sequence[Extent], start: int, most: int) -> None:
        self._source = source
        self._coming = ((at, length) for at, length, zero in cut(extents, start, MIB, MIB) if not zero)
        self._most = most
        self._asked: deque[tuple[int, int]] = deque()
        self._bytes = 0
        self.next = start if most else _NEVER
        """The offset at which to ``go_on``."""

    def go_on(self, offset: int) -> None:
        """Ask for what comes next after ``offset``; half of what was asked for is still ahead."""
        asked = self._asked
        while asked and asked[0][0] < offset:
            self._bytes -= asked.popleft()[1]
        while self._bytes < self._most and len(asked) < _MOST_ASKED:
            piece = next(self._coming, None)
            if piece is None:
                self.next = _NEVER
                return
            os.posix_fadvise(self._source, *piece, os.POSIX_FADV_WILLNEED)
            asked.append(piece)
            self._bytes += piece[1]
        self.next = asked[len(asked) // 2][0]
