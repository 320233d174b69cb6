"""The btrfs filesystem of an RG: made on free disks, mounted whole or degraded, unmounted, erased.

Its label names the RG. Device names change over a restart and disks change places, so the label is what tells whose
a disk is; a disk without it is never written to, mounted or wiped as one of the RG's.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from qreplica.storage import block_devices
from qreplica.storage.btrfs_tools import filesystem, run
from qreplica.storage.capacity import capacity, metadata_copies
from qreplica.storage.driver import DataUse, GroupHealth, GroupStatus, RaidLevel
from qreplica.storage.errors import DiskInUse, GroupBusy, GroupFailed, StorageCommandFailed

#: One directory for each mounted filesystem (Linux: Documentation/ABI/testing/sysfs-fs-btrfs).
SYSFS = Path("/sys/fs/btrfs")

_DATA_PROFILES = {
    RaidLevel.JBOD: "single",
    RaidLevel.RAID0: "raid0",
    RaidLevel.RAID1: "raid1",
    RaidLevel.RAID10: "raid10",
    RaidLevel.MIRROR3: "raid1c3",
    RaidLevel.MIRROR4: "raid1c4",
}
_METADATA_PROFILES = {2: "raid1", 3: "raid1c3", 4: "raid1c4"}
#: Named one by one, so that another version's defaults change nothing.
_FORMAT = (
    *("--nodesize", "16384"),
    *("--sectorsize", "4096"),
    *("--checksum", "crc32c"),
    *("-O", "extref,skinny-metadata,no-holes"),
    *("-R", "free-space-tree"),
)
_MOUNT_OPTIONS = "noatime"


def carries(group: str, disk: Path) -> bool:
    """Tell whether the disk is there and belongs to the RG."""
    return disk.exists() and block_devices.signature(disk).get("LABEL") == _label(group)


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
    metadata = "dup" if len(disks) == 1 else _METADATA_PROFILES[metadata_copies(level)]
    profiles = ("--data", _DATA_PROFILES[level], "--metadata", metadata)
    # mkfs puts the first chunks on the disks named last; on the smallest they would take what a mirror needs there.
    ascending = sorted(disks, key=block_devices.size_of)
    run("mkfs.btrfs", "--quiet", "--label", _label(group), *_FORMAT, *profiles, *ascending, group=group)


def mount(group: str, place: Path, disks: Sequence[Path]) -> None:
    """Mount the filesystem at ``place``, degraded when it must; the disks that are gone or another's are left out.

    Raises GroupFailed, also when something else is mounted there.
    """
    if os.path.ismount(place):
        return
    own = [disk for disk in disks if carries(group, disk)]
    if not own:
        raise GroupFailed(group=group, reason="none of its disks is there")
    place.mkdir(parents=True, exist_ok=True)
    run("btrfs", "device", "scan", *own, group=group)
    try:
        run("mount", "-t", "btrfs", "-o", _MOUNT_OPTIONS, own[0], place, group=group)
    except StorageCommandFailed:
        try:
            run("mount", "-t", "btrfs", "-o", f"{_MOUNT_OPTIONS},degraded", own[0], place, group=group)
        except StorageCommandFailed as error:
            place.rmdir()
            raise GroupFailed(group=group, reason=error.fields["reason"]) from error


def refuse_others(place: Path, disks: Sequence[Path]) -> None:
    """Raise DiskInUse when the filesystem at ``place`` does not have as many devices as ``disks``."""
    if (count := filesystem(place).devices) != len(disks):
        raise DiskInUse(disk=disks[0], owner=f"a RAID group of {count} disk(s)")


def unmount(group: str, place: Path) -> None:
    """Unmount and remove the mount point; idempotent. Raises GroupBusy."""
    if not os.path.ismount(place):
        return
    try:
        run("umount", place, group=group)
    except StorageCommandFailed as error:
        if "busy" in str(error.fields["reason"]):
            raise GroupBusy(group=group) from error
        raise
    place.rmdir()


def erase(group: str, disks: Sequence[Path]) -> None:
    """Wipe the RG's disks, and no others; idempotent."""
    for disk in disks:
        if carries(group, disk):
            block_devices.wipe(disk)


def status(place: Path) -> GroupStatus:
    """Return the state of the filesystem mounted at ``place``, as the kernel sees it."""
    facts = SYSFS / filesystem(place).id
    missing = sum(int((device / "missing").read_text()) for device in (facts / "devinfo").iterdir())
    health = GroupHealth.DEGRADED if missing else GroupHealth.ONLINE
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        health = GroupHealth.FAILED
    return GroupStatus(health, int((facts / "allocation/data/bytes_used").read_text()), missing)


def data_use(place: Path) -> DataUse:
    """Return what the data of the filesystem mounted at ``place`` holds, and what has space reserved to be written."""
    data = SYSFS / filesystem(place).id / "allocation/data"
    held, reserved, may_use = (
        int((data / name).read_text()) for name in ("bytes_used", "bytes_reserved", "bytes_may_use")
    )
    return DataUse(held=held, coming=reserved + may_use)


def _label(group: str) -> str:
    return f"qr-{group}"
