"""How much of a VD was written since one of its snapshots, from the generations that btrfs keeps of every extent."""

import os
from pathlib import Path

from qreplica.storage.btrfs_extents import file_extents
from qreplica.storage.btrfs_tools import subvolume


def changed_since(live: Path, base: Path) -> int:
    """Return how many bytes of the file ``live`` were written since the subvolume of the file ``base`` was made.

    Where the live subvolume was rolled back since, generations tell nothing of what that changed: then it is all that
    the file holds. Each is the only file of its subvolume. Raises OSError.
    """
    then = subvolume(base.parent)
    since = then.transaction if then.made_from == subvolume(live.parent).id else 0
    fd = os.open(live, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return sum(part.length for part in file_extents(fd, 0, os.fstat(fd).st_size, since))
    finally:
        os.close(fd)
