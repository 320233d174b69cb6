"""An end to a whole HTTP exchange: when its time is over, or when who is to answer shows no sign of life.

httpx's own timeouts start anew with every byte that arrives, and the kernel acknowledges for a daemon that hangs.
"""

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

#: Tells whether there is a sign of life within so many seconds; it asks for one over a connection of its own.
Lives = Callable[[float], bool]


class Deadline:
    """Shuts the exchange's connection down after ``seconds``; the read that waits then ends with an error of httpx.

    While it waits for the answer it asks ``lives`` three times in each ``silence`` (seconds), and shuts down when there
    was no sign of life for that long. An exchange that ends within a third of it asks nothing.

    ``trace`` goes into the request's extensions, where httpcore tells it of the connection made.
    """

    def __init__(self, seconds: float, lives: Lives, silence: float) -> None:
        self._seconds = seconds
        self._lives = lives
        self._silence = silence
        self._every = silence / 3
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._heard = math.inf
        self._passed = ""
        self._thread = threading.Thread(target=self._watch, name="peer deadline", daemon=True)

    @property
    def passed(self) -> str:
        """Why it was ended before it was complete; empty when it was not."""
        return self._passed

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Take note of the connection's socket."""
        if event != "connection.connect_tcp.complete":
            return
        with self._lock:
            self._socket = info["return_value"].get_extra_info("socket")
            self._heard = time.monotonic()
            if self._passed:
                self._shut()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        with self._lock:
            self._socket = None

    def _watch(self) -> None:
        end = time.monotonic() + self._seconds
        while (left := end - time.monotonic()) > 0:
            if self._over.wait(min(self._every, left)):
                return
            if self._silent(end):
                self._end(f"its daemon has shown no sign of life for {self._silence:g} s")
                return
        self._end(f"its answer was not complete after {self._seconds:g} s")

    def _silent(self, end: float) -> bool:
        """Ask, once there is a connection; tell whether the silence has lasted too long."""
        now = time.monotonic()
        if self._heard > now or end <= now:
            return False
        # One that did not run for a while itself asks once more before it judges.
        patience = max(self._every, self._heard + self._silence - now)
        if self._lives(min(patience, end - now)):
            self._heard = time.monotonic()
        return time.monotonic() - self._heard >= self._silence

    def _end(self, reason: str) -> None:
        with self._lock:
            if not self._over.is_set():
                self._passed = reason
                self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            # The other side, or httpx, may have closed it in the meantime.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
