"""Items of the trees of a mounted btrfs filesystem."""

import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

#: _IOWR(0x94, 17, struct btrfs_ioctl_search_args_v2) of linux/btrfs.h: a key, the size of the buffer, the buffer, in
#: which each item follows a struct btrfs_ioctl_search_header; the key comes back with how many there are.
_TREE_SEARCH = 0xC0709411
_KEY, _HEADER = struct.Struct("<7Q4I4QQ"), struct.Struct("<QQQII")
_COUNT_AT, _BUFFER = 64, 1 << 18
_ANY = 2**64 - 1


def page(  # noqa: PLR0917 - what a search consists of
    fd: int, tree: int, key: tuple[int, int], start: int, end: int, size: int, since: int = 0
) -> tuple[int, memoryview]:
    """Return how many items of one object and kind (``key``) fit into ``size`` bytes, and the items with their headers.

    Ascending, of offsets from ``start`` to ``end``, of a tree of the filesystem in which ``fd`` is open, or of the
    subvolume that it is in (tree 0). Leaves of the tree that no transaction from ``since`` on wrote are left out, and
    cost next to nothing. Raises OSError.
    """
    number, kind = key
    buffer = bytearray(_KEY.size + size)
    within = (number, number, start, end, since, _ANY)
    _KEY.pack_into(buffer, 0, tree, *within, kind, kind, 2**32 - 1, 0, 0, 0, 0, 0, size)
    fcntl.ioctl(fd, _TREE_SEARCH, buffer)
    (count,) = struct.unpack_from("<I", buffer, _COUNT_AT)
    return count, memoryview(buffer)[_KEY.size :]


def search(
    path: Path, tree: int, key: tuple[int, int], offsets: tuple[int, int] = (0, _ANY)
) -> Iterator[tuple[int, memoryview]]:
    """Yield the items of one object and kind (``key``) in a tree of the filesystem at ``path``: offset and content.

    Ascending, from the first of ``offsets`` to the second. Raises OSError.
    """
    start, end = offsets
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while start <= end:
            count, found = page(fd, tree, key, start, end, _BUFFER)
            if count == 0:
                return
            at = 0
            for _ in range(count):
                _, _, start, _, size = _HEADER.unpack_from(found, at)
                at += _HEADER.size
                yield start, found[at : at + size]
                at += size
            start += 1
    finally:
        os.close(fd)
