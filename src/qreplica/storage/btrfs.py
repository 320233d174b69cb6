"""The btrfs driver: one filesystem per RG, one subvolume per VD that holds one file, read-only subvolume snapshots.

Below the mount of an RG lie ``vds/VD/live/disk`` (the VD), ``vds/VD/snapshots/ID/disk`` (its QSnaps), ``vds/VD/new`` (a
subvolume being made or thrown away) and ``trash`` (VDs being deleted). A VD comes into being, changes and ends by a
rename, so that a crash leaves either the old or the new; ``open_group`` clears what it left. Every subvolume of a VD
belongs to one level-1 quota group, whose ``referenced`` is what VD and snapshots use together.
"""

import errno
import hashlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from qreplica.storage import block_devices
from qreplica.storage.btrfs_tools import exchange, filesystem_id, run, subvolume, sync_directory
from qreplica.storage.capacity import capacity, metadata_copies
from qreplica.storage.driver import (
    Extent,
    GroupHealth,
    GroupStatus,
    RaidLevel,
    SnapshotInfo,
    SpaceUsed,
    StorageDriver,
)
from qreplica.storage.errors import (
    DeltaStreamBroken,
    GroupBusy,
    GroupClosed,
    GroupFailed,
    GroupFull,
    GroupNotEmpty,
    SnapshotMissing,
    StorageCommandFailed,
    VdMissing,
    VdSizeConflict,
)
from qreplica.storage.extents import classify, cover
from qreplica.storage.holes import written
from qreplica.storage.send_stream import Changes, read_changes

_FILE = "disk"
_DATA_PROFILES = {
    RaidLevel.JBOD: "single",
    RaidLevel.RAID0: "raid0",
    RaidLevel.RAID1: "raid1",
    RaidLevel.RAID10: "raid10",
    RaidLevel.MIRROR3: "raid1c3",
    RaidLevel.MIRROR4: "raid1c4",
}
_METADATA_PROFILES = {2: "raid1", 3: "raid1c3", 4: "raid1c4"}
_MOUNT_OPTIONS = "noatime"
_SYSFS = Path("/sys/fs/btrfs")


