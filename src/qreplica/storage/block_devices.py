"""Block devices: whether one is free, how large it is, and the signatures on it."""

import os
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from qreplica.storage.btrfs_tools import run
from qreplica.storage.errors import DiskInUse, DiskTwice, NotADisk

#: Exit statuses of blkid(8): nothing recognised, and several signatures that contradict each other.
_NOTHING_FOUND, _AMBIVALENT = 2, 8


def size_of(device: Path) -> int:
    """Return the size in bytes, also of an image file. Raises NotADisk when it cannot be opened."""
    try:
        fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotADisk(disk=device, reason=error.strerror) from error
    try:
        return os.lseek(fd, 0, os.SEEK_END)
    finally:
        os.close(fd)


def refuse_twice(devices: Sequence[Path]) -> None:
    """Raise DiskTwice when two of the paths lead to the same device or file. Raises NotADisk when one leads nowhere."""
    seen = set()
    for device in devices:
        try:
            facts = device.stat()
        except OSError as error:
            raise NotADisk(disk=device, reason=error.strerror) from error
        identity = (0, facts.st_rdev) if facts.st_rdev else (facts.st_dev, facts.st_ino)
        if identity in seen:
            raise DiskTwice(disk=device)
        seen.add(identity)


def signature(device: Path) -> dict[str, str]:
    """Return what is found on the device (``TYPE``, ``LABEL``, ``PTTYPE`` … as blkid(8) names it), or nothing.

    Several signatures that contradict each other are the ``TYPE`` “several signatures”. Raises NotADisk when it cannot
    be read.
    """
    command = ["blkid", "--probe", "--output", "export", str(device)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == _NOTHING_FOUND:
        if not device.exists():
            raise NotADisk(disk=device, reason="it does not exist")
        return {}
    if done.returncode == _AMBIVALENT:
        return {"TYPE": "several signatures"}
    if done.returncode != 0:
        raise NotADisk(disk=device, reason=done.stderr.strip())
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def refuse_used(device: Path) -> None:
    """Raise DiskInUse when the device carries anything, or the kernel uses it (open(2), O_EXCL on a block device).

    Raises NotADisk when it is no block device.
    """
    if not stat.S_ISBLK(device.stat().st_mode):
        raise NotADisk(disk=device, reason="it is no block device")
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
