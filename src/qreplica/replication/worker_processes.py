"""Starts workers: from one that stands by with everything loaded, or else anew.

Loading takes as long as replicating a few thousand blocks. One process at most stands by, and only where there are
jobs; it takes one job and ends with it, as any other worker.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

#: Makes the argument list of a worker for a job; of one that waits for a job's id on standard input, given None.
Command = Callable[[Path, str | None], list[str]]


def command(file: Path, job: str | None) -> list[str]:
    """Return how a worker is run; ``file`` is the daemon's configuration."""
    facts = ["--config", str(file), "--parent", str(os.getpid())]
    return [sys.executable, "-m", "qreplica.replication.worker", *facts, *([] if job is None else ["--job", job])]


class WorkerProcesses:
    """Use it from one thread: the kernel ends workers with the thread that started them (prctl(2))."""

    def __init__(self, file: Path, command: Command) -> None:
        self._file = file
        self._command = command
        self._standby: subprocess.Popen[bytes] | None = None

    def start(self, job: str) -> subprocess.Popen[bytes]:
        """Begin to work on a job."""
        standby, self._standby = self._standby, None
        if standby is not None:
            if _handed_over(standby, job):
                return standby
            _dismiss(standby)
        return subprocess.Popen(
            self._command(self._file, job), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, close_fds=True
        )

    def prepare(self) -> None:
        """Have one stand by. Idempotent."""
        if self._standby is not None and self._standby.poll() is None:
            return
        self.dismiss()
        self._standby = subprocess.Popen(
            self._command(self._file, None), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, close_fds=True
        )

    def dismiss(self) -> None:
        """End the one that stands by. Idempotent."""
        standby, self._standby = self._standby, None
        if standby is not None:
            _dismiss(standby)


def _handed_over(standby: subprocess.Popen[bytes], job: str) -> bool:
    """Tell the process its job; return whether it still lived."""
    if standby.stdin is None or standby.poll() is not None:
        return False
    with contextlib.suppress(BrokenPipeError):
        standby.stdin.write(f"{job}\n".encode())
        standby.stdin.close()
        return True
    return False


def _dismiss(standby: subprocess.Popen[bytes]) -> None:
    standby.kill()
    standby.wait()
    if standby.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            standby.stdin.close()
