"""The btrfs filesystem of an RG: made on free disks, mounted whole or degraded, unmounted, erased.

Its label names the RG. Device names change over a restart and disks change places, so the label is what tells whose
a disk is; a disk without it is never written to, mounted or wiped as one of the RG's.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from qreplica.storage import (
    block_devices,
    btrfs_disks,
    btrfs_label,
    btrfs_mending,
    btrfs_needs,
    btrfs_scrub,
    btrfs_superblock,
    btrfs_upkeep,
)
from qreplica.storage.btrfs_disks import Member, Replacement
from qreplica.storage.btrfs_tools import SYSFS, filesystem, run
from qreplica.storage.capacity import capacity
from qreplica.storage.driver import DataUse, DiskErrors, GroupHealth, GroupStatus, MemberStatus, RaidLevel
from qreplica.storage.errors import DiskInUse, GroupBusy, GroupFailed, GroupSplit, StorageCommandFailed

#: Named one by one, so that another version's defaults change nothing.
_FORMAT = (
    *("--nodesize", "16384"),
    *("--sectorsize", "4096"),
    *("--checksum", "crc32c"),
    *("-O", "extref,skinny-metadata,no-holes"),
    *("-R", "free-space-tree"),
)
_MOUNT_OPTIONS = "noatime"
#: How long something that was made to let go of the mount may need for it (seconds).
_ENDING, _POLL = 2.0, 0.02


def carries(group: str, disk: Path) -> bool:
    """Tell whether the disk is there and belongs to the RG."""
    return disk.exists() and btrfs_label.names(block_devices.signature(disk).get("LABEL"), group)


def make(group: str, disks: Sequence[Path], level: RaidLevel) -> None:
    """Make the filesystem; keep one that is already on exactly these disks.

    Raises TooFewDisks, DiskTooSmall, DiskTwice, NotADisk and DiskInUse before anything is written.
    """
    block_devices.refuse_twice(disks)
    capacity(level, [block_devices.size_of(disk) for disk in disks])
    if all(carries(group, disk) for disk in disks):
        return
    for disk in disks:
        block_devices.refuse_used(disk)
    metadata = btrfs_needs.metadata_profile(level, len(disks))
    profiles = ("--data", btrfs_needs.DATA_PROFILES[level], "--metadata", metadata)
    # mkfs puts the first chunks on the disks named last; on the smallest they would take what a mirror needs there.
    ascending = sorted(disks, key=block_devices.size_of)
    run("mkfs.btrfs", "--quiet", "--label", btrfs_label.plain(group), *_FORMAT, *profiles, *ascending, group=group)


def mount(group: str, place: Path, disks: Sequence[Path]) -> None:
    """Mount the filesystem at ``place``, degraded when it must; the disks that are gone or another's are left out.

    Those that missed writes are noted to be mended. Raises GroupSplit when disks were written apart, before anything
    is changed, and GroupFailed, also when something else is mounted there.
    """
    if os.path.ismount(place):
        return
    own = btrfs_superblock.choose([disk for disk in disks if carries(group, disk)])
    if not own.current:
        raise GroupFailed(group=group, reason="none of its disks is there")
    newest, generation = own.current[0], own.blocks[0].generation
    for disk, block in zip(own.current, own.blocks, strict=True):
        if btrfs_label.were_parted(own.blocks[0], block):
            raise GroupSplit(group=group, one=newest, other=disk)
    place.mkdir(parents=True, exist_ok=True)
    run("btrfs", "device", "scan", *own.current, group=group)
    try:
        run("mount", "-t", "btrfs", "-o", _MOUNT_OPTIONS, newest, place, group=group)
    except StorageCommandFailed:
        try:
            run("mount", "-t", "btrfs", "-o", f"{_MOUNT_OPTIONS},degraded", newest, place, group=group)
        except StorageCommandFailed as error:
            place.rmdir()
            raise GroupFailed(group=group, reason=error.fields["reason"]) from error
    missing = frozenset(member.number for member in btrfs_disks.members(place) if member.missing)
    if missing - btrfs_mending.stale(place).numbers:
        btrfs_label.note_parting(group, place, generation)
    btrfs_mending.note_away(place, own.stale | missing)
    _note_interrupted(place)


def refuse_others(place: Path, disks: Sequence[Path]) -> None:
    """Raise DiskInUse unless the filesystem at ``place`` is on ``disks``, each of which may be missing there."""
    members = btrfs_disks.members(place)
    present = [member for member in members if not member.missing]
    others = any(all(btrfs_disks.find([member], disk) is None for disk in disks) for member in present)
    if others or len(members) != len(disks):
        count = sum(not member.is_target for member in members)
        raise DiskInUse(disk=disks[0], owner=f"a RAID group of {count} disk(s)")


def unmount(group: str, place: Path) -> None:
    """Unmount and remove the mount point; idempotent. Raises GroupBusy.

    What rebuilds it goes on when it is mounted again, and a scrub ends.
    """
    if not os.path.ismount(place):
        return
    btrfs_scrub.stop(group, place)
    btrfs_upkeep.pause(group, place)
    replacing = btrfs_disks.replacement(place)[0] is Replacement.STARTED
    try:
        if replacing:
            _note_interrupted(place)
            # The program that asked for it holds the mount; it ends when the kernel suspends its work for this.
            run("mount", "-o", "remount,ro", place, group=group)
        _detach(group, place)
    except StorageCommandFailed as error:
        if replacing:
            run("mount", "-o", "remount,rw", place, group=group)
        if "busy" in str(error.fields["reason"]):
            raise GroupBusy(group=group) from error
        raise
    place.rmdir()


def _note_interrupted(place: Path) -> None:
    """Note that a disk that is being put in another's place misses writes.

    The kernel counts the chunk as copied in whose middle it was interrupted (scrub_enumerate_chunks of scrub.c).
    """
    number = btrfs_disks.being_replaced(place)
    if number is not None:
        btrfs_mending.note_away(place, frozenset({number}))


def _detach(group: str, place: Path) -> None:
    """Unmount; a program whose work was ended may still hold the mount for a moment."""
    deadline = time.monotonic() + _ENDING
    while True:
        try:
            run("umount", place, group=group)
        except StorageCommandFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL)
        else:
            return


def erase(group: str, disks: Sequence[Path]) -> None:
    """Wipe the RG's disks, and no others; idempotent."""
    for disk in disks:
        if carries(group, disk):
            block_devices.wipe(disk)


