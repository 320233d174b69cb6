"""Block devices: whether one is free, how large it is, and the signatures on it."""

import os
import subprocess
from pathlib import Path

from qreplica.storage.btrfs_tools import run
from qreplica.storage.errors import DiskInUse, StorageCommandFailed

_NOTHING_FOUND = 2


def size_of(device: Path) -> int:
    """Return the size in bytes. Raises StorageCommandFailed when it cannot be opened."""
    try:
        fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageCommandFailed(command=f"open {device}", reason=error.strerror) from error
    try:
        return os.lseek(fd, 0, os.SEEK_END)
    finally:
        os.close(fd)


def signature(device: Path) -> dict[str, str]:
    """Return what is found on the device (``TYPE``, ``LABEL``, ``PTTYPE`` … as blkid(8) names it), or nothing."""
    command = ["blkid", "--probe", "--output", "export", str(device)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == _NOTHING_FOUND:
        return {}
    if done.returncode != 0:
        raise StorageCommandFailed(command=" ".join(command), reason=done.stderr.strip())
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def refuse_used(device: Path) -> None:
    """Raise DiskInUse when the device carries anything, or the kernel uses it (open(2), O_EXCL on a block device)."""
    found = signature(device)
    owner = found.get("LABEL") or found.get("TYPE") or found.get("PTTYPE")
    if owner is not None:
        raise DiskInUse(disk=device, owner=f"“{owner}”")
    try:
        os.close(os.open(device, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        raise DiskInUse(disk=device, owner=f"the system ({error.strerror})") from error


def wipe(device: Path) -> None:
    """Remove every signature; idempotent."""
    run("wipefs", "--all", "--quiet", device)
