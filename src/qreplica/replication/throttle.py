"""Holds a transfer to so many bytes a second."""

from collections.abc import Callable

#: Seconds' worth of bytes that may go at once after a silence.
_BURST = 0.1


class Throttle:
    """A bucket that fills at the limit and from which each send takes; it may go into debt for one.

    So the mean holds whatever the sizes of the sends, and nothing that was not sent in a silence is made up for.
    ``clock`` is monotonic, in seconds.
    """

    def __init__(self, limit: int | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at = clock()
        self._left = 0.0
        self.limit = limit
        """In bytes a second; None for none. Read only: ``set`` changes it."""

    def set(self, limit: int | None) -> None:
        """Have another limit from now on. Idempotent."""
        if limit == self.limit:
            return
        self._fill()
        # Nothing was counted while there was no limit, and nothing is owed for it.
        self._left = 0.0 if self.limit is None else min(0.0, self._left)
        self.limit = limit

    def pause(self) -> float:
        """Return how many seconds to wait before the next send; 0 when it may go."""
        if self.limit is None:
            return 0.0
        self._fill()
        return max(0.0, -self._left / self.limit)

    def sent(self, size: int) -> None:
        """Take what was sent, in bytes."""
        if self.limit is not None:
            self._left -= size

    def _fill(self) -> None:
        now = self._clock()
        if self.limit is not None:
            self._left = min(self._left + (now - self._at) * self.limit, _BURST * self.limit)
        self._at = now
