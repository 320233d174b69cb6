"""Looks whether a lab can be made here, before anything is made."""

import contextlib
import os
import shutil
from pathlib import Path

from qreplica.lab.commands import run
from qreplica.lab.errors import CommandFailed, LabCannotBe
from qreplica.units import GIB, format_size

_PROGRAMS = ("btrfs", "ip", "losetup", "nsenter", "setpriv", "sysctl", "tgtd")
#: What a demo's data take on the disk that holds the labs, with some to spare.
ROOM = 8 * GIB


def check(directory: Path) -> None:
    """Raise LabCannotBe unless this machine has all that a lab in ``directory`` needs."""
    if os.geteuid() != 0:
        raise LabCannotBe(reason="only root can make network namespaces and loop devices: use sudo")
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        raise LabCannotBe(reason=f"these programs are missing: {', '.join(missing)}; “./run lab up” installs them")
    if not _has_btrfs():
        raise LabCannotBe(reason="its kernel has no btrfs: use a machine whose kernel has it")
    if not Path("/dev/loop-control").exists():
        raise LabCannotBe(reason="it has no loop devices (/dev/loop-control): a container must be given them")
    place = next(parent for parent in (directory, *directory.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < ROOM:
        reason = (
            f"{place} has {format_size(free)} free, but the disks of a lab may grow to {format_size(ROOM)}: make room"
        )
        raise LabCannotBe(reason=reason)


def _has_btrfs() -> bool:
    known = Path("/proc/filesystems")
    if "btrfs" not in known.read_text().split():
        with contextlib.suppress(CommandFailed):  # asked again below
            run(["modprobe", "btrfs"])
    return "btrfs" in known.read_text().split()
