"""Stops both controllers' target daemons for the moment in which a snapshot is taken (rule 9).

While every thread of a tgtd is stopped, no write is half done in its file and no further one begins: a snapshot taken
then holds every write acknowledged before it, over all VDs. Of those acknowledged later it can hold only such as were
already in their file; no other write was sent in the knowledge of these, so the order of writes is kept.
"""

import contextlib
import fcntl
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from qreplica.iscsi.target.errors import PauseBusy, PauseTimedOut
from qreplica.locks import attempt

_POLL = 0.002
_SWITCHES = re.compile(r"^(?:non)?voluntary_ctxt_switches:\s*(\d+)$", re.MULTILINE)


def stopped(pid: int) -> bool:
    """Tell whether every thread of the process is stopped (state T of proc(5)); False when it is gone."""
    return standing_still(pid) is not None


def standing_still(pid: int) -> dict[str, int] | None:
    """Return how often each thread was put on or off a processor, or None unless all of them are stopped.

    A thread that was woken and stopped again has a higher count: that is how a wake-up in between is seen.
    """
    switches = {}
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            status = (task / "status").read_text()
            if "\nState:\tT " not in status:
                return None
            switches[task.name] = sum(int(count) for count in _SWITCHES.findall(status))
    except (FileNotFoundError, ProcessLookupError):
        return None
    return switches or None


def running_tgtd(pid_file: Path) -> int | None:
    """Return the pid in ``pid_file`` when a tgtd runs under it, None otherwise."""
    try:
        pid = int(pid_file.read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return None
    return pid if name == "tgtd" and state != "Z" else None


@dataclass(frozen=True, slots=True)
class _Stopped:
    pid: int
    pidfd: int
    switches: dict[str, int]


class Pause:
    """Target daemons that stand still."""

    def __init__(self, pid_files: Sequence[Path], daemons: dict[Path, _Stopped]) -> None:
        self._pid_files = pid_files
        self._daemons = daemons

    def still_paused(self) -> bool:
        """Tell whether no thread of any of them has run since, and none was started meanwhile.

        Ask after the snapshot was taken: a watchdog may have woken one, and then the snapshot must be
        discarded.
        """
        for pid_file in self._pid_files:
            pid = running_tgtd(pid_file)
            daemon = self._daemons.get(pid_file)
            if (daemon.pid if daemon else None) != pid:
                return False
            if daemon and standing_still(daemon.pid) != daemon.switches:
                return False
        return True


@contextlib.contextmanager
def paused(pid_files: Sequence[Path], timeout: float = 5.0) -> Iterator[Pause]:
    """Stop the tgtd of each pid file, and wake them at the end, whatever happens.

    A pid file that is missing or whose process is no tgtd means one that does not run, which writes nothing.
    Pauses of the same daemons, by any process, wait for each other. Raises PauseBusy when another pause still
    held them after ``timeout`` seconds, PauseTimedOut when one still had commands running by then; all are
    awake in either case.
    """
    deadline = time.monotonic() + timeout
    with contextlib.ExitStack() as stack:
        for pid_file in sorted(pid_files):
            _lock(stack.enter_context(_lock_file(pid_file)), pid_file, deadline, timeout)
        signalled = []
        for pid_file in pid_files:
            opened = _open(pid_file)
            if opened is None:
                continue
            pid, pidfd = opened
            stack.callback(os.close, pidfd)
            stack.callback(_wake, pidfd)
            signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
            signalled.append((pid_file, pid, pidfd))
        daemons = {}
        for pid_file, pid, pidfd in signalled:
            switches = _wait_until_still(pid, deadline)
            if switches is None:
                raise PauseTimedOut(pid=pid, seconds=timeout)
            daemons[pid_file] = _Stopped(pid, pidfd, switches)
        yield Pause(pid_files, daemons)


def _lock_file(pid_file: Path) -> IO[str]:
    # Not the pid file itself, which each start of a tgtd replaces.
    return pid_file.with_name(f"{pid_file.name}.lock").open("a")


def _lock(lock: IO[str], pid_file: Path, deadline: float, timeout: float) -> None:
    if not attempt(lambda: fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB), deadline, _POLL):
        raise PauseBusy(pid_file=pid_file, seconds=timeout)


def _open(pid_file: Path) -> tuple[int, int] | None:
    """Return pid and pidfd of the running tgtd; from then on the pidfd cannot mean another process."""
    pid = running_tgtd(pid_file)
    if pid is None:
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if running_tgtd(pid_file) != pid:
        os.close(pidfd)
        return None
    return pid, pidfd


def _wait_until_still(pid: int, deadline: float) -> dict[str, int] | None:
    """Wait for every thread to stop; one in a write stops when the write is done.

    A thread is called stopped an instant before it leaves its processor, which still counts: so two looks must agree.
    """
    before = None
    while True:
        now = standing_still(pid)
        if now is not None and now == before:
            return now
        if time.monotonic() >= deadline:
            return None
        before = now
        time.sleep(_POLL)


def _wake(pidfd: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGCONT)
