"""Sees to it that a controller has one daemon: a second would take the first one's target daemon for a left-over."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qreplica.daemon.config import Config
from qreplica.errors import Conflict


class AlreadyRunning(Conflict):
    """The controller's daemon runs."""

    kind = "already-running"
    template = (
        "Controller {controller} of the subsystem in {state_dir} is run by process {pid} already: end that one first."
    )


def make_directories(config: Config) -> None:
    """Make the daemon's directories, for root alone. Idempotent."""
    for directory in (config.state_dir, config.runtime_dir, config.tgtd_pid_file.parent):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def only_one(config: Config) -> Iterator[None]:
    """Hold the controller's lock, which the kernel gives back whatever ends this process. Raises AlreadyRunning."""
    file = _lock_file(config.state_dir, config.controller)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(
                controller=config.controller, state_dir=config.state_dir, pid=lock.read().strip() or "?"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def daemons(state_dir: Path) -> dict[int, int]:
    """Return which controller's daemon a process is, by its pid; one that has ended may still be among them."""
    found = {}
    for controller in (1, 2):
        with suppress(FileNotFoundError, ValueError):
            found[int(_lock_file(state_dir, controller).read_text())] = controller
    return found


def _lock_file(state_dir: Path, controller: int) -> Path:
    return state_dir / f"controller-{controller}.lock"
