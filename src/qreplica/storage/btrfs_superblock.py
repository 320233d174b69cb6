"""What the superblock of a btrfs device tells while nothing is mounted: whose it is, and how old its content is."""

import os
import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qreplica.storage.errors import NotADisk

#: Offset of the first superblock and of its fields in bytes (struct btrfs_super_block of linux/btrfs_tree.h).
_AT, _SIZE = 64 * 1024, 4096
_MAGIC, _MAGIC_AT = b"_BHRfS_M", 0x40
_ID_AT, _GENERATION_AT, _LOG_ROOT_AT, _NUMBER_AT, _LABEL_AT, _LABEL_SIZE = 0x20, 0x48, 0x60, 0xC9, 0x12B, 256


@dataclass(frozen=True, slots=True)
class Superblock:
    """``filesystem`` is its UUID, ``number`` the device's in it, 0 for one that is taking another's place.

    ``age`` grows with all that is committed or logged; devices of a filesystem that was whole at its last write have
    the same.
    """

    filesystem: str
    number: int
    generation: int
    log_root: int
    label: str

    @property
    def age(self) -> tuple[int, int]:
        """What devices are compared by."""
        return (self.generation, self.log_root)


def read(device: Path) -> Superblock | None:
    """Return the superblock of a device, None when it has none. Raises NotADisk when it cannot be read."""
    try:
        fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # The kernel writes superblocks past the page cache.
            os.posix_fadvise(fd, _AT, _SIZE, os.POSIX_FADV_DONTNEED)
            block = os.pread(fd, _SIZE, _AT)
        finally:
            os.close(fd)
    except OSError as error:
        raise NotADisk(disk=device, reason=error.strerror) from error
    if len(block) < _SIZE or block[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] != _MAGIC:
        return None
    generation, log_root, number = (
        struct.unpack_from("<Q", block, at)[0] for at in (_GENERATION_AT, _LOG_ROOT_AT, _NUMBER_AT)
    )
    label = block[_LABEL_AT : _LABEL_AT + _LABEL_SIZE].split(b"\0", 1)[0].decode(errors="replace")
    return Superblock(str(uuid.UUID(bytes=block[_ID_AT : _ID_AT + 16])), number, generation, log_root, label)


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices to mount a filesystem from, the newest first, and the numbers of those whose content is stale.

    ``blocks`` are their superblocks.
    """

    current: Sequence[Path]
    blocks: Sequence[Superblock]
    stale: frozenset[int]


def choose(devices: Sequence[Path]) -> Devices:
    """Return which of the devices of one filesystem belong to it still.

    One that missed its own replacement came back under the number of the device that took its place: it is left out.
    """
    newest: dict[int, tuple[Superblock, Path]] = {}
    for device in devices:
        block = read(device)
        if block is not None and (block.number not in newest or newest[block.number][0].age < block.age):
            newest[block.number] = (block, device)
    ranked = sorted(newest.values(), key=lambda one: (one[0].age, -one[0].number), reverse=True)
    stale = frozenset(block.number for block, _ in ranked if block.age != ranked[0][0].age)
    return Devices([device for _, device in ranked], [block for block, _ in ranked], stale)
