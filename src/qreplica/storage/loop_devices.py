"""Loop devices with direct I/O, which stand for image files (losetup(8))."""

import fcntl
import json
from pathlib import Path

from qreplica.storage.btrfs_tools import run


def attached(image: Path) -> Path | None:
    """Return the loop device that stands for the whole of ``image``, writable, or None."""
    found = json.loads(run("losetup", "--json", "--list", "--associated", image) or "{}")
    for device in found.get("loopdevices", []):
        if not (device["offset"] or device["sizelimit"] or device["ro"]):
            return Path(device["name"])
    return None


def attach(image: Path) -> Path:
    """Make a loop device for ``image`` unless there is one, and return it; either uses direct I/O.

    Two controllers may do so at once: a second loop device over the same image would be a second disk with the same
    content to btrfs, and a way to destroy it.
    """
    with image.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        present = attached(image)
        if present is None:
            return Path(run("losetup", "--find", "--show", "--direct-io=on", image).strip())
        run("losetup", "--direct-io=on", present)
        return present


def detach(image: Path) -> None:
    """Remove the loop device of ``image``; idempotent."""
    present = attached(image)
    if present is not None:
        run("losetup", "--detach", present)