class BtrfsDriver(StorageDriver):
    """RGs as btrfs filesystems mounted below ``mounts``; any number of processes may use the same ones."""

    def __init__(self, mounts: Path) -> None:
        self._mounts = mounts

    def create_group(self, group: str, disks: Sequence[Path], level: RaidLevel) -> None:
        """See StorageDriver. The filesystem's label names the group, which is how a second call knows its own."""
        if self._is_open(group):
            return
        capacity(level, [block_devices.size_of(disk) for disk in disks])
        ours = [disk for disk in disks if block_devices.signature(disk).get("LABEL") == _label(group)]
        for disk in disks:
            if disk not in ours:
                block_devices.refuse_used(disk)
        if len(ours) < len(disks) or not self._opens(group, disks):
            for disk in ours:
                block_devices.wipe(disk)
            metadata = "dup" if len(disks) == 1 else _METADATA_PROFILES[metadata_copies(level)]
            profiles = ("--data", _DATA_PROFILES[level], "--metadata", metadata)
            run("mkfs.btrfs", "--quiet", "--label", _label(group), *profiles, *disks, group=group)
        self.open_group(group, disks)

    def _opens(self, group: str, disks: Sequence[Path]) -> bool:
        try:
            self.open_group(group, disks)
        except GroupFailed:
            return False
        return True

    def open_group(self, group: str, disks: Sequence[Path]) -> None:
        """See StorageDriver. Mounts degraded when it must."""
        mount = self._mounts / group
        if not self._is_open(group):
            mount.mkdir(parents=True, exist_ok=True)
            self._mount(group, mount, [disk for disk in disks if disk.exists()])
        for name in ("vds", "trash"):
            (mount / name).mkdir(exist_ok=True)
        run("btrfs", "quota", "enable", mount, group=group)
        self._clear_leftovers(group, mount)

    def _mount(self, group: str, mount: Path, disks: Sequence[Path]) -> None:
        if not disks:
            raise GroupFailed(group=group, reason="none of its disks is there")
        run("btrfs", "device", "scan", *disks, group=group)
        try:
            run("mount", "-t", "btrfs", "-o", _MOUNT_OPTIONS, disks[0], mount, group=group)
        except StorageCommandFailed:
            try:
                run("mount", "-t", "btrfs", "-o", f"{_MOUNT_OPTIONS},degraded", disks[0], mount, group=group)
            except StorageCommandFailed as error:
                raise GroupFailed(group=group, reason=error.fields["reason"]) from error

    def _clear_leftovers(self, group: str, mount: Path) -> None:
        for abandoned in (mount / "trash").iterdir():
            self._empty(abandoned, group)
        for vd in (mount / "vds").iterdir():
            _delete_subvolume(vd / "new", group)
            if not (vd / "live").is_dir():
                self._empty(vd, group)

    def close_group(self, group: str) -> None:
        """See StorageDriver."""
        if not self._is_open(group):
            return
        try:
            run("umount", self._mounts / group, group=group)
        except StorageCommandFailed as error:
            if "busy" in str(error.fields["reason"]):
                raise GroupBusy(group=group) from error
            raise
        (self._mounts / group).rmdir()

    def delete_group(self, group: str, disks: Sequence[Path]) -> None:
        """See StorageDriver."""
        if self._is_open(group) and (count := len(self.list_vds(group))):
            raise GroupNotEmpty(group=group, count=count)
        self.close_group(group)
        for disk in disks:
            if disk.exists() and block_devices.signature(disk).get("LABEL") == _label(group):
                block_devices.wipe(disk)

    def group_status(self, group: str) -> GroupStatus:
        """See StorageDriver. The kernel's view, from sysfs (Documentation/filesystems/btrfs)."""
        if not self._is_open(group):
            return GroupStatus(GroupHealth.CLOSED, allocated=0, missing_disks=0)
        facts = _SYSFS / filesystem_id(self._mounts / group)
        missing = sum(int((device / "missing").read_text()) for device in (facts / "devinfo").iterdir())
        health = GroupHealth.DEGRADED if missing else GroupHealth.ONLINE
        return GroupStatus(health, int((facts / "allocation/data/bytes_used").read_text()), missing)

    def create_vd(self, group: str, vd: str, size: int) -> None:
        """See StorageDriver. The file is sparse, and never preallocated: that would make every delta a clone."""
        home = self._open(group) / "vds" / vd
        live = home / "live" / _FILE
        if live.exists():
            if (existing := live.stat().st_size) != size:
                raise VdSizeConflict(vd=vd, existing=existing, size=size)
            return
        with _full_in_our_words(group, "a new virtual disk"):
            (home / "snapshots").mkdir(parents=True, exist_ok=True)
            _delete_subvolume(home / "new", group)
            self._create_quota_group(group, vd)
            run("btrfs", "subvolume", "create", "-i", _quota_group(vd), home / "new", group=group)
            with (home / "new" / _FILE).open("xb") as file:
                file.truncate(size)
                os.fsync(file.fileno())
            (home / "new").rename(home / "live")
        run("btrfs", "filesystem", "sync", home, group=group)

    def _create_quota_group(self, group: str, vd: str) -> None:
        if self._referenced(group, vd) is None:
            run("btrfs", "qgroup", "create", _quota_group(vd), self._open(group), group=group)

    def delete_vd(self, group: str, vd: str) -> None:
        """See StorageDriver. Moved out of sight first, so that a half-deleted VD is never seen."""
        mount = self._open(group)
        home, trash = mount / "vds" / vd, mount / "trash" / vd
        if home.exists():
            home.rename(trash)
            sync_directory(mount / "vds")
        self._empty(trash, group)

    def _empty(self, home: Path, group: str) -> None:
        if not home.exists():
            return
        snapshots = home / "snapshots"
        for snapshot in sorted(snapshots.iterdir()) if snapshots.exists() else ():
            _delete_subvolume(snapshot, group)
        for name in ("live", "new"):
            _delete_subvolume(home / name, group)
        shutil.rmtree(home)

    def list_vds(self, group: str) -> list[str]:
        """See StorageDriver."""
        return sorted(vd.name for vd in (self._open(group) / "vds").iterdir() if (vd / "live").is_dir())

    def vd_path(self, group: str, vd: str) -> Path:
        """See StorageDriver."""
        path = self._open(group) / "vds" / vd / "live" / _FILE
        if not path.exists():
            raise VdMissing(group=group, vd=vd)
        return path

    def prepare_snapshot(self, group: str, vd: str) -> None:
        """See StorageDriver. Writes out what is dirty and commits, so that the snapshot itself has little to do."""
        self.flush(group, vd)
        run("btrfs", "filesystem", "sync", self._open(group), group=group)

    def take_snapshot(self, group: str, vd: str, snapshot: str) -> SnapshotInfo:
        """See StorageDriver. The kernel writes out the file and commits within the call (fs/btrfs/ioctl.c)."""
        live = self.vd_path(group, vd).parent
        path = live.parent / "snapshots" / snapshot
        if not path.exists():
            run("btrfs", "subvolume", "snapshot", "-r", "-i", _quota_group(vd), live, path, group=group)
        return _snapshot_info(path)

    def delete_snapshot(self, group: str, vd: str, snapshot: str) -> None:
        """See StorageDriver."""
        _delete_subvolume(self._open(group) / "vds" / vd / "snapshots" / snapshot, group)

    def list_snapshots(self, group: str, vd: str) -> list[SnapshotInfo]:
        """See StorageDriver."""
        snapshots = self.vd_path(group, vd).parent.parent / "snapshots"
        return [
            _snapshot_info(path) for path in sorted(snapshots.iterdir(), key=lambda path: subvolume(path).transaction)
        ]

    def snapshot_path(self, group: str, vd: str, snapshot: str) -> Path:
        """See StorageDriver."""
        path = self.vd_path(group, vd).parent.parent / "snapshots" / snapshot / _FILE
        if not path.exists():
            raise SnapshotMissing(vd=vd, snapshot=snapshot)
        return path

    def roll_back(self, group: str, vd: str, snapshot: str) -> None:
        """See StorageDriver. A writable snapshot of the snapshot changes places with the live subvolume."""
        source = self.snapshot_path(group, vd, snapshot).parent
        home = source.parent.parent
        _delete_subvolume(home / "new", group)
        run("btrfs", "subvolume", "snapshot", "-i", _quota_group(vd), source, home / "new", group=group)
        with _full_in_our_words(group, "a roll back"):
            exchange(home / "new", home / "live")
        run("btrfs", "filesystem", "sync", home, group=group)
        _delete_subvolume(home / "new", group)

    def space_used(self, group: str, vd: str) -> SpaceUsed:
        """See StorageDriver. Snapshots deleted a moment ago count until the kernel's cleaner has been."""
        size = self.vd_path(group, vd).stat().st_size
        run("btrfs", "filesystem", "sync", self._open(group), group=group)
        total = self._referenced(group, vd) or 0
        return SpaceUsed(total=total, snapshots=max(0, total - size))

    def _referenced(self, group: str, vd: str) -> int | None:
        mount = self._open(group)
        listing = run("btrfs", "qgroup", "show", "--raw", mount, group=group)
        if _quotas_inconsistent(mount):
            run("btrfs", "quota", "rescan", "-w", mount, group=group)
            listing = run("btrfs", "qgroup", "show", "--raw", mount, group=group)
        found = re.search(rf"^{_quota_group(vd)}\s+(\d+)\s", listing, re.MULTILINE)
        return int(found[1]) if found else None

    def flush(self, group: str, vd: str) -> None:
        """See StorageDriver."""
        fd = os.open(self.vd_path(group, vd), os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def delta(self, group: str, vd: str, base: str | None, new: str) -> list[Extent]:
        """See StorageDriver. Growth is not in the stream, and holes look like data there: both are settled here."""
        path = self.snapshot_path(group, vd, new)
        size = path.stat().st_size
        if base is None:
            changed = [(0, size)]
        else:
            base_path = self.snapshot_path(group, vd, base)
            base_size = base_path.stat().st_size
            changed = cover([*_changes(base_path, path).ranges, (base_size, size)], size)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return list(classify(changed, written(fd, changed)))
        finally:
            os.close(fd)

    def _is_open(self, group: str) -> bool:
        return os.path.ismount(self._mounts / group)

    def _open(self, group: str) -> Path:
        if not self._is_open(group):
            raise GroupClosed(group=group)
        return self._mounts / group


def _changes(base: Path, new: Path) -> Changes:
    command = ["btrfs", "send", "--quiet", "--no-data", "-p", str(base.parent), str(new.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        errors: list[bytes] = []
        said = cast("IO[bytes]", process.stderr)
        reader = threading.Thread(target=lambda: errors.append(said.read()))
        reader.start()
        try:
            changes = read_changes(cast("IO[bytes]", process.stdout), new.name.encode())
        except DeltaStreamBroken as error:
            process.kill()
            reader.join()
            raise DeltaStreamBroken(reason=f"{error.fields['reason']} {_words(errors)}".strip()) from error
        except BaseException:
            process.kill()
            raise
        finally:
            reader.join()
    if process.returncode != 0:
        raise DeltaStreamBroken(reason=f"btrfs send ended with status {process.returncode} {_words(errors)}".strip())
    return changes


def _words(output: list[bytes]) -> str:
    return " ".join(b" ".join(output).decode(errors="replace").split())


def _label(group: str) -> str:
    return f"qr-{group}"


def _quota_group(vd: str) -> str:
    """Return the level-1 quota group of a VD: a number of 48 bits made from its id."""
    return f"1/{int.from_bytes(hashlib.sha256(vd.encode()).digest()[:6])}"


def _quotas_inconsistent(mount: Path) -> bool:
    flag = _SYSFS / filesystem_id(mount) / "qgroups" / "inconsistent"
    return flag.exists() and flag.read_text().strip() == "1"


@contextmanager
def _full_in_our_words(group: str, operation: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise GroupFull(group=group, operation=operation) from error
        raise


def _delete_subvolume(path: Path, group: str) -> None:
    if path.exists():
        run("btrfs", "subvolume", "delete", "--commit-after", path, group=group)


def _snapshot_info(path: Path) -> SnapshotInfo:
    return SnapshotInfo(path.name, (path / _FILE).stat().st_size, subvolume(path).made_at)
