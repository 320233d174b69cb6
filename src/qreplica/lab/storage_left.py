"""What lies below a directory in the kernel: mounts and loop devices."""

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qreplica.lab.commands import run
from qreplica.lab.errors import CommandFailed

_PATIENCE = 10.0
_POLL = 0.1
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount of this machine."""

    point: Path
    source: str


def mounts() -> list[Mount]:
    """Return all mounts, in the order in which they were made (proc_pid_mountinfo(5))."""
    return [_mount(line) for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def loops_below(directory: Path) -> list[Path]:
    """Return the loop devices whose image lies, or lay, below ``directory``."""
    return [device for device, image in _loops() if image.is_relative_to(directory)]


def mounts_below(directory: Path, loops: list[Path]) -> list[Mount]:
    """Return the mounts below ``directory`` and those of ``loops`` anywhere, the latest first."""
    devices = {str(loop) for loop in loops}
    return [mount for mount in reversed(mounts()) if mount.source in devices or mount.point.is_relative_to(directory)]


def unmount(point: Path) -> bool:
    """Unmount; as a last resort let the kernel do it when the last user has gone, and return False then."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            run(["umount", str(point)])
        except CommandFailed:
            if point not in {mount.point for mount in mounts()}:
                return True
            if time.monotonic() > deadline:
                run(["umount", "--lazy", str(point)])
                return False
            time.sleep(_POLL)
        else:
            return True


def detach(loop: Path, directory: Path) -> bool:
    """Detach a loop device whose image lies below ``directory``; tell whether it is free, which it is not while in use.

    The image is looked at before every attempt: once free, the device may be somebody else's at any time.
    """
    with contextlib.suppress(CommandFailed):  # btrfs knows only devices of filesystems that it has seen
        run(["btrfs", "device", "scan", "--forget", str(loop)])
    deadline = time.monotonic() + _PATIENCE
    while loop in loops_below(directory):
        if time.monotonic() > deadline:
            return False
        with contextlib.suppress(CommandFailed):  # the loop's condition judges
            run(["losetup", "--detach", str(loop)])
        time.sleep(_POLL)
    return True


def _mount(line: str) -> Mount:
    before, _, after = line.partition(" - ")
    return Mount(Path(_plain(before.split()[4])), _plain(after.split()[1]))


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def _loops() -> Iterator[tuple[Path, Path]]:
    for entry in Path("/sys/block").glob("loop*"):
        with contextlib.suppress(OSError):  # a device without an image has no such file
            image = (entry / "loop" / "backing_file").read_text().rstrip("\n").removesuffix(" (deleted)")
            yield Path("/dev", entry.name), Path(image)
