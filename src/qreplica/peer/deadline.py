"""An end to a whole HTTP exchange: httpx's own timeouts start anew with every byte that arrives."""

import contextlib
import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self


class Deadline:
    """Shuts the exchange's connection down after ``seconds``; the read that waits then ends with an error of httpx.

    ``trace`` goes into the request's extensions, where httpcore tells it of the connection made.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._passed = threading.Event()
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    @property
    def passed(self) -> bool:
        """Whether the time was over before the exchange was."""
        return self._passed.is_set()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Take note of the connection's socket."""
        if event != "connection.connect_tcp.complete":
            return
        with self._lock:
            self._socket = info["return_value"].get_extra_info("socket")
            if self.passed:
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

    def _end(self) -> None:
        with self._lock:
            self._passed.set()
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            # The other side, or httpx, may have closed it in the meantime.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
