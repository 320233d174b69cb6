"""Where the bytes of a file lie in its btrfs filesystem, from the items of its subvolume's tree."""

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from qreplica.storage.btrfs_search import page

_BUFFER = 1 << 20
_OWN_TREE = 0
#: BTRFS_EXTENT_DATA_KEY of linux/btrfs_tree.h
_EXTENT_DATA = 108
_INLINE = 0
#: struct btrfs_ioctl_search_header, then struct btrfs_file_extent_item; in a VD's file all items are as long as this.
_ITEM = struct.Struct("<QQQIIQQBBHBQQQQ")
_HEADER = 32

#: No extent of btrfs is longer (BTRFS_MAX_EXTENT_SIZE of fs/btrfs/fs.h).
LONGEST = 128 << 20


class FileExtent(NamedTuple):
    """A part of a file and the extent that it is a part of; all in bytes.

    ``offset`` and ``length`` in the file; ``extent`` names the extent by where it begins in the filesystem,
    ``extent_length`` is all of it, of which the part begins ``skipped`` bytes in. ``generation`` is the transaction
    that wrote the extent.
    """

    offset: int
    length: int
    extent: int
    extent_length: int
    skipped: int
    generation: int

    @property
    def anchor(self) -> int:
        """Where in the file the extent begins, or would, were all of it still there."""
        return self.offset - self.skipped


def file_extents(fd: int, start: int, end: int, since: int = 0) -> Iterator[FileExtent]:
    """Yield the parts that begin in ``start`` to ``end`` of the file open as ``fd``, ascending, holes left out.

    Only those that a later transaction than ``since`` wrote, which costs no more than there are of them. What the page
    cache has not written out yet is seen as it was before. Raises OSError.
    """
    inode = os.fstat(fd).st_ino
    while start < end:
        count, found = page(fd, _OWN_TREE, (inode, _EXTENT_DATA), start, end - 1, _BUFFER, since)
        if count == 0:
            return
        for item in _ITEM.iter_unpack(found[: count * _ITEM.size]):
            _, _, offset, _, size, generation, _, _, _, _, kind, extent, extent_length, skipped, length = item
            if size != _ITEM.size - _HEADER or kind == _INLINE:
                raise OSError(f"the file has an extent inside its metadata at {offset}, as no virtual disk has")
            if extent and generation > since:
                yield FileExtent(offset, length, extent, extent_length, skipped, generation)
            start = offset + 1
