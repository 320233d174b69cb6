"""Which deleted subvolumes a btrfs filesystem has not freed yet, from the orphan items of its tree of roots."""

import struct
from pathlib import Path

from qreplica.storage.btrfs_tools import ioctl

#: _IOWR(0x94, 17, struct btrfs_ioctl_search_args) of linux/btrfs.h: a key and 4 KiB with its buffer.
_TREE_SEARCH = 0xD0009411
_KEY, _ARGUMENTS = struct.Struct("<7Q4I4Q"), 4096
_FOUND_AT = 64
#: BTRFS_ROOT_TREE_OBJECTID, BTRFS_ORPHAN_OBJECTID and BTRFS_ORPHAN_ITEM_KEY of linux/btrfs_tree.h.
_ROOT_TREE, _ORPHANS, _ORPHAN_ITEM = 1, 2**64 - 5, 48
_ANY = 2**64 - 1


def freeing(place: Path) -> bool:
    """Tell whether the filesystem mounted at ``place`` still holds subvolumes that were deleted.

    One that a program has a file of open is held until that is closed. The space of the last one is free after the
    commit that follows. Raises OSError.
    """
    orphans = (_ROOT_TREE, _ORPHANS, _ORPHANS, 0, _ANY, 0, _ANY, _ORPHAN_ITEM, _ORPHAN_ITEM)
    buffer = bytearray(_ARGUMENTS)
    _KEY.pack_into(buffer, 0, *orphans, 1, 0, 0, 0, 0, 0)
    (found,) = struct.unpack_from("<I", ioctl(place, _TREE_SEARCH, buffer), _FOUND_AT)
    return bool(found)
