"""Items of the trees of a mounted btrfs filesystem."""

import struct
from collections.abc import Iterator
from pathlib import Path

from qreplica.storage.btrfs_tools import ioctl

#: _IOWR(0x94, 17, struct btrfs_ioctl_search_args_v2) of linux/btrfs.h: a key, the size of the buffer, the buffer, in
#: which each item follows a struct btrfs_ioctl_search_header; the key comes back with how many there are.
_TREE_SEARCH = 0xC0709411
_KEY, _HEADER = struct.Struct("<7Q4I4QQ"), struct.Struct("<QQQII")
_COUNT_AT, _BUFFER = 64, 1 << 18
_ANY = 2**64 - 1


def search(
    path: Path, tree: int, key: tuple[int, int], offsets: tuple[int, int] = (0, _ANY)
) -> Iterator[tuple[int, memoryview]]:
    """Yield the items of one object and kind (``key``) in a tree of the filesystem at ``path``: offset and content.

    Ascending, from the first of ``offsets`` to the second. Raises OSError.
    """
    (number, kind), (start, end) = key, offsets
    while start <= end:
        buffer = bytearray(_KEY.size + _BUFFER)
        within = (number, number, start, end, 0, _ANY)
        _KEY.pack_into(buffer, 0, tree, *within, kind, kind, 2**32 - 1, 0, 0, 0, 0, 0, _BUFFER)
        found = memoryview(ioctl(path, _TREE_SEARCH, buffer))
        (count,) = struct.unpack_from("<I", found, _COUNT_AT)
        if count == 0:
            return
        at = _KEY.size
        for _ in range(count):
            _, _, start, _, size = _HEADER.unpack_from(found, at)
            at += _HEADER.size
            yield start, found[at : at + size]
            at += size
        start += 1
