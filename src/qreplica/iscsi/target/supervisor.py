"""Keeps one controller's target daemon alive, and awake."""

import threading
import time
from pathlib import Path

from qreplica.errors import QReplicaError
from qreplica.iscsi.target.mgmt import Management
from qreplica.iscsi.target.process import TargetProcess

_TICK = 0.1
_FIRST_DELAY = 0.2
_LONGEST_DELAY = 10.0
#: A tgtd that ran this long (seconds) did not fail at its start: its next restart is quick again.
_STEADY = 30.0
#: A pause for a snapshot takes less (seconds); a tgtd that stands still longer was forgotten.
FORGOTTEN_AFTER = 5.0


class Events:
    """What a supervisor tells its owner, from its own thread: override what matters, and return soon."""

    def started(self) -> None:
        """Take note that a new tgtd answers, without nodes and portals: make them, in another thread."""

    def ended(self, error: QReplicaError | None) -> None:
        """Take note that the tgtd ended or, with ``error``, could not be started; a new try follows."""

    def woken(self, seconds: float) -> None:
        """Take note that it stood still for ``seconds`` and was woken: whoever paused it is dead or hangs."""

    def said(self, line: str) -> None:
        """Take a line that the tgtd wrote."""


class Supervisor:
    """Owns a tgtd: starts it, starts it again when it ends (waiting longer each time), wakes it, ends it.

    tgtd dies with the thread that starts it (see process.py), so all of this happens in one thread.
    """

    def __init__(
        self, management: Management, pid_file: Path, events: Events, forgotten_after: float = FORGOTTEN_AFTER
    ) -> None:
        self._process = TargetProcess(management, pid_file, events.said)
        self._events = events
        self._forgotten_after = forgotten_after
        self._thread = threading.Thread(target=self._run, name=f"tgtd-{management.control_port}", daemon=True)
        self._changed = threading.Condition()
        self._wanted = True
        self._closing = False
        self._idle = False

    @property
    def pid(self) -> int | None:
        """The pid of the running tgtd, None when there is none."""
        return self._process.pid

    def start(self) -> None:
        """Begin; returns at once, ``Events.started`` follows."""
        self._thread.start()

    def hold(self) -> None:
        """End the tgtd and start none until ``release``; on return nothing of it can write.

        Idempotent. Raises TargetDaemonFailed when it cannot be ended, since a write of it hangs in the kernel.
        """
        with self._changed:
            self._wanted = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._idle or not self._thread.is_alive())
        self._process.kill()

    def release(self) -> None:
        """Let it run (again) after ``hold``. Idempotent."""
        with self._changed:
            self._wanted = True
            self._changed.notify_all()

    def close(self) -> None:
        """End the tgtd and this supervisor. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        delay = _FIRST_DELAY
        while self._wait_until_wanted():
            began = time.monotonic()
            error = self._run_once()
            if not self._may_run():
                continue
            self._events.ended(error)
            delay = _FIRST_DELAY if time.monotonic() - began > _STEADY else min(delay * 2, _LONGEST_DELAY)
            with self._changed:
                self._changed.wait_for(lambda: not self._may_run(), delay)

    def _may_run(self) -> bool:
        return self._wanted and not self._closing

    def _wait_until_wanted(self) -> bool:
        """Wait for permission to run a tgtd; tell whether it came (False: closing)."""
        with self._changed:
            self._idle = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._wanted or self._closing)
            self._idle = False
            return not self._closing

    def _run_once(self) -> QReplicaError | None:
        """Run a tgtd until it ends or is not wanted; return why it could not be started or ended, if so."""
        try:
            self._process.start()
            self._events.started()
            self._watch()
            self._process.stop()
        except QReplicaError as error:
            return error
        return None

    def _watch(self) -> None:
        stopped_since: float | None = None
        while self._may_run() and not self._process.wait(_TICK):
            now = time.monotonic()
            if not self._process.stands_still:
                stopped_since = None
            elif stopped_since is None:
                stopped_since = now
            elif now - stopped_since > self._forgotten_after:
                self._process.wake()
                self._events.woken(now - stopped_since)
                stopped_since = None
