"""An end to a whole HTTP exchange: httpx's own timeouts start anew with every byte that arrives."""

import contextlib
import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self


class Deadline:
    """Shuts the exchange's connection down after ``seconds``, or when told to; the read that waits then fails.

    ``trace`` goes into the request's extensions, where httpcore tells it of the connection made.
    """

    def __init__(self, seconds: float) -> None:
        #: Why the exchange was ended, None while it was not.
        self.reason: str | None = None
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self.end, [f"its answer was not complete after {seconds:g} s"])
        self._timer.daemon = True

    def end(self, reason: str) -> None:
        """End the exchange now, unless it has ended. From any thread; the first reason stays."""
        with self._lock:
            self.reason = self.reason or reason
            self._shut()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Take note of the connection's socket."""
        if event != "connection.connect_tcp.complete":
            return
        with self._lock:
            self._socket = info["return_value"].get_extra_info("socket")
            if self.reason is not None:
                self._shut()

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._socket = None

    def _shut(self) -> None:
        if self._socket is not None:
            # The other side, or httpx, may have closed it in the meantime.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
