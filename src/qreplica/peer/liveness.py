"""Whether the other side still answers anybody, asked while one of its answers takes long.

The kernel of a daemon that hangs goes on acknowledging what is sent to it, so that TCP does not notice (tcp(7)).
"""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Liveness:
    """Asks ``alive`` every ``every`` seconds for the length of a block, and calls ``hung`` once that says no.

    ``alive`` is called in a thread of its own, which exists only when the block lasts longer than ``every``.
    """

    def __init__(self, alive: Callable[[], bool], hung: Callable[[], None], every: float) -> None:
        self._alive = alive
        self._hung = hung
        self._every = every
        self._over = threading.Event()
        self._first = threading.Timer(every, self._watch)
        self._first.daemon = True

    def __enter__(self) -> Self:
        self._first.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._first.cancel()

    def _watch(self) -> None:
        while not self._over.is_set():
            if not self._alive():
                self._hung()
                return
            self._over.wait(self._every)
