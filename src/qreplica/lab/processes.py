"""Finds the processes of a lab by its marks, never by a program's name, and ends them.

A mark is the environment variable that all of them inherit, or a network namespace of the lab. Signals go by pidfd,
after the mark was seen again, so that they never meet a later process with the same pid.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

#: Every process of a lab or of a test run has its directory in this environment variable.
MARK = "QREPLICA_LAB"

# A process may end, or a namespace go, while it is looked at; of one that is just ending even root may not see all.
_VANISHED = (FileNotFoundError, ProcessLookupError, PermissionError)
_DEATH_TIMEOUT = 30.0
_ROUND = 0.5


@dataclass(frozen=True, slots=True)
class Found:
    """A process with a mark."""

    pid: int
    command: tuple[str, ...]

    def __str__(self) -> str:
        name = Path(self.command[0]).name if self.command else "?"
        return f"process {self.pid} ({name})"

    @property
    def option_after(self) -> dict[str, str]:
        """Its arguments, each with the one that follows."""
        return dict(zip(self.command, self.command[1:], strict=False))


Marked = Callable[[int], bool]


def marked_by(directory: Path, namespaces: list[str]) -> Marked:
    """Return what tells of a pid whether it carries the mark of ``directory``, or lives in a namespace."""
    wanted = {(status.st_dev, status.st_ino) for status in _namespace_files(namespaces)}
    mark = f"{MARK}={directory}".encode()

    def marked(pid: int) -> bool:
        with contextlib.suppress(*_VANISHED):
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if any(entry == mark or entry.startswith(mark + b"/") for entry in environment):
                return True
        with contextlib.suppress(*_VANISHED):
            status = Path(f"/proc/{pid}/ns/net").stat()
            return (status.st_dev, status.st_ino) in wanted
        return False

    return marked


def find(marked: Marked) -> list[Found]:
    """Return the marked processes, except this one and those that it descends from; a zombie has no marks."""
    spared = set(_lineage())
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [Found(pid, _command(pid)) for pid in pids if pid not in spared and marked(pid)]


def end(marked: Marked, *, gently: Callable[[Found], bool], grace: float) -> list[Found]:
    """End all marked processes: SIGTERM to those that ``gently`` picks, after ``grace`` seconds SIGKILL to all.

    Returns those that do not end although killed: they wait in the kernel. New ones are ended too.
    """
    first = [found for found in find(marked) if gently(found)]
    _signal_and_wait(first, marked, signal.SIGTERM, grace)
    deadline = time.monotonic() + _DEATH_TIMEOUT
    while (left := find(marked)) and time.monotonic() < deadline:
        _signal_and_wait(left, marked, signal.SIGKILL, _ROUND)
    return left


def kill(pid: int, still_it: Callable[[], bool]) -> None:
    """Kill one process that is known otherwise than by a mark, unless it is this one or one that it descends from."""
    if pid not in _lineage():
        _signal_and_wait([Found(pid, ())], lambda _: still_it(), signal.SIGKILL, _DEATH_TIMEOUT)


def _signal_and_wait(processes: list[Found], marked: Marked, number: signal.Signals, patience: float) -> None:
    with contextlib.ExitStack() as stack:
        waiting = select.poll()
        count = 0
        for process in processes:
            with contextlib.suppress(*_VANISHED):
                pidfd = os.pidfd_open(process.pid)
                stack.callback(os.close, pidfd)
                if marked(process.pid):
                    signal.pidfd_send_signal(pidfd, number)
                    waiting.register(pidfd, select.POLLIN)
                    count += 1
        deadline = time.monotonic() + patience
        while count and (rest := deadline - time.monotonic()) > 0:
            for pidfd, _ in waiting.poll(rest * 1000):
                waiting.unregister(pidfd)
                count -= 1


def _namespace_files(namespaces: list[str]) -> Iterator[os.stat_result]:
    for namespace in namespaces:
        with contextlib.suppress(*_VANISHED):
            yield Path("/run/netns", namespace).stat()


def _lineage() -> Iterator[int]:
    pid = os.getpid()
    while pid:
        yield pid
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _command(pid: int) -> tuple[str, ...]:
    with contextlib.suppress(*_VANISHED):
        return tuple(Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1])
    return ()
