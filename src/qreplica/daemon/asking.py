"""How the daemon of one controller asks that of the other to bring its target daemon in line with the database.

Both find the same two files beside the pid file of that target daemon: the one asked by, whose time tells which request
is the latest, and the one answered by. A controller that is down answers nobody, nor need it: the portals of a new
target daemon open once it is in line.
"""

import os
import time
from pathlib import Path

from qreplica.iscsi.target.pause import running_tgtd

_POLL = 0.02


def serving_lock(pid_file: Path) -> Path:
    """Return the file whose lock a daemon holds while it brings a node of the tgtd of ``pid_file`` in line.

    It is also the one asked by.
    """
    return pid_file.with_suffix(".serving")


def ask(pid_file: Path) -> int:
    """Ask the daemon of that tgtd, whether it runs or not, to bring all in line soon; return which request that is."""
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    file = serving_lock(pid_file)
    file.touch()
    # The kernel's own time of a file is the same for all that happens within a few milliseconds; and clocks are set.
    request = time.monotonic_ns()
    os.utime(file, ns=(request, request))
    return request


def latest(pid_file: Path) -> int:
    """Return the latest request."""
    return _time_of(serving_lock(pid_file))


def answer(pid_file: Path, request: int) -> None:
    """Tell that all is in line that was decided before this request."""
    file = _answers(pid_file)
    file.touch()
    os.utime(file, ns=(request, request))


def forget(pid_file: Path) -> None:
    """Take back what was answered, for a daemon that begins: the times mean nothing after the machine's restart."""
    _answers(pid_file).unlink(missing_ok=True)


def answered(pid_file: Path, request: int, seconds: float) -> bool:
    """Wait until the request is answered; return False if it is not in so many seconds, where that tgtd runs."""
    deadline = time.monotonic() + seconds
    while running_tgtd(pid_file) is not None and _time_of(_answers(pid_file)) < request:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)
    return True


def _answers(pid_file: Path) -> Path:
    return pid_file.with_suffix(".served")


def _time_of(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
