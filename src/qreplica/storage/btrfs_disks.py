"""The disks of an RG's mounted filesystem: how each is, and how one is replaced, added or made use of in full."""

import errno
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from qreplica.storage import block_devices, btrfs_background, btrfs_superblock
from qreplica.storage.btrfs_search import search
from qreplica.storage.btrfs_tools import SYSFS, filesystem, ioctl, run
from qreplica.storage.driver import DiskErrors
from qreplica.storage.errors import DiskInUse, DiskTooSmall, NotADisk, NotAMember

#: _IOWR(0x94, 30, struct btrfs_ioctl_dev_info_args) of linux/btrfs.h
_DEV_INFO, _DEV_INFO_SIZE, _PATH_AT = 0xD000941E, 4096, 3072
#: _IOWR(0x94, 53, struct btrfs_ioctl_dev_replace_args); its command to tell the state.
_DEV_REPLACE, _DEV_REPLACE_SIZE, _STATUS = 0xCA289435, 2600, 1
#: _IOWR(0x94, 52, struct btrfs_ioctl_get_dev_stats); its flag to count from nothing again.
_DEV_STATS, _DEV_STATS_SIZE, _STATS, _RESET = 0xC4089434, 1032, 5, 1
#: The tree of devices, and the kind of its item that tells of a replacement (linux/btrfs_tree.h).
_DEVICE_TREE, _DEV_REPLACE_ITEM = 4, 250
#: The number of a device that is taking another one's place.
_TARGET = 0
#: A device that has so much more than the filesystem uses of it was put in the place of a smaller one (bytes).
_WORTH_GROWING = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Member:
    """A device of the filesystem: its number, its path if that is known, and its size as far as it is used, in bytes.

    ``given_out`` are the bytes that chunks have, and ``is_given_out`` whether new ones may be on it. ``missing``:
    nothing can be read from it now, whatever the kernel thinks.
    """

    number: int
    path: Path | None
    size: int
    given_out: int
    is_given_out: bool
    missing: bool
    errors: DiskErrors

    @property
    def is_target(self) -> bool:
        """Whether it is taking the place of another."""
        return self.number == _TARGET


def members(place: Path) -> list[Member]:
    """Return the devices of the filesystem mounted at ``place``; while one is being replaced, both.

    At the end of a replacement the devices change numbers, and the one that leaves is there for a moment still.
    """
    while True:
        state, found = replacement(place)[0], _listed(place)
        if replacement(place)[0] is state:
            both = state in (Replacement.STARTED, Replacement.SUSPENDED)
            return [member for member in found if both or not member.is_target]


def _listed(place: Path) -> list[Member]:
    facts = SYSFS / filesystem(place).id
    held = _held(facts)
    found = []
    for info in sorted(facts.glob("devinfo/*"), key=lambda info: int(info.name)):
        try:
            kernel_misses = (info / "missing").read_text().strip() == "1"
            errors = dict(line.split() for line in (info / "error_stats").read_text().splitlines())
            is_given_out = (info / "writeable").read_text().strip() == "1" and int(info.name) != _TARGET
            given_out, size, path = _device(place, int(info.name))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
            # It took the place of another one just now.
            continue
        there = not kernel_misses and path is not None and _is_there(path, size, held)
        counts = (int(errors[f"{name}_errs"]) for name in ("read", "write", "flush", "corruption", "generation"))
        found.append(Member(int(info.name), path, size, given_out, is_given_out, not there, DiskErrors(*counts)))
    return found


def _held(facts: Path) -> set[str]:
    """Return the device numbers that the filesystem has open; one whose hardware has gone has none."""
    numbers = set()
    for link in facts.glob("devices/*"):
        try:
            numbers.add((link / "dev").read_text().strip())
        except OSError:
            continue
    return numbers


def _device(place: Path, number: int) -> tuple[int, int, Path | None]:
    """Return how many bytes of a device are given out, how many there are, and its path (None: not known)."""
    request = bytearray(_DEV_INFO_SIZE)
    struct.pack_into("<Q", request, 0, number)
    data = ioctl(place, _DEV_INFO, request)
    used, size = struct.unpack_from("<QQ", data, 24)
    path = bytes(data[_PATH_AT:]).split(b"\0", 1)[0]
    return used, size, Path(os.fsdecode(path)) if path else None


def _is_there(path: Path, size: int, held: set[str]) -> bool:
    try:
        number = path.stat().st_rdev
        return f"{os.major(number)}:{os.minor(number)}" in held and block_devices.size_of(path) >= size
    except (OSError, NotADisk):
        return False


def find(members: Sequence[Member], disk: Path) -> Member | None:
    """Return the member that ``disk`` is, by whatever name; None for none."""
    for member in members:
        if member.path is not None and _same(member.path, disk):
            return member
    return None


