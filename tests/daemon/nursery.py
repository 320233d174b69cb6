"""Starts qreplicad in a copy of a process that has loaded its modules: that takes longer than all the rest of a start.

Each daemon is a process of its own, which has of the nursery's only the modules. It is the nursery's child, which is
asked how it ended.
"""

import ctypes
import functools
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_LARGEST = 1 << 18
#: Where a daemon finds the first socket that it was given (sd_listen_fds(3)).
_INHERITED = 3
#: Its command line, which is also that of its daemons, is known for a daemon's by the last word.
_SERVE = "import sys; from tests.daemon.nursery import serve; serve(int(sys.argv[1]))"
_one_at_a_time = threading.Lock()
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of setns(2)


class Daemon:
    """A qreplicad, to be handled like a ``subprocess.Popen``."""

    def __init__(self, arguments: list[str], listener: int, log: int) -> None:
        request = {"arguments": arguments, "environment": {**os.environ, "LISTEN_FDS": "1"}}
        network = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.pid = int(_ask(request, [listener, log, network]))
        finally:
            os.close(network)
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return its exit status, that of a signal negative, or None while it runs."""
        if self._status is None:
            self._status = _ask({"pid": self.pid}, [])
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        if self.poll() is None:
            pidfd = os.pidfd_open(self.pid)
            try:
                if not select.select([pidfd], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired("qreplicad", timeout or 0)
            finally:
                os.close(pidfd)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, if it still runs."""
        self.send_signal(signal.SIGKILL)


def _ask(request: dict[str, Any], descriptors: list[int]) -> Any:
    with _one_at_a_time:
        nursery, _ = _nursery()
        socket.send_fds(nursery, [json.dumps(request).encode()], descriptors)
        return json.loads(nursery.recv(_LARGEST))


@functools.cache
def _nursery() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start the nursery, which ends with this process; return how to ask it, and what must be kept as long."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        nursery = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(its.fileno()), "qreplica.daemon"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
            env={**os.environ, "PYTHONPATH": f"{_ROOT / 'src'}:{_ROOT}"},
        )
    return ours, nursery


def serve(descriptor: int) -> None:
    """Be the nursery."""
    from qreplica.daemon.main import main  # noqa: PLC0415 - the tests' own process has no need of it

    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as asked:
        while True:
            message, descriptors, *_ = socket.recv_fds(asked, _LARGEST, 3)
            if not message:
                return
            request = json.loads(message)
            answer = _status_of(request["pid"]) if "pid" in request else os.fork()
            if answer == 0 and "pid" not in request:
                break
            for one in descriptors:
                os.close(one)
            asked.send(json.dumps(answer).encode())
    _become(request, *descriptors)
    main()


def _status_of(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _become(request: dict[str, Any], listener: int, log: int, network: int) -> None:
    """Be as a program is that was just started, in the network namespace in which that was asked for."""
    if ctypes.CDLL(None, use_errno=True).setns(network, _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for place in (1, 2):
        os.dup2(log, place)
    os.dup2(listener, _INHERITED)
    os.closerange(_INHERITED + 1, 1 << 16)
    os.environ.clear()
    os.environ.update(request["environment"], PYTHONPATH=str(_ROOT / "src"))
    sys.argv = ["qreplicad", *request["arguments"]]
    # What it starts again with when that is asked for.
    sys.orig_argv = [sys.executable, "-m", "qreplica.daemon", *request["arguments"]]