def status(place: Path) -> GroupStatus:
    """Return the state of the filesystem mounted at ``place``, as the kernel sees it. Raises OSError."""
    # First, so that what ends meanwhile is not told of before the disks have changed places.
    state, share = btrfs_disks.replacement(place)
    members = btrfs_disks.members(place)
    missing = sum(member.missing and not member.is_target for member in members)
    allocated = int((SYSFS / filesystem(place).id / "allocation/data/bytes_used").read_text())
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        # Nor can what is noted in it be read, perhaps.
        return GroupStatus(GroupHealth.FAILED, allocated, missing, members=tuple(_shown(one) for one in members))
    stale = btrfs_mending.stale(place).numbers
    shown = tuple(_shown(one, forgiven=one.number in stale and not one.missing) for one in members)
    if state is Replacement.STARTED:
        return GroupStatus(GroupHealth.REBUILDING, allocated, missing, share, shown)
    if missing:
        return GroupStatus(GroupHealth.DEGRADED, allocated, missing, members=shown)
    needed = btrfs_needs.need(place)
    if needed is None:
        # Of what no scrub could mend there are not as many copies as there ought to be.
        health = GroupHealth.DEGRADED if stale else GroupHealth.ONLINE
        return GroupStatus(health, allocated, missing, members=shown)
    if needed.convert or needed.spread:
        rebuilt = needed.share_done
    else:
        scrub = btrfs_scrub.status(place)
        rebuilt = scrub.progress if scrub is not None and scrub.running else 0.0
    return GroupStatus(GroupHealth.REBUILDING, allocated, missing, rebuilt, shown, spreading=needed.only_spreading)


def _shown(member: Member, *, forgiven: bool = False) -> MemberStatus:
    """Return what is told of a disk; what went wrong because it was away says nothing of it once it is back."""
    return MemberStatus(member.path, member.missing, DiskErrors() if forgiven else member.errors)


def data_use(place: Path) -> DataUse:
    """Return what the data of the filesystem mounted at ``place`` holds, and what has space reserved to be written."""
    data = SYSFS / filesystem(place).id / "allocation/data"
    held, reserved, may_use = (
        int((data / name).read_text()) for name in ("bytes_used", "bytes_reserved", "bytes_may_use")
    )
    return DataUse(held=held, coming=reserved + may_use)
