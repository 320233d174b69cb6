"""Gives back what badly used extents of a VD hold, a slice at a time, while hosts write."""

import contextlib
import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path

from qreplica.storage.badly_used import BadlyUsed, badly_used, best, rewriting, without
from qreplica.storage.btrfs_extents import LONGEST, file_extents
from qreplica.storage.btrfs_rewrite import rewrite
from qreplica.storage.btrfs_tools import subvolume
from qreplica.storage.driver import Reclaimed
from qreplica.units import KIB, MIB

#: _IOR(0x94, 24, __u64) and _IOW(0x94, 22, __u64) of linux/btrfs.h: begin a commit, and wait for it.
_START_SYNC, _WAIT_SYNC = 0x80089418, 0x40089416
#: _IO(0x94, 8): write all out, and commit.
_SYNC = 0x9408
#: How much of the file is looked at together.
_WINDOW = 256 * MIB
#: Extents are rewritten so many bytes together, as fewer calls do more.
_TOGETHER = 4 * MIB
#: What is rewritten must not become badly used again as easily; a quarter of the items that blocks alone would take.
_LONGEST_NEW = 16 * KIB


def commit(place: Path) -> None:
    """Have the filesystem of ``place`` commit: afterwards what was overwritten before is free.

    What only the page cache holds is not written out for it.
    """
    transaction = bytearray(8)
    _ioctls(place, (_START_SYNC, transaction), (_WAIT_SYNC, transaction))


def write_out(place: Path) -> None:
    """Have the filesystem of ``place`` write all out and commit."""
    _ioctls(place, (_SYNC, 0))


def _ioctls(place: Path, *calls: tuple[int, bytearray | int]) -> None:
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for request, argument in calls:
            fcntl.ioctl(fd, request, argument)
    finally:
        os.close(fd)


def reclaim(
    live: Path, snapshots: Sequence[Path], *, start: int, budget: int, room: int, worth: float, seconds: float
) -> Reclaimed:
    """Rewrite what is left of the badly used extents of ``live`` from ``start`` on; see StorageDriver.reclaim.

    ``snapshots`` are the files of the VD's snapshots, newest last. Raises OSError.
    """
    freed = rewritten = 0
    deadline = time.monotonic() + seconds
    fd = os.open(live, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        while start < size and rewritten < budget and time.monotonic() < deadline:
            end = start + _WINDOW
            found = badly_used(file_extents(fd, start, end + LONGEST), start, end, worth)
            chosen = best(_unshared(found, snapshots), budget - rewritten, room - rewritten)
            while chosen and time.monotonic() < deadline:
                together = _some(chosen)
                if not rewrite(fd, [part for one in together for part in rewriting(one, _LONGEST_NEW)], deadline):
                    # What is left of them is found again, and is the cheaper to clear.
                    chosen = together
                    break
                freed += sum(one.wasted for one in together)
                rewritten += sum(one.used for one in together)
            if chosen:
                break
            start = end
    finally:
        os.close(fd)
    if rewritten:
        commit(live.parent)
    return Reclaimed(freed, rewritten, start if start < size else None)


def _some(extents: list[BadlyUsed]) -> list[BadlyUsed]:
    """Take the first of ``extents``, and what of the next can be rewritten with it."""
    together = [extents.pop(0)]
    left = _TOGETHER - together[0].used
    while extents and extents[0].used <= left:
        left -= extents[0].used
        together.append(extents.pop(0))
    return together


def _unshared(found: Sequence[BadlyUsed], snapshots: Sequence[Path]) -> Sequence[BadlyUsed]:
    """Leave out those that a snapshot shares.

    What was written after a snapshot was taken it cannot share; what was written before it may.
    """
    for snapshot in reversed(snapshots):
        with contextlib.suppress(FileNotFoundError):
            taken = subvolume(snapshot.parent).transaction
            older = [one for one in found if one.generation <= taken]
            if older:
                first, last = min(one.anchor for one in older), max(one.anchor for one in older)
                fd = os.open(snapshot, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    shared = {part.extent for part in file_extents(fd, first, last + LONGEST)}
                finally:
                    os.close(fd)
                found = without(found, shared)
    return found
