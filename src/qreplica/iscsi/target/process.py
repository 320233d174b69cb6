"""One tgtd in the foreground.

It is started by way of ``setpriv --pdeathsig KILL`` (prctl(2), PR_SET_PDEATHSIG, kept across execve), so that
it dies with whoever started it and no code of ours runs between fork and exec. The kernel means the *thread*
that started it: start it from one that lives as long as it should (the supervisor's). If the starter dies in
the instant before the setting is made, a tgtd without nodes and reachable portals is left, and the next start
ends it.
"""

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from qreplica.errors import QReplicaError
from qreplica.iscsi.target import control_lock
from qreplica.iscsi.target.errors import (
    ControlPortTaken,
    TargetCommandFailed,
    TargetDaemonDown,
    TargetDaemonFailed,
    TargetDaemonSilent,
)
from qreplica.iscsi.target.mgmt import Management, Mode, Op
from qreplica.iscsi.target.pause import stopped
from qreplica.iscsi.target.portals import listen_on
from qreplica.units import MIB

_START_TIMEOUT = 10.0
_END_TIMEOUT = 30.0
_GENTLE_TIMEOUT = 1.0
_POLL = 0.005
#: tgtd takes memory for the data of each command and gives it back after it. As it comes, its C library gets that
#: from the kernel each time, which fills them with zeros first: half of a write's cost (mallopt(3), in bytes).
_KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * MIB),
    "MALLOC_TRIM_THRESHOLD_": str(256 * MIB),
    "MALLOC_TOP_PAD_": str(16 * MIB),
}


class TargetProcess:
    """The tgtd of one control port: started without portals, ended for sure, its output handed on."""

    def __init__(self, management: Management, pid_file: Path, on_line: Callable[[str], None]) -> None:
        self.management = management
        self._pid_file = pid_file
        self._on_line = on_line
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._last_lines: deque[str] = deque(maxlen=5)

    @property
    def pid(self) -> int | None:
        """Its pid while it runs, None otherwise."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def stands_still(self) -> bool:
        """Whether it is stopped (SIGSTOP)."""
        pid = self.pid
        return pid is not None and stopped(pid)

    def wake(self) -> None:
        """Let it run on if it is stopped."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def start(self) -> None:
        """End a left-over of the same control port, start, and return once it answers and listens nowhere.

        tgtd without a portal argument listens on every address, so it gets a loopback one that is taken away
        (every other it may have fallen back to as well). Until nodes are made it drops any connection.
        Raises ControlPortTaken, TargetDaemonFailed.
        """
        self.kill()
        end_left_over(self.management)
        self._last_lines.clear()
        port = str(self.management.control_port)
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "tgtd", "-f", "-C", port, "--iscsi", "portal=127.0.0.1:0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=os.environ | _KEEP_MEMORY,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read_lines, name=f"tgtd-{port}-output", daemon=True)
        self._reader.start()
        try:
            self._wait_until_answering()
            listen_on(self.management, frozenset())
            self._write_pid_file()
        except BaseException:
            self.kill()
            raise

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for its end; tell whether it has ended."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """End it, gently if it has no nodes any more; see ``kill``."""
        if self.pid is not None:
            with contextlib.suppress(TargetDaemonDown, TargetDaemonSilent, TargetCommandFailed):
                self.management.request(Mode.SYSTEM, Op.DELETE, timeout=_GENTLE_TIMEOUT)
                self.wait(_GENTLE_TIMEOUT)
        self.kill()

    def kill(self) -> None:
        """Kill it (it ignores SIGTERM; SIGKILL ends a stopped one too) and wait: no write of it runs after.

        Nothing acknowledged is lost, since it keeps no data of its own: written data is the kernel's. Removes
        the pid file and the socket. Idempotent. Raises TargetDaemonFailed when a write hangs in the kernel.
        """
        if self._process is None:
            return
        self._process.kill()
        if not self.wait(_END_TIMEOUT):
            raise TargetDaemonFailed(
                control_port=self.management.control_port,
                what=f"does not end although it was killed {_END_TIMEOUT:.0f} s ago",
                reason="a write hangs in the kernel",
            )
        if self._reader is not None:
            self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None
        self._pid_file.unlink(missing_ok=True)
        remove_socket(self.management)

    def _read_lines(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        for line in process.stdout:
            self._last_lines.append(line.strip())
            self._on_line(line.rstrip("\n"))

    def _wait_until_answering(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                self.management.request(Mode.SYSTEM, Op.SHOW, timeout=_GENTLE_TIMEOUT)
            except (TargetDaemonDown, TargetDaemonSilent) as error:
                if not self.wait(_POLL) and time.monotonic() < deadline:
                    continue
                raise self._failed_to_start(error) from error
            else:
                return

    def _failed_to_start(self, error: QReplicaError) -> TargetDaemonFailed:
        if self.pid is None and self._reader is not None:
            self._reader.join(_GENTLE_TIMEOUT)  # for its last words
        reason = "; ".join(self._last_lines) or error
        return TargetDaemonFailed(control_port=self.management.control_port, what="did not start", reason=reason)

    def _write_pid_file(self) -> None:
        """Replace the pid file in one step, so that a reader never sees half a number."""
        with tempfile.NamedTemporaryFile("w", dir=self._pid_file.parent, delete=False) as file:
            file.write(f"{self.pid}\n")
        Path(file.name).replace(self._pid_file)


def end_left_over(management: Management) -> None:
    """Kill the tgtd that a dead daemon left on this control port, if there is one, and wait for its end.

    The command line of whoever holds the lock must be a tgtd's with this control port. Raises ControlPortTaken when it
    is not.
    """
    pid = control_lock.holder(management.socket_path)
    if pid is None:
        return
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        words = _command_line(pid)
        if not _is_tgtd(words, management.control_port):
            raise ControlPortTaken(control_port=management.control_port, pid=pid, command=" ".join(words))
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        if not select.select([pidfd], [], [], _END_TIMEOUT)[0]:
            raise TargetDaemonFailed(
                control_port=management.control_port,
                what=f"is left over as process {pid} and does not end although it was killed",
                reason="a write hangs in the kernel",
            )
    except ProcessLookupError:
        pass  # ended by itself meanwhile
    finally:
        os.close(pidfd)
    remove_socket(management)


def remove_socket(management: Management) -> None:
    """Remove what a dead tgtd leaves behind: its socket and its lock file."""
    management.socket_path.unlink(missing_ok=True)
    control_lock.lock_path(management.socket_path).unlink(missing_ok=True)


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _is_tgtd(words: list[str], control_port: int) -> bool:
    if not words or Path(words[0]).name != "tgtd" or "-C" not in words[:-1]:
        return False
    return words[words.index("-C") + 1] == str(control_port)
