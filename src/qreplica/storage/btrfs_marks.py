"""What the driver notes in a filesystem itself, as extended attributes of its root, so that it outlives a crash."""

import errno
import os
from pathlib import Path

from qreplica.storage.btrfs_tools import sync_directory


def read(place: Path, name: str) -> str | None:
    """Return what is noted under ``name`` in the filesystem mounted at ``place``, None for nothing."""
    try:
        return os.getxattr(place, _attribute(name)).decode()
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise


def write(place: Path, name: str, value: str | None) -> None:
    """Note ``value`` under ``name``, or nothing for None, durably; what is there already is not written again."""
    present = read(place, name)
    if present == value:
        return
    if value is None:
        os.removexattr(place, _attribute(name))
    else:
        os.setxattr(place, _attribute(name), value.encode())
    sync_directory(place)


def _attribute(name: str) -> str:
    return f"user.qreplica.{name}"
