"""Which deleted subvolumes a btrfs filesystem has not freed yet, from the orphan items of its tree of roots."""

from pathlib import Path

from qreplica.storage.btrfs_search import search

#: BTRFS_ROOT_TREE_OBJECTID, BTRFS_ORPHAN_OBJECTID and BTRFS_ORPHAN_ITEM_KEY of linux/btrfs_tree.h.
_ROOT_TREE, _ORPHANS, _ORPHAN_ITEM = 1, 2**64 - 5, 48


def freeing(place: Path) -> bool:
    """Tell whether the filesystem mounted at ``place`` still holds subvolumes that were deleted.

    One that a program has a file of open is held until that is closed. The space of the last one is free after the
    commit that follows. Raises OSError.
    """
    return any(True for _ in search(place, _ROOT_TREE, (_ORPHANS, _ORPHAN_ITEM)))
