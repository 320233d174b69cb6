"""Slows down guessing: after a few failures a name has to wait, twice as long each time."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from qreplica.access.errors import TooManyFailures

#: Failures in a row that cost nothing: people mistype.
FREE_FAILURES = 4
#: The longest wait, in seconds: long enough against guessing, short enough that nobody can lock an administrator out.
LONGEST_WAIT = 60
#: Names remembered; the one that failed longest ago is forgotten first.
NAMES = 10_000


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until: float = 0.0


class Throttle:
    """Failed logins of each name, in memory: a restart of the daemon forgets them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._names: OrderedDict[str, _Failures] = OrderedDict()

    def check(self, name: str) -> None:
        """Raise TooManyFailures while ``name`` has to wait."""
        with self._lock:
            failures = self._names.get(name)
            if failures is None:
                return
            left = failures.until - self._clock()
            if left > 0:
                raise TooManyFailures(name=name, failures=failures.count, retry_after=int(left) + 1)

    def failed(self, name: str) -> None:
        """Count a failure, and make the name wait from the fifth on: 1 s, 2 s, 4 s, up to LONGEST_WAIT."""
        with self._lock:
            failures = self._names.setdefault(name, _Failures())
            self._names.move_to_end(name)
            failures.count += 1
            excess = failures.count - FREE_FAILURES
            if excess > 0:
                failures.until = self._clock() + min(2 ** min(excess - 1, 16), LONGEST_WAIT)
            while len(self._names) > NAMES:
                self._names.popitem(last=False)

    def succeeded(self, name: str) -> None:
        """Forget the failures of ``name``."""
        with self._lock:
            self._names.pop(name, None)
