"""Loop devices with direct I/O, which stand for image files (losetup(8))."""

import json
from pathlib import Path

from qreplica.storage.btrfs_tools import run


def attached(image: Path) -> Path | None:
    """Return the loop device that stands for ``image``, or None."""
    found = json.loads(run("losetup", "--json", "--list", "--associated", image) or "{}")
    devices = found.get("loopdevices", [])
    return Path(devices[0]["name"]) if devices else None


def attach(image: Path) -> Path:
    """Make a loop device for ``image`` unless there is one, and return it."""
    present = attached(image)
    if present is not None:
        return present
    return Path(run("losetup", "--find", "--show", "--direct-io=on", image).strip())


def detach(image: Path) -> None:
    """Remove the loop device of ``image``; idempotent."""
    present = attached(image)
    if present is not None:
        run("losetup", "--detach", present)
