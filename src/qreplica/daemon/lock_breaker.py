"""The way out when a process stops in the very middle of writing the state, and so keeps all others from it.

SQLite undoes what a process that is gone had half written, but waits for one that merely stands still. A daemon or
worker of this subsystem is killed then; whoever else holds the lock, or is at work, is told of and left alone.
"""

import os
import select
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from qreplica.daemon.alone import daemons
from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.iscsi.target.pause import standing_still
from qreplica.state.database import LOCK_PATIENCE, Database
from qreplica.state.lock_holder import holder
from qreplica.state.models import Severity

#: How long (seconds) a process has to have held still to be taken for one that will go on doing so.
_BETWEEN = 2.0
_DEATH = 10.0
_STAT_PARENT, _STAT_STARTED = 1, 19  # proc(5), counted from the state
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the write lock, at one moment.

    ``started`` is when it did, which tells it from a later process of the same pid. ``controller`` is the one whose
    daemon or ``worker`` it is, None for what is no part of this subsystem. ``still`` is None when any of its threads is
    not stopped, and otherwise changes whenever one has run.
    """

    pid: int
    name: str
    started: int
    controller: int | None
    worker: bool
    still: Mapping[str, int] | None

    def __str__(self) -> str:
        if self.controller is None:
            return f"process {self.pid} ({self.name})"
        part = "a worker of controller" if self.worker else "the daemon of controller"
        return f"process {self.pid} ({part} {self.controller})"


def may_be_killed(before: Holder, after: Holder) -> bool:
    """Tell whether who was looked at twice is one of us, and did nothing in between."""
    return before == after and after.controller is not None and after.still is not None


@dataclass(frozen=True, slots=True)
class _Story:
    kind: str
    why: str
    remedy: str


class LockBreaker:
    """Is told by one thread whether the state could be written.

    ``patience`` is for how long it may be locked, in seconds: longer than any transaction takes. Engines other than
    SQLite end the transactions of clients that are silent: for them it does nothing.
    """

    def __init__(
        self,
        database: Database,
        controller: int,
        state_dir: Path,
        *,
        patience: float = LOCK_PATIENCE,
        between: float = _BETWEEN,
    ) -> None:
        self._database = database
        self._controller = controller
        self._state_dir = state_dir
        self._patience = patience
        self._between = between
        self._written = time.monotonic()
        self._story: _Story | None = None

    def written(self) -> None:
        """Take note that the state was written; tell of what kept it from that before."""
        if self._story is not None and not self._tell(self._story):
            return
        self._written, self._story = time.monotonic(), None

    def locked(self) -> None:
        """Take note that the state could not be written; when that has lasted too long, do what can be done."""
        if time.monotonic() - self._written < self._patience:
            return
        before = self._look()
        if before is None:
            return
        time.sleep(self._between)
        after = self._look()
        # From one that let go of it in between it goes on from hand to hand.
        if after is not None and (after.pid, after.started) == (before.pid, before.started):
            self._judge(before, after)

    def _judge(self, before: Holder, after: Holder) -> None:
        if not may_be_killed(before, after):
            self._remember(_left_alone(after, self._database.place))
        elif self._kill(after):
            self._remember(_broken(after))

    def _remember(self, story: _Story) -> None:
        if story != self._story:
            _log.error(story.kind, reason=story.why, remedy=story.remedy)
        self._story = story

    def _tell(self, story: _Story) -> bool:
        """Return whether it stands in the event log."""
        seconds = time.monotonic() - self._written
        message = f"The state could not be written for {seconds:.0f} s, because {story.why}: {story.remedy}."
        try:
            with self._database.session() as session:
                log.record(session, Severity.ERROR, story.kind, "state", message, controller=self._controller)
        except QReplicaError as error:
            _log.warning("event not written", message=message, reason=error.sentence)
            return False
        return True

    def _look(self) -> Holder | None:
        pid = None if self._database.file is None else holder(self._database.file)
        return None if pid is None else _process(pid, daemons(self._state_dir))

    def _kill(self, found: Holder) -> bool:
        """Kill the process; return whether it has ended."""
        try:
            pidfd = os.pidfd_open(found.pid)
        except ProcessLookupError:
            return False
        try:
            # The descriptor cannot come to mean another process, so what is killed is what still holds the lock.
            if self._look() != found:
                return False
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            return bool(select.select([pidfd], [], [], _DEATH)[0])
        except ProcessLookupError:
            return False
        finally:
            os.close(pidfd)


def _broken(killed: Holder) -> _Story:
    why = f"{killed} stood still in the middle of writing it, and was killed"
    remedy = "find out what stopped it"
    if not killed.worker:
        remedy += f", and see that controller {killed.controller} is started again"
    return _Story("state-lock-broken", why, remedy)


def _left_alone(found: Holder, place: str) -> _Story:
    if found.controller is None:
        why = f"{found}, which is no part of this subsystem, held {place}"
        return _Story("state-locked", why, "end it, and let no other program write there")
    why = f"{found} held {place} and does not stand still"
    return _Story("state-locked", why, "look whether the disk of the state answers, and at that process")


def _process(pid: int, daemons_now: Mapping[int, int]) -> Holder | None:
    """Return what the process is; None once it has ended. ``daemons_now`` gives the controller by the daemon's pid."""
    place = Path(f"/proc/{pid}")
    try:
        facts = (place / "stat").read_text().rpartition(")")[2].split()
        command = (place / "cmdline").read_text(errors="replace").split("\0")
        name = (place / "comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name alone is nobody's, and the pid that a daemon noted may be another process's by now.
    worker = "qreplica.replication.worker" in command
    daemon = any(one == "qreplica.daemon" or Path(one).name == "qreplicad" for one in command)
    controller = daemons_now.get(int(facts[_STAT_PARENT]) if worker else pid) if worker or daemon else None
    return Holder(pid, name, int(facts[_STAT_STARTED]), controller, worker, standing_still(pid))
