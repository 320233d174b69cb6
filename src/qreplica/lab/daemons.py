"""Starts the daemon of a controller inside its namespace and waits until it is ready.

Its management socket is bound on the machine's own loopback and inherited as file descriptor 3 (sd_listen_fds(3)): a
browser outside the namespace reaches it. The launcher's copy is closed, or a browser would hang when the daemon has
died.
"""

import contextlib
import json
import os
import random
import shutil
import socket
import sys
import time
from pathlib import Path

from qreplica.lab.commands import inside
from qreplica.lab.errors import DaemonNotReady
from qreplica.lab.owner import runs
from qreplica.lab.processes import MARK
from qreplica.lab.topology import PREFIX_LENGTH, Controller

_MANAGEMENT_FD = 3
_READY_TIMEOUT = 60.0
_POLL = 0.05
_LAST_LINES = 5
_TGTD_SOCKETS = Path("/var/run/tgtd")
_CONTROL_PORTS = range(1024, 32768)
#: Who plays with a lab goes for lunch in between (minutes).
_LOGIN_IDLE = 720
#: The hosts of a lab log in again at once.
_RESTART_PAUSE = 1.0


def configure(controller: Controller) -> None:
    """Write the daemon's configuration file and make its directories."""
    for directory in (controller.state_dir, controller.runtime_dir):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    values = {
        "subsystem": controller.subsystem,
        "controller": controller.number,
        "state_dir": str(controller.state_dir),
        "runtime_dir": str(controller.runtime_dir),
        "tgt_control_port": _free_control_port(),
        "login_idle_minutes": _LOGIN_IDLE,
        "license_keys": [str(controller.lab.vendor_public_key)],
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]  # of these types JSON is TOML too
    for port in controller.ports:
        lines += [
            "",
            "[[ports]]",
            f"number = {port.number}",
            f'interface = "{port.interface}"',
            f'address = "{port.address}"',
            f"prefix_length = {PREFIX_LENGTH}",
        ]
    lines += ["", "[cluster]", f"restart_pause_seconds = {_RESTART_PAUSE}"]
    controller.config_file.write_text("\n".join(lines) + "\n")


def listen(preferred: int | None) -> socket.socket:
    """Return a socket that listens on 127.0.0.1: on the preferred port if that is free, else on any."""
    for port in (preferred, 0):
        if port is None:
            continue
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(128)
        except OSError:
            listener.close()
            if port == 0:
                raise
        else:
            return listener
    raise AssertionError("port 0 is always tried")


def start(controller: Controller, management: socket.socket) -> int:
    """Start the daemon, detached, its output going to its log; return its pid. ``management`` is closed."""
    program = str(Path(sys.executable).with_name("qreplicad"))
    argv = inside(controller.namespace, program, "--config", str(controller.config_file))
    nsenter = shutil.which(argv[0]) or argv[0]
    log = os.open(controller.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    environment = {**os.environ, MARK: str(controller.lab.directory), "LISTEN_FDS": "1"}
    try:
        return os.posix_spawn(
            nsenter,
            argv,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                (os.POSIX_SPAWN_DUP2, management.fileno(), _MANAGEMENT_FD),  # last: it may be the log's number
            ],
            setsid=True,
        )
    finally:
        os.close(log)
        management.close()


def wait_until_ready(controller: Controller, pid: int) -> None:
    """Return when the daemon has said that it is ready. Raises DaemonNotReady with the end of its log."""
    ready = controller.runtime_dir / "ready"
    deadline = time.monotonic() + _READY_TIMEOUT
    while not ready.exists():
        if os.waitpid(pid, os.WNOHANG) != (0, 0):
            raise _not_ready(controller, "ended while it started")
        if time.monotonic() > deadline:
            raise _not_ready(controller, f"was not ready after {_READY_TIMEOUT:.0f} s")
        time.sleep(_POLL)


def check(controller: Controller, pid: int) -> None:
    """Raise DaemonNotReady if the daemon has ended."""
    if not runs(pid):
        raise _not_ready(controller, "ended")


def forget(pid: int) -> None:
    """Let the kernel forget an ended daemon if it was this process that started it."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _not_ready(controller: Controller, what: str) -> DaemonNotReady:
    lines = controller.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
    return DaemonNotReady(
        controller=controller.number,
        subsystem=controller.subsystem,
        what=what,
        log=controller.log,
        reason=" | ".join(lines) or "it is empty",
    )


def _free_control_port() -> int:
    """Return a number that no tgtd of this machine has; random, since others may be choosing at the same time."""
    while (_TGTD_SOCKETS / f"socket.{(port := random.choice(_CONTROL_PORTS))}").exists():  # noqa: S311 - no secret
        pass
    return port
