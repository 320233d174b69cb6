"""The btrfs driver: one filesystem per RG, one subvolume per VD that holds one file, read-only subvolume snapshots.

Below the mount of an RG lie ``vds/VD/live/disk`` (the VD), ``vds/VD/snapshots/ID/disk`` (its QSnaps), ``vds/VD/new`` (a
subvolume being made or thrown away) and ``trash`` (VDs being deleted). A VD comes into being, changes and ends by a
rename, so that a crash leaves either the old or the new; ``open_group`` clears what it left. Every subvolume of a VD
belongs to one level-1 quota group.

All that passes through ``new`` or ``trash`` happens under the RG's lock, so that a controller that opens the RG does
not clear away what the other one is making. Taking a snapshot needs only that snapshot's lock: hosts wait for it.
"""

import contextlib
import functools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from qreplica.storage import (
    block_devices,
    btrfs_changes,
    btrfs_disks,
    btrfs_filesystem,
    btrfs_freeing,
    btrfs_mending,
    btrfs_needs,
    btrfs_quota,
    btrfs_reclaim,
    btrfs_scrub,
    btrfs_send,
    btrfs_upkeep,
)
from qreplica.storage.btrfs_locks import alone_with, locked
from qreplica.storage.btrfs_tools import exchange, in_our_words, run, subvolume, sync_directory
from qreplica.storage.capacity import capacity
from qreplica.storage.driver import (
    DataUse,
    Extent,
    GroupHealth,
    GroupStatus,
    RaidLevel,
    Reclaimed,
    Scrub,
    SnapshotInfo,
    SpaceUsed,
    StorageDriver,
)
from qreplica.storage.errors import (
    DiskInUse,
    GroupClosed,
    GroupFailed,
    GroupNotEmpty,
    SnapshotMissing,
    VdMissing,
    VdSizeConflict,
)
from qreplica.storage.extents import classify, cover
from qreplica.storage.holes import written

_FILE = "disk"
#: ``prepare_snapshot`` writes out again what came in meanwhile, until a round is as short as this (seconds).
_SHORT, _ROUNDS = 0.02, 4


