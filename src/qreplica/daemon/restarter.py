"""Restarts this controller's daemon when that was asked for: an orderly end, and a new start in the same process.

The process goes on as a new program (execve(2)): it keeps its pid, so that whoever started it need not know, and the
listening sockets that it was given, on which callers wait meanwhile. All else is made anew, as after any other start.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

import structlog

from qreplica.cluster import restarts
from qreplica.daemon.background import Background
from qreplica.daemon.servers import FIRST_INHERITED
from qreplica.errors import QReplicaError
from qreplica.state.database import Database

_LOOK_EVERY = 0.5
_log = structlog.get_logger(__name__)


class Restarter(Background):
    """Looks whether a restart is due, from when the daemon is ready until it ends.

    ``pause`` is for how long (seconds) after another controller's restart none begins: hosts come back to that one.
    """

    def __init__(
        self, database: Database, controller: int, pause: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__("restarter")
        self._database = database
        self._controller = controller
        self._pause = pause
        self._clock = clock
        self._not_before = -float("inf")
        self._end: Callable[[], None] = lambda: None
        #: Whether the daemon ends to start again.
        self.restarts = False

    def ready(self, end: Callable[[], None]) -> None:
        """Begin, since the daemon is ready; ``end``, which any thread may call, has it end."""
        self._end = end
        self.start()

    def _run(self) -> None:
        is_noted = False
        while not self._ending.is_set():
            try:
                if not is_noted:
                    with self._database.session() as session:
                        restarts.ready(session, self._controller)
                    is_noted = True
                if self._begins():
                    self.restarts = True
                    self._end()
                    return
            except QReplicaError as error:
                _log.warning("not looked for restarts", reason=error.sentence)
            self._ending.wait(_LOOK_EVERY)

    def _begins(self) -> bool:
        """Begin the restart if one is due and it is time for it; return whether it has begun."""
        with self._database.session(read_only=True) as session:
            if restarts.another_restarts(session, self._controller):
                self._not_before = self._clock() + self._pause
            if not restarts.is_due(session, self._controller) or self._clock() < self._not_before:
                return False
        with self._database.session() as session:
            return restarts.begin(session, self._controller)


def keep(sockets: Sequence[socket.socket]) -> list[int]:
    """Return descriptors of the listening sockets that stay open when the server closes its own."""
    return [os.dup(one.fileno()) for one in sockets]


def start_again(kept: Sequence[int]) -> NoReturn:
    """Become a new daemon that inherits the sockets (LISTEN_FDS of sd_listen_fds(3)).

    Everything of the old one must have ended. Raises OSError when the program cannot be started any more.
    """
    # Those kept were copied while the inherited ones had these places, so that none of them is overwritten.
    for place, descriptor in enumerate(kept, FIRST_INHERITED):
        os.dup2(descriptor, place)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LISTEN_")}
    if kept:
        environment["LISTEN_FDS"] = str(len(kept))
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - this very program