def _same(one: Path, other: Path) -> bool:
    try:
        return one.stat().st_rdev == other.stat().st_rdev
    except OSError:
        return one == other


def find_outgoing(group: str, place: Path, disk: Path) -> Member:
    """Return the member that ``disk`` is or was. Raises NotAMember.

    A disk that is none of those present stands for one that is missing; which one is all the same to the others.
    """
    present = members(place)
    found = find(present, disk)
    if found is not None:
        return found
    missing = [member for member in present if member.missing and not member.is_target]
    if not missing:
        raise NotAMember(group=group, disk=disk)
    block = btrfs_superblock.read(disk) if disk.exists() else None
    if block is not None and block.filesystem == filesystem(place).id:
        missing.sort(key=lambda member: member.number != block.number)
    return missing[0]


class Replacement(IntEnum):
    """Where the last replacement is (BTRFS_IOCTL_DEV_REPLACE_STATE_… of linux/btrfs.h)."""

    NEVER = 0
    STARTED = 1
    FINISHED = 2
    CANCELED = 3
    SUSPENDED = 4


def replacement(place: Path) -> tuple[Replacement, float]:
    """Return the state of the last replacement, and the share of it done, 0 to 1."""
    request = bytearray(_DEV_REPLACE_SIZE)
    struct.pack_into("<Q", request, 0, _STATUS)
    state, per_mille = struct.unpack_from("<QQ", ioctl(place, _DEV_REPLACE, request), 16)
    return Replacement(state), per_mille / 1000


def being_replaced(place: Path) -> int | None:
    """Return the number of the device that is being replaced, None for none."""
    if replacement(place)[0] not in (Replacement.STARTED, Replacement.SUSPENDED):
        return None
    for _, item in search(place, _DEVICE_TREE, (0, _DEV_REPLACE_ITEM)):
        (number,) = struct.unpack_from("<Q", item)
        return int(number)
    return None


def refuse_incoming(place: Path, old: Member, new: Path) -> None:
    """Raise DiskInUse, NotADisk or DiskTooSmall unless ``new`` can take the place of ``old``."""
    if (size := block_devices.size_of(new)) < old.size:
        raise DiskTooSmall(disk=new, size=size, minimum=old.size)
    if not _has_returned(place, old, new):
        block_devices.refuse_used(new)


def replace(group: str, place: Path, old: Member, new: Path, *, failed: btrfs_background.Told) -> None:
    """Begin to put the device ``new`` in the place of ``old``. Raises DiskInUse.

    What ends it later than at once is told to ``failed``.
    """
    if _has_returned(place, old, new):
        block_devices.wipe(new)
    block_devices.refuse_used(new)
    # What can be read from the others is not asked of one that is known to err.
    careful = ("-r",) if old.missing or old.errors.total else ()
    btrfs_background.start(
        # Without a discard, which may take minutes in which writes take the room that there is.
        *("btrfs", "replace", "start", "-B", "--nodiscard", *careful, str(old.number), new, place),
        begun=lambda: find(members(place), new) is not None,
        group=group,
        failed=failed,
    )


def _has_returned(place: Path, old: Member, new: Path) -> bool:
    """Tell whether ``new`` is the missing ``old`` itself: what it holds is an older state of what the others do."""
    if not old.missing:
        return False
    block, facts = btrfs_superblock.read(new), filesystem(place)
    if block is None or (block.filesystem, block.number) != (facts.id, old.number):
        return False
    if block.generation > facts.generation:
        raise DiskInUse(disk=new, owner="another state of the same RAID group, newer than the one that is open")
    return True


def add(group: str, place: Path, disk: Path) -> None:
    """Make the free device ``disk`` one of the filesystem. Raises DiskInUse, NotADisk."""
    block_devices.refuse_used(disk)
    run("btrfs", "device", "add", "--nodiscard", disk, place, group=group)


def growable(present: Sequence[Member]) -> list[Member]:
    """Return the members of which the filesystem does not yet use all that there is."""
    return [
        member
        for member in present
        if member.path is not None
        and not (member.missing or member.is_target)
        and block_devices.size_of(member.path) - member.size >= _WORTH_GROWING
    ]


def grow(group: str, place: Path, member: Member) -> None:
    """Use all of a member."""
    run("btrfs", "filesystem", "resize", f"{member.number}:max", place, group=group)


def forgive(place: Path, number: int) -> None:
    """Count the errors of a device from nothing again."""
    request = bytearray(_DEV_STATS_SIZE)
    struct.pack_into("<QQQ", request, 0, number, _STATS, _RESET)
    ioctl(place, _DEV_STATS, request)