class BtrfsDriver(StorageDriver):
    """RGs as btrfs filesystems mounted below ``mounts``; any number of processes may use the same ones."""

    def __init__(self, mounts: Path) -> None:
        self._mounts = mounts
        self._upkeep = btrfs_upkeep.Upkeep()

    def create_group(self, group: str, disks: Sequence[Path], level: RaidLevel) -> None:
        """See StorageDriver. The filesystem's label names the group, which is how a second call knows its own."""
        with self._locked(group):
            was_open = self._is_open(group)
            btrfs_filesystem.make(group, disks, level)
            self._open_locked(group, disks)
            try:
                btrfs_filesystem.refuse_others(self._mounts / group, disks)
            except DiskInUse:
                if not was_open:
                    btrfs_filesystem.unmount(group, self._mounts / group)
                raise
            btrfs_needs.note_level(self._mounts / group, level)

    def open_group(self, group: str, disks: Sequence[Path]) -> None:
        """See StorageDriver. Mounts degraded when it must."""
        with self._locked(group):
            self._open_locked(group, disks)

    def _open_locked(self, group: str, disks: Sequence[Path]) -> None:
        mount = self._mounts / group
        btrfs_filesystem.mount(group, mount, disks)
        with in_our_words(group, "to be opened"):
            for name in ("vds", "trash"):
                (mount / name).mkdir(exist_ok=True)
            empty = not any(any((mount / name).iterdir()) for name in ("vds", "trash"))
            btrfs_quota.enable(mount, group, empty=empty)
            self._clear_leftovers(group, mount)
            for vd in self.list_vds(group):
                home = mount / "vds" / vd
                btrfs_quota.restore(mount, vd, [home / "live", *(home / "snapshots").iterdir()], group)
            btrfs_quota.drop_unused(mount, self.list_vds(group))

    def _clear_leftovers(self, group: str, mount: Path) -> None:
        for abandoned in (mount / "trash").iterdir():
            _empty(abandoned, group)
        for vd in (mount / "vds").iterdir():
            _delete_subvolumes([vd / "new"], group)
            if not (vd / "live").is_dir():
                _empty(vd, group)

    def close_group(self, group: str) -> None:
        """See StorageDriver."""
        with self._locked(group):
            btrfs_filesystem.unmount(group, self._mounts / group)

    def delete_group(self, group: str, disks: Sequence[Path]) -> None:
        """See StorageDriver. A closed RG is opened to see what it holds; one that cannot be opened is deleted."""
        mount = self._mounts / group
        with self._locked(group):
            was_open = self._is_open(group)
            with contextlib.suppress(GroupFailed):
                btrfs_filesystem.mount(group, mount, disks)
            count = len(list((mount / "vds").glob("*/live"))) if self._is_open(group) else 0
            if count == 0 or not was_open:
                btrfs_filesystem.unmount(group, mount)
            if count:
                raise GroupNotEmpty(group=group, count=count)
            btrfs_filesystem.erase(group, disks)

    def group_status(self, group: str) -> GroupStatus:
        """See StorageDriver."""
        if not self._is_open(group):
            return GroupStatus(GroupHealth.CLOSED, allocated=0, missing_disks=0)
        with in_our_words(group, "to tell its state"):
            return btrfs_filesystem.status(self._mounts / group)

    def replace_disk(self, group: str, old: Path, new: Path) -> None:
        """See StorageDriver. A rebalancing makes way, and goes on afterwards."""
        mount = self._open(group)
        with self._locked(group), in_our_words(group, f"to replace {old}"):
            if self._is_member(mount, new):
                return
            outgoing = btrfs_disks.find_outgoing(group, mount, old)
            btrfs_upkeep.refuse_replacing(group, mount, outgoing)
            btrfs_disks.refuse_incoming(mount, outgoing, new)
            btrfs_scrub.stop(group, mount)
            self._upkeep.clear_the_way(group, mount)
            cut_off = functools.partial(self._upkeep.cut_off, group)
            btrfs_disks.replace(group, mount, outgoing, new, failed=cut_off)
            btrfs_mending.forget(mount, outgoing.number)

    def add_disk(self, group: str, disk: Path) -> None:
        """See StorageDriver. What is to be spread is noted first, so that a crash in between only spreads in vain."""
        mount = self._open(group)
        with self._locked(group), in_our_words(group, f"to take in {disk}"):
            if self._is_member(mount, disk):
                return
            btrfs_upkeep.refuse_rebuilding(group, mount)
            # It is made room by, at most.
            btrfs_upkeep.make_way(group, mount)
            capacity(RaidLevel.JBOD, [block_devices.size_of(disk)])
            with btrfs_needs.spreading(mount):
                btrfs_disks.add(group, mount, disk)

    def _is_member(self, mount: Path, disk: Path) -> bool:
        found = btrfs_disks.find(btrfs_disks.members(mount), disk)
        return found is not None and not found.missing

    def tend_group(self, group: str, spare: int | None = None) -> None:
        """See StorageDriver."""
        mount = self._open(group)
        with self._locked(group), in_our_words(group, "to be tended"):
            self._upkeep.tend(group, mount, spare)

    def start_scrub(self, group: str) -> None:
        """See StorageDriver."""
        mount = self._open(group)
        with self._locked(group):
            btrfs_scrub.start(group, mount)

    def stop_scrub(self, group: str) -> None:
        """See StorageDriver."""
        btrfs_scrub.stop(group, self._open(group))

    def scrub_status(self, group: str) -> Scrub | None:
        """See StorageDriver."""
        mount = self._open(group)
        with in_our_words(group, "to tell of its scrub"):
            return btrfs_scrub.status(mount)

    def create_vd(self, group: str, vd: str, size: int) -> None:
        """See StorageDriver. The file is sparse, and never preallocated: that would make every delta a clone."""
        mount = self._open(group)
        home = mount / "vds" / vd
        live = home / "live" / _FILE
        with self._locked(group), in_our_words(group, f"to hold the new virtual disk {vd}"):
            if live.exists():
                if (existing := live.stat().st_size) != size:
                    raise VdSizeConflict(vd=vd, existing=existing, size=size)
                return
            self._begin_vd(mount, vd, group)
            run("btrfs", "subvolume", "create", "-i", btrfs_quota.quota_group(vd), home / "new", group=group)
            with (home / "new" / _FILE).open("xb") as file:
                file.truncate(size)
            (home / "new").rename(home / "live")
            run("btrfs", "filesystem", "sync", mount, group=group)

    def clone_vd(self, group: str, vd: str, snapshot: str, clone: str) -> None:
        """See StorageDriver."""
        mount, source = self._open(group), self.snapshot_path(group, vd, snapshot).parent
        home = mount / "vds" / clone
        with self._locked(group), in_our_words(group, f"to hold {clone}, a clone of the virtual disk {vd}"):
            if (home / "live").exists():
                return
            self._begin_vd(mount, clone, group)
            joining = ("-i", btrfs_quota.quota_group(clone))
            run("btrfs", "subvolume", "snapshot", *joining, source, home / "new", group=group)
            (home / "new").rename(home / "live")
            run("btrfs", "filesystem", "sync", mount, group=group)

    @staticmethod
    def _begin_vd(mount: Path, vd: str, group: str) -> None:
        """Make the place of a new VD, and drop what a crash left of one."""
        home = mount / "vds" / vd
        (home / "snapshots").mkdir(parents=True, exist_ok=True)
        _delete_subvolumes([home / "new"], group)
        btrfs_quota.create(mount, vd, group)

    def resize_vd(self, group: str, vd: str, size: int) -> None:
        """See StorageDriver. The new length is a hole, and durable as soon as the file is."""
        fd = os.open(self.vd_path(group, vd), os.O_RDWR | os.O_CLOEXEC)
        try:
            with self._locked(group), in_our_words(group, f"to extend the virtual disk {vd}"):
                if (existing := os.fstat(fd).st_size) > size:
                    raise VdSizeConflict(vd=vd, existing=existing, size=size)
                os.ftruncate(fd, size)
                os.fsync(fd)
        finally:
            os.close(fd)

    def delete_vd(self, group: str, vd: str) -> None:
        """See StorageDriver. Moved out of sight first, so that a half-deleted VD is never seen."""
        mount = self._open(group)
        home, trash = mount / "vds" / vd, mount / "trash" / vd
        with self._locked(group), in_our_words(group, f"to let go of the virtual disk {vd}"):
            _empty(trash, group)
            if home.exists():
                home.rename(trash)
                sync_directory(mount / "vds")
            _empty(trash, group)
            btrfs_quota.drop_unused(mount, self.list_vds(group))

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
        """See StorageDriver. Writes out what is dirty, again while that takes long, and commits."""
        for _ in range(_ROUNDS):
            began = time.monotonic()
            self.flush(group, vd)
            if time.monotonic() - began < _SHORT:
                break
        run("btrfs", "filesystem", "sync", self._open(group), group=group)

    def take_snapshot(self, group: str, vd: str, snapshot: str) -> SnapshotInfo:
        """See StorageDriver. The kernel writes out the file and commits within the call (fs/btrfs/ioctl.c)."""
        live = self.vd_path(group, vd).parent
        path = live.parent / "snapshots" / snapshot
        with self._alone_with(group, snapshot):
            if not path.exists():
                joining = ("-i", btrfs_quota.quota_group(vd))
                run("btrfs", "subvolume", "snapshot", "-r", *joining, live, path, group=group)
        return _snapshot_info(path)

    def delete_snapshot(self, group: str, vd: str, snapshot: str) -> None:
        """See StorageDriver. One that a program is still taking, whoever ran it, is waited for and deleted."""
        path = self._open(group) / "vds" / vd / "snapshots" / snapshot
        with self._alone_with(group, snapshot):
            _delete_subvolumes([path], group)

    def list_snapshots(self, group: str, vd: str) -> list[SnapshotInfo]:
        """See StorageDriver."""
        return [_snapshot_info(path) for path in self._snapshots(self.vd_path(group, vd))]

    @staticmethod
    def _snapshots(live: Path) -> list[Path]:
        """Return the snapshots of a VD, oldest first."""
        return sorted((live.parent.parent / "snapshots").iterdir(), key=lambda path: subvolume(path).transaction)

    def snapshot_path(self, group: str, vd: str, snapshot: str) -> Path:
        """See StorageDriver."""
        path = self.vd_path(group, vd).parent.parent / "snapshots" / snapshot / _FILE
        if not path.exists():
            raise SnapshotMissing(vd=vd, snapshot=snapshot)
        return path

    def roll_back(self, group: str, vd: str, snapshot: str, confirm: Callable[[], object] = lambda: None) -> None:
        """See StorageDriver. A writable snapshot of the snapshot changes places with the live subvolume."""
        source = self.snapshot_path(group, vd, snapshot).parent
        home = source.parent.parent
        with self._locked(group), in_our_words(group, f"to roll back the virtual disk {vd}"):
            confirm()
            _delete_subvolumes([home / "new"], group)
            joining = ("-i", btrfs_quota.quota_group(vd))
            run("btrfs", "subvolume", "snapshot", *joining, source, home / "new", group=group)
            exchange(home / "new", home / "live")
            run("btrfs", "filesystem", "sync", home, group=group)
            _delete_subvolumes([home / "new"], group)

    def space_used(self, group: str, vd: str, *, settled: bool = True) -> SpaceUsed:
        """See StorageDriver. Commits first, because quotas are counted at a commit; a lost count is made anew."""
        path, mount = self.vd_path(group, vd), self._open(group)
        with in_our_words(group, f"to tell the space that the virtual disk {vd} uses"):
            size = path.stat().st_size
            if settled:
                run("btrfs", "filesystem", "sync", mount, group=group)
            total = btrfs_quota.referenced(mount, vd, group, recount=settled)
        return SpaceUsed(total=total, snapshots=max(0, total - size))

    def data_use(self, group: str) -> DataUse:
        """See StorageDriver."""
        mount = self._open(group)
        with in_our_words(group, "to tell what its data holds"):
            use = btrfs_filesystem.data_use(mount)
            return replace(use, coming=use.coming + self._upkeep.moving(group, mount))

    def stop_moving(self, group: str) -> None:
        """See StorageDriver."""
        mount = self._open(group)
        with in_our_words(group, "to stop moving what it holds"):
            self._upkeep.stop_moving(group, mount)

    def let_go(self, group: str) -> None:
        """See StorageDriver."""
        with in_our_words(group, "to let go of what was overwritten"):
            btrfs_reclaim.write_out(self._open(group))

    def freeing(self, group: str) -> bool:
        """See StorageDriver."""
        mount = self._open(group)
        with in_our_words(group, "to tell whether it frees what was deleted"):
            return btrfs_freeing.freeing(mount)

    def allocated(self, group: str, vd: str) -> int:
        """See StorageDriver."""
        path = self.vd_path(group, vd)
        with in_our_words(group, f"to tell what the virtual disk {vd} holds"):
            return path.stat().st_blocks * 512

    def reclaim(
        self, group: str, vd: str, *, start: int, budget: int, room: int, worth: float, seconds: float
    ) -> Reclaimed:
        """See StorageDriver. One snapshot taken in the very middle of a slice shares that slice less."""
        reclaiming = in_our_words(group, f"to reclaim what virtual disk {vd} no longer uses")
        with locked(self._lock_of(group), group, patience=seconds), reclaiming:
            live = self.vd_path(group, vd)
            kept = (path / _FILE for path in self._snapshots(live))
            return btrfs_reclaim.reclaim(
                live, list(kept), start=start, budget=budget, room=room, worth=worth, seconds=seconds
            )

    def flush(self, group: str, vd: str) -> None:
        """See StorageDriver."""
        fd = os.open(self.vd_path(group, vd), os.O_RDWR | os.O_CLOEXEC)
        try:
            with in_our_words(group, f"to write out the virtual disk {vd}"):
                os.fsync(fd)
        finally:
            os.close(fd)

    def delta(self, group: str, vd: str, base: str | None, new: str) -> list[Extent]:
        """See StorageDriver. Growth is not in the stream, and holes look like data there: both are settled here."""
        path = self.snapshot_path(group, vd, new)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            if base is None:
                changed = [(0, size)]
            else:
                base_path = self.snapshot_path(group, vd, base)
                growth = (base_path.stat().st_size, size)
                changed = cover([*btrfs_send.changes(base_path, path, btrfs_send.ReadSoon(fd)), growth], size)
            return list(classify(changed, written(fd, changed)))
        finally:
            os.close(fd)

    def changed_since(self, group: str, vd: str, snapshot: str) -> int:
        """See StorageDriver."""
        live, base = self.vd_path(group, vd), self.snapshot_path(group, vd, snapshot)
        with in_our_words(group, f"to tell what of the virtual disk {vd} was written"):
            return btrfs_changes.changed_since(live, base)

    def _is_open(self, group: str) -> bool:
        return os.path.ismount(self._mounts / group)

    def _open(self, group: str) -> Path:
        if not self._is_open(group):
            raise GroupClosed(group=group)
        return self._mounts / group

    @contextlib.contextmanager
    def _locked(self, group: str) -> Iterator[None]:
        with locked(self._lock_of(group), group):
            yield

    def _lock_of(self, group: str) -> Path:
        return self._mounts / f".{group}.lock"

    @contextlib.contextmanager
    def _alone_with(self, group: str, snapshot: str) -> Iterator[None]:
        with alone_with(self._mounts / f".{group}.snapshots.lock", snapshot, group):
            yield


def _empty(home: Path, group: str) -> None:
    """Delete a VD's subvolumes and what held them; idempotent."""
    if home.exists():
        snapshots = home / "snapshots"
        kept = sorted(snapshots.iterdir()) if snapshots.exists() else []
        _delete_subvolumes([*kept, home / "live", home / "new"], group)
        shutil.rmtree(home)


def _delete_subvolumes(paths: Sequence[Path], group: str) -> None:
    there = [path for path in paths if path.exists()]
    if there:
        run("btrfs", "subvolume", "delete", "--commit-after", *there, group=group)


def _snapshot_info(path: Path) -> SnapshotInfo:
    return SnapshotInfo(path.name, (path / _FILE).stat().st_size, subvolume(path).made_at)
