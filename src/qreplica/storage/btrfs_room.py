"""Room on the disks that is given out to no chunk yet, without which a disk cannot be replaced.

A replacement holds each chunk against writes while it copies it. For the chunk with the system's own tree the kernel
(since 6.11: calc_available_free_space of space-info.c) wants more room not given out than a data chunk may be long, and
makes no second one (btrfs_chunk_alloc of block-group.c). Data that is overwritten takes ever more chunks though it
grows no more, so the chunks that are used least are emptied into others.
"""

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qreplica.storage import btrfs_chunks
from qreplica.storage.btrfs_chunks import Chunk
from qreplica.storage.btrfs_disks import Member
from qreplica.storage.btrfs_needs import level_of
from qreplica.storage.btrfs_search import search
from qreplica.storage.btrfs_tools import SYSFS, filesystem
from qreplica.storage.capacity import LEAST_DATA_CHUNK, metadata_copies, room_for_replacement
from qreplica.units import GIB

#: The tree of extents, and the kind of its items that tell of a chunk's use (linux/btrfs_tree.h).
_EXTENT_TREE, _BLOCK_GROUP_ITEM = 2, 192
#: The kernel's own limit (BTRFS_MAX_DATA_CHUNK_SIZE of volumes.h).
_LONGEST = 10 * GIB


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes of the disks that are given out to no chunk, and how many a replacement needs."""

    free: int
    needed: int


def room(place: Path, members: Sequence[Member]) -> Room:
    """Return the room of the filesystem mounted at ``place``; a disk that the kernel knows is gone has none.

    Fewer disks than there are to be copies hold fewer copies (btrfs_reduce_alloc_profile of block-group.c).
    """
    counted = [member for member in members if member.is_given_out]
    level = level_of(place)
    copies = min(len(counted), metadata_copies(level)) if level is not None else 1
    needed = room_for_replacement(sum(member.size for member in counted)) * copies
    return Room(sum(member.size - member.given_out for member in counted), needed)


def emptiest(place: Path, without: frozenset[Chunk], most: int | None = None) -> tuple[Chunk, int] | None:
    """Return the data chunk of which the least share is used, and how many bytes, if the others can take these in.

    None of those ``without``, and none that holds more than ``most`` bytes: the kernel gives all that a chunk holds a
    place anew before it frees the old one (relocate_block_group of relocation.c). What it is given out for is free when
    it is empty.
    """
    data = [chunk for chunk in btrfs_chunks.chunks(place) if chunk.is_data]
    used = {chunk: _used(place, chunk) for chunk in data}
    open_to = [chunk for chunk in data if chunk not in without and (most is None or used[chunk] <= most)]
    least = min(open_to, key=lambda one: used[one] / one.length, default=None)
    if least is None or sum(chunk.length - used[chunk] for chunk in data if chunk != least) < used[least]:
        return None
    return least, used[least]


def limit_chunks(place: Path, *, least: bool) -> None:
    """Limit the length of new data chunks to the least that can be, or let the kernel choose; idempotent.

    Where the kernel cannot be told, or has shorter ones anyway, nothing changes.
    """
    limit = SYSFS / filesystem(place).id / "allocation/data/chunk_size"
    if not limit.exists():
        return
    present = int(limit.read_text())
    if least and present > LEAST_DATA_CHUNK:
        _set(limit, LEAST_DATA_CHUNK)
    elif not least and present == LEAST_DATA_CHUNK:
        _set(limit, _LONGEST)


def _set(limit: Path, length: int) -> None:
    try:
        limit.write_text(str(length))
    except OSError as error:
        # So does the kernel say that all disks together are too small for a limit.
        if error.errno != errno.EINVAL:
            raise


def _used(place: Path, chunk: Chunk) -> int:
    """Return how many bytes of a chunk are used; 0 for one that is no more."""
    key = (chunk.start, _BLOCK_GROUP_ITEM)
    for _, item in search(place, _EXTENT_TREE, key, (0, chunk.length)):
        (used,) = struct.unpack_from("<Q", item)
        return int(used)
    return 0
