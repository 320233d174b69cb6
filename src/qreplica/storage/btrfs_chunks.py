"""The chunks of an RG's mounted filesystem: the pieces of its disks' space, each of one profile."""

import struct
from pathlib import Path
from typing import NamedTuple

from qreplica.storage.btrfs_search import search
from qreplica.storage.btrfs_tools import SYSFS, filesystem

#: The chunk tree, its one object and the kind of its items (linux/btrfs_tree.h).
_CHUNK_TREE, _FIRST_CHUNK_TREE, _CHUNK_ITEM = 3, 256, 228
#: Of struct btrfs_chunk: length, and after owner and stripe length the kind.
_CHUNK = struct.Struct("<QQQQ")
#: Its count of stripes, and the stripes: each the number of a device, an offset in it and its UUID.
_COUNT_AT, _STRIPES_AT, _STRIPE = 44, 48, struct.Struct("<QQ16s")
_DATA = 1
#: The bits of the profiles (BTRFS_BLOCK_GROUP_… of linux/btrfs_tree.h) by their names; without any, it is “single”.
_PROFILES = {
    "raid0": 1 << 3,
    "raid1": 1 << 4,
    "dup": 1 << 5,
    "raid10": 1 << 6,
    "raid5": 1 << 7,
    "raid6": 1 << 8,
    "raid1c3": 1 << 9,
    "raid1c4": 1 << 10,
}
_KINDS = ("data", "metadata", "system")


class Chunk(NamedTuple):
    """A chunk: where it begins in the filesystem's own address space, its length in bytes, what it holds, and where.

    ``devices`` are the numbers of those that it lies on. One that is rewritten gets an address beyond all others.
    """

    start: int
    length: int
    is_data: bool
    profile: str
    devices: tuple[int, ...]


def chunks(place: Path) -> list[Chunk]:
    """Return the chunks of the filesystem mounted at ``place``, ascending. Raises OSError."""
    found = []
    for start, item in search(place, _CHUNK_TREE, (_FIRST_CHUNK_TREE, _CHUNK_ITEM)):
        length, _, _, kind = _CHUNK.unpack_from(item)
        profile = next((name for name, bit in _PROFILES.items() if kind & bit), "single")
        (count,) = struct.unpack_from("<H", item, _COUNT_AT)
        devices = tuple(_STRIPE.unpack_from(item, _STRIPES_AT + _STRIPE.size * number)[0] for number in range(count))
        found.append(Chunk(start, length, bool(kind & _DATA), profile, devices))
    return found


def profiles(place: Path) -> dict[str, set[str]]:
    """Return the profiles that chunks have, by what they hold: “data”, “metadata” and “system”; cheap."""
    facts = SYSFS / filesystem(place).id / "allocation"
    known = {"single", *_PROFILES}
    return {kind: {path.name for path in (facts / kind).iterdir() if path.name in known} for kind in _KINDS}
