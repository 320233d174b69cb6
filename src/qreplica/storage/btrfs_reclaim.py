"""Gives back what badly used extents of a VD hold, a slice at a time, while hosts write."""

import contextlib
import fcntl
import os
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
#: How much of the file is looked at together, in how many steps at most, so that a slice stays short.
_WINDOW, _WINDOWS = 256 * MIB, 16
#: What is rewritten must not become badly used again as easily; a quarter of the items that blocks alone would take.
_LONGEST_NEW = 16 * KIB


def commit(place: Path) -> None:
    """Have the filesystem of ``place`` commit: afterwards what was overwritten before is free.

    What only the page cache holds is not written out for it.
    """
    transaction = bytearray(8)
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _START_SYNC, transaction)
        fcntl.ioctl(fd, _WAIT_SYNC, transaction)
    finally:
        os.close(fd)


def reclaim(live: Path, snapshots: Sequence[Path], *, start: int, budget: int, room: int, worth: float) -> Reclaimed:
    """Rewrite what is left of the badly used extents of ``live`` from ``start`` on; see StorageDriver.reclaim.

    ``snapshots`` are the files of the VD's snapshots, newest last. Raises OSError.
    """
    freed = rewritten = 0
    fd = os.open(live, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        for _ in range(_WINDOWS):
            if start >= size or rewritten >= budget:
                break
            end = start + _WINDOW
            found = badly_used(file_extents(fd, start, end + LONGEST), start, end, worth)
            chosen = best(_unshared(found, snapshots), budget - rewritten, room - rewritten)
            ranges = rewriting(chosen, _LONGEST_NEW)
            rewrite(fd, ranges)
            freed += sum(one.wasted for one in chosen)
            rewritten += sum(one.used for one in chosen)
            start = end
    finally:
        os.close(fd)
    if rewritten:
        commit(live.parent)
    return Reclaimed(freed, rewritten, start if start < size else None)


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
