"""Removes everything of a lab or of a test run, whatever state a crash left it in.

The order matters: processes first, since they make things; then mounts, loop devices, namespaces, sockets; the
directory last, since it is what the rest is found by. Idempotent, and harmless to everything else on the machine.
"""

import contextlib
import fcntl
import os
import re
import shutil
from pathlib import Path

from qreplica.lab import namespaces, processes
from qreplica.lab.commands import run
from qreplica.lab.errors import CommandFailed, SweepIncomplete
from qreplica.lab.owner import Owner
from qreplica.lab.processes import Found
from qreplica.lab.storage_left import detach, loops_below, mounts, mounts_below, unmount
from qreplica.lab.topology import LABS, TESTS, Lab, is_id

_CONTROL_PORT = re.compile(rb"^tgt_control_port = (\d{1,5})$", re.MULTILINE)
_TGTD_SOCKETS = Path("/var/run/tgtd")
#: In the directory of a lab whose namespaces were the machine's first: /run/netns was no mount before.
FIRST_NAMESPACES = "first-namespaces"
#: How long daemons have to end in an orderly way, in seconds.
GRACE = 8.0


def sweep(lab: Lab) -> None:
    """Remove all of ``lab``: also when its owner still works on it, which is ended first. Raises SweepIncomplete."""
    owner = Owner.of(lab.directory)
    if owner is not None and owner.alive:
        processes.kill(owner.pid, lambda: owner.alive)
    _sweep(lab.directory, lab)


def sweep_directory(directory: Path) -> None:
    """Remove a directory of a test run and all that hangs on it. Raises SweepIncomplete."""
    _sweep(directory, None)


def sweep_dead(roots: tuple[Path, ...] = (LABS, TESTS)) -> list[Path]:
    """Remove what belongs to owners that have ended; return the directories. Raises SweepIncomplete."""
    dead = [entry for root in roots if root.is_dir() for entry in sorted(root.iterdir()) if _is_dead(entry)]
    for directory in dead:
        _sweep(directory, Lab(directory.name, directory.parent) if is_id(directory.name) else None)
    return dead


def _is_dead(directory: Path) -> bool:
    owner = Owner.of(directory)
    return owner is not None and not owner.alive


def _sweep(directory: Path, lab: Lab | None) -> None:
    here = [] if lab is None else namespaces.existing(lab)
    control_ports = _configured_control_ports(directory)
    marked = processes.marked_by(directory, here)
    control_ports |= {port for found in processes.find(marked) if (port := _control_port(found))}
    left = [
        f"{found} does not end although it was killed"
        for found in processes.end(marked, gently=lambda found: _is_daemon(found, directory), grace=GRACE)
    ]
    left += _free_storage(directory)
    for namespace in here:
        namespaces.remove(namespace)
    if (directory / FIRST_NAMESPACES).exists():
        _unmount_netns()
    for port in control_ports:
        _remove_socket(port)
    if any(mount.point.is_relative_to(directory) for mount in mounts()):
        left.append("a mount below it appeared anew")
    else:
        _remove_tree(directory)
    if left:
        raise SweepIncomplete(directory=directory, left="; ".join(left))


def _free_storage(directory: Path) -> list[str]:
    loops = loops_below(directory)
    left = [
        f"{mount.point} was in use and goes when its last user does"
        for mount in mounts_below(directory, loops)
        if not unmount(mount.point)
    ]
    return left + [f"{loop} is still in use" for loop in loops if not detach(loop, directory)]


def _is_daemon(found: Found, directory: Path) -> bool:
    config = Path(found.option_after.get("--config", ""))
    return config.suffix == ".toml" and config.is_relative_to(directory)


def _control_port(found: Found) -> int | None:
    if found.command and Path(found.command[0]).name == "tgtd":
        port = found.option_after.get("-C", "")
        return int(port) if port.isdigit() else None
    return None


def _configured_control_ports(directory: Path) -> set[int]:
    """Return the control ports of the daemons that were configured below ``directory``, also of those long dead."""
    ports: set[int] = set()
    for place, _, names in os.walk(directory):
        for name in names:
            if name.endswith(".toml"):
                with contextlib.suppress(OSError):  # others clear up too
                    found = _CONTROL_PORT.findall(Path(place, name).read_bytes())
                    ports.update(int(digits) for digits in found)
    return ports


def _remove_socket(control_port: int) -> None:
    """Remove a dead tgtd's socket and lock; a living one holds the lock, and is somebody else's by now."""
    socket = _TGTD_SOCKETS / f"socket.{control_port}"
    lock = socket.with_name(f"{socket.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        socket.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _unmount_netns() -> None:
    """Unmount what ``ip netns add`` mounted for the first namespace, unless others' are in it by now."""
    if not any(namespaces.NETNS.iterdir()):
        with contextlib.suppress(CommandFailed):  # in use by a namespace that was made this very moment
            run(["umount", str(namespaces.NETNS)])


def _remove_tree(directory: Path) -> None:
    shutil.rmtree(directory, onerror=_fail_unless_gone)
    if directory.parent != TESTS:
        with contextlib.suppress(OSError):  # others are in it, or it is gone
            directory.parent.rmdir()


def _fail_unless_gone(_function: object, _path: str, failure: tuple[object, BaseException, object]) -> None:
    """Let another sweep be faster."""
    if not isinstance(failure[1], FileNotFoundError):
        raise failure[1]
