"""A storage driver of plain sparse files in a directory (best on tmpfs), for fast tests of the layers above."""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from qreplica.storage.block_devices import refuse_twice, size_of
from qreplica.storage.capacity import capacity
from qreplica.storage.driver import (
    BLOCK,
    DataUse,
    Extent,
    ExtentKind,
    GroupHealth,
    GroupStatus,
    MemberStatus,
    RaidLevel,
    Reclaimed,
    Scrub,
    SnapshotInfo,
    SpaceUsed,
    StorageDriver,
)
from qreplica.storage.errors import (
    DiskInUse,
    DiskTooSmall,
    GroupClosed,
    GroupFailed,
    GroupNotEmpty,
    NotAMember,
    RebuildRunning,
    SnapshotMissing,
    VdMissing,
    VdSizeConflict,
)
from qreplica.storage.extents import Range, classify, cover
from qreplica.storage.holes import written


class MemoryDriver(StorageDriver):
    """RGs as directories below ``root``. A disk is any file; the first disk's owner file says whose it is."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open_groups: dict[str, list[Path]] = {}
        self._rebuilding: set[str] = set()
        self._leaving: dict[str, Path] = {}
        self._scrubs: dict[str, Scrub] = {}

    def create_group(self, group: str, disks: Sequence[Path], level: RaidLevel) -> None:
        """See StorageDriver."""
        refuse_twice(disks)
        capacity(level, [disk.stat().st_size for disk in disks])
        for disk in disks:
            owner = self._owner(disk)
            if owner.exists() and owner.read_text() != group:
                raise DiskInUse(disk=disk, owner=f"RAID group {owner.read_text()}")
        for disk in disks:
            self._owner(disk).write_text(group)
        (self._root / group).mkdir(parents=True, exist_ok=True)
        self._open_groups.setdefault(group, list(disks))

    def _owner(self, disk: Path) -> Path:
        return disk.with_name(f"{disk.name}.owner")

    def open_group(self, group: str, disks: Sequence[Path]) -> None:
        """See StorageDriver."""
        if not (self._root / group).is_dir() or not any(disk.exists() for disk in disks):
            raise GroupFailed(group=group, reason="none of its disks is there")
        self._open_groups.setdefault(group, [disk for disk in disks if self._owned(group, disk)])

    def close_group(self, group: str) -> None:
        """See StorageDriver."""
        self._open_groups.pop(group, None)

    def delete_group(self, group: str, disks: Sequence[Path]) -> None:
        """See StorageDriver."""
        if count := len(list((self._root / group).glob("*/live"))):
            raise GroupNotEmpty(group=group, count=count)
        self.close_group(group)
        shutil.rmtree(self._root / group, ignore_errors=True)
        for disk in disks:
            self._owner(disk).unlink(missing_ok=True)

    def group_status(self, group: str) -> GroupStatus:
        """See StorageDriver."""
        if group not in self._open_groups:
            return GroupStatus(GroupHealth.CLOSED, allocated=0, missing_disks=0)
        used = sum(file.stat().st_blocks * 512 for file in (self._root / group).rglob("*") if file.is_file())
        members = tuple(MemberStatus(disk, missing=not disk.exists()) for disk in self._open_groups[group])
        missing = sum(member.missing for member in members)
        if group in self._rebuilding:
            spreading = group not in self._leaving
            return GroupStatus(GroupHealth.REBUILDING, used, missing, 0.5, members, spreading=spreading)
        health = GroupHealth.DEGRADED if missing else GroupHealth.ONLINE
        return GroupStatus(health, used, missing, members=members)

    def replace_disk(self, group: str, old: Path, new: Path) -> None:
        """See StorageDriver. Done at once; ``tend_group`` ends it, so that REBUILDING can be seen."""
        self._refuse_foreign(group, new)
        if self._member(group, new):
            return
        if not self._member(group, old):
            raise NotAMember(group=group, disk=old)
        if group in self._leaving:
            self._refuse_rebuilding(group)
        if (size := size_of(new)) < (needed := size_of(old) if old.exists() else 0):
            raise DiskTooSmall(disk=new, size=size, minimum=needed)
        self._owner(new).write_text(group)
        self._owner(old).unlink()
        self._open_groups[group].append(new)
        self._leaving[group] = old
        self._rebuilding.add(group)

    def add_disk(self, group: str, disk: Path) -> None:
        """See StorageDriver. As ``replace_disk``."""
        self._refuse_foreign(group, disk)
        if self._member(group, disk):
            return
        self._refuse_rebuilding(group)
        capacity(RaidLevel.JBOD, [size_of(disk)])
        self._owner(disk).write_text(group)
        self._open_groups[group].append(disk)
        self._rebuilding.add(group)

    def tend_group(self, group: str, spare: int | None = None) -> None:  # noqa: ARG002 - nothing is moved here
        """See StorageDriver."""
        self._group(group)
        self._rebuilding.discard(group)
        if group in self._leaving:
            self._open_groups[group].remove(self._leaving.pop(group))

    def start_scrub(self, group: str) -> None:
        """See StorageDriver. Done at once; a file has no second copy to be wrong."""
        self._group(group)
        checked = self.group_status(group).allocated
        self._scrubs[group] = Scrub(
            running=False,
            interrupted=False,
            progress=1.0,
            checked=checked,
            corrected=0,
            uncorrectable=0,
            started_at=datetime.now(UTC),
            seconds=0.0,
        )

    def stop_scrub(self, group: str) -> None:
        """See StorageDriver."""
        self._group(group)

    def scrub_status(self, group: str) -> Scrub | None:
        """See StorageDriver."""
        self._group(group)
        return self._scrubs.get(group)

    def _member(self, group: str, disk: Path) -> bool:
        self._group(group)
        return self._owned(group, disk)

    def _owned(self, group: str, disk: Path) -> bool:
        owner = self._owner(disk)
        return owner.exists() and owner.read_text() == group

    def _refuse_foreign(self, group: str, disk: Path) -> None:
        owner = self._owner(disk)
        if owner.exists() and owner.read_text() != group:
            raise DiskInUse(disk=disk, owner=f"RAID group {owner.read_text()}")

    def _refuse_rebuilding(self, group: str) -> None:
        if group in self._rebuilding:
            raise RebuildRunning(group=group)

    def create_vd(self, group: str, vd: str, size: int) -> None:
        """See StorageDriver."""
        live = self._group(group) / vd / "live"
        if live.exists():
            if (existing := live.stat().st_size) != size:
                raise VdSizeConflict(vd=vd, existing=existing, size=size)
            return
        (live.parent / "snapshots").mkdir(parents=True, exist_ok=True)
        with live.open("xb") as file:
            file.truncate(size)

    def clone_vd(self, group: str, vd: str, snapshot: str, clone: str) -> None:
        """See StorageDriver."""
        source, live = self.snapshot_path(group, vd, snapshot), self._group(group) / clone / "live"
        if not live.exists():
            (live.parent / "snapshots").mkdir(parents=True, exist_ok=True)
            being_made = live.with_name("new")
            _copy(source, being_made)
            being_made.rename(live)

    def resize_vd(self, group: str, vd: str, size: int) -> None:
        """See StorageDriver."""
        live = self.vd_path(group, vd)
        if (existing := live.stat().st_size) > size:
            raise VdSizeConflict(vd=vd, existing=existing, size=size)
        os.truncate(live, size)

    def delete_vd(self, group: str, vd: str) -> None:
        """See StorageDriver."""
        if (self._group(group) / vd).exists():
            shutil.rmtree(self._group(group) / vd)

    def list_vds(self, group: str) -> list[str]:
        """See StorageDriver."""
        return sorted(vd.name for vd in self._group(group).iterdir() if (vd / "live").exists())

    def vd_path(self, group: str, vd: str) -> Path:
        """See StorageDriver."""
        path = self._group(group) / vd / "live"
        if not path.exists():
            raise VdMissing(group=group, vd=vd)
        return path

    def prepare_snapshot(self, group: str, vd: str) -> None:
        """See StorageDriver."""
        self.vd_path(group, vd)

    def take_snapshot(self, group: str, vd: str, snapshot: str) -> SnapshotInfo:
        """See StorageDriver."""
        path = self.vd_path(group, vd).parent / "snapshots" / snapshot
        if not path.exists():
            being_made = path.with_name(f".{snapshot}")
            _copy(self.vd_path(group, vd), being_made)
            os.utime(being_made, ns=(now := time.time_ns(), now))
            being_made.rename(path)
        return _snapshot_info(path)

    def delete_snapshot(self, group: str, vd: str, snapshot: str) -> None:
        """See StorageDriver."""
        (self._group(group) / vd / "snapshots" / snapshot).unlink(missing_ok=True)

    def list_snapshots(self, group: str, vd: str) -> list[SnapshotInfo]:
        """See StorageDriver."""
        snapshots = self.vd_path(group, vd).parent / "snapshots"
        found = [path for path in snapshots.iterdir() if not path.name.startswith(".")]
        return [_snapshot_info(path) for path in sorted(found, key=lambda path: path.stat().st_mtime_ns)]

    def snapshot_path(self, group: str, vd: str, snapshot: str) -> Path:
        """See StorageDriver."""
        path = self.vd_path(group, vd).parent / "snapshots" / snapshot
        if not path.exists():
            raise SnapshotMissing(vd=vd, snapshot=snapshot)
        return path

    def roll_back(self, group: str, vd: str, snapshot: str, confirm: Callable[[], object] = lambda: None) -> None:
        """See StorageDriver. No other process is there."""
        live = self.vd_path(group, vd)
        confirm()
        being_made = live.with_name("new")
        _copy(self.snapshot_path(group, vd, snapshot), being_made)
        being_made.rename(live)

    def space_used(self, group: str, vd: str, *, settled: bool = True) -> SpaceUsed:  # noqa: ARG002
        """See StorageDriver. Every snapshot counts in full: nothing is shared here."""
        live = self.vd_path(group, vd)
        files = [live, *(live.parent / "snapshots").iterdir()]
        total = sum(file.stat().st_blocks * 512 for file in files)
        return SpaceUsed(total=total, snapshots=max(0, total - live.stat().st_size))

    def data_use(self, group: str) -> DataUse:
        """See StorageDriver."""
        self._group(group)
        return DataUse(held=self.group_status(group).allocated, coming=0)

    def stop_moving(self, group: str) -> None:
        """See StorageDriver."""
        self._group(group)

    def let_go(self, group: str) -> None:
        """See StorageDriver. Nothing lingers here."""
        self._group(group)

    def freeing(self, group: str) -> bool:
        """See StorageDriver. Nothing lingers here."""
        self._group(group)
        return False

    def allocated(self, group: str, vd: str) -> int:
        """See StorageDriver."""
        return self.vd_path(group, vd).stat().st_blocks * 512

    def reclaim(
        self,
        group: str,
        vd: str,
        *,
        start: int,  # noqa: ARG002 - what there is to do is nothing, wherever one begins
        budget: int,  # noqa: ARG002
        room: int,  # noqa: ARG002
        worth: float,  # noqa: ARG002
        seconds: float,  # noqa: ARG002
    ) -> Reclaimed:
        """See StorageDriver. Nothing is held that is not used."""
        self.vd_path(group, vd)
        return Reclaimed(freed=0, rewritten=0, next=None)

    def flush(self, group: str, vd: str) -> None:
        """See StorageDriver."""
        self.vd_path(group, vd)

    def delta(self, group: str, vd: str, base: str | None, new: str) -> list[Extent]:
        """See StorageDriver. Compares every block."""
        path = self.snapshot_path(group, vd, new)
        size = path.stat().st_size
        changed = [(0, size)]
        if base is not None:
            changed = cover(_differences(self.snapshot_path(group, vd, base), path), size)
        with path.open("rb") as file:
            return list(classify(changed, written(file.fileno(), changed)))

    def changed_since(self, group: str, vd: str, snapshot: str) -> int:
        """See StorageDriver. Compares every block."""
        live = self.vd_path(group, vd)
        changed = cover(_differences(self.snapshot_path(group, vd, snapshot), live), live.stat().st_size)
        with live.open("rb") as file:
            extents = classify(changed, written(file.fileno(), changed))
            return sum(extent.length for extent in extents if extent.kind is ExtentKind.DATA)

    def _group(self, group: str) -> Path:
        if group not in self._open_groups:
            raise GroupClosed(group=group)
        return self._root / group


def _copy(source: Path, destination: Path) -> None:
    """Copy a file and its holes."""
    with source.open("rb") as old, destination.open("wb") as new:
        size = source.stat().st_size
        new.truncate(size)
        for start, end in written(old.fileno(), [(0, size)]):
            os.copy_file_range(old.fileno(), new.fileno(), end - start, start, start)


def _differences(base: Path, new: Path) -> Iterator[Range]:
    with base.open("rb") as old_file, new.open("rb") as new_file:
        at = 0
        while block := new_file.read(BLOCK):
            if block != old_file.read(BLOCK):
                yield (at, at + BLOCK)
            at += BLOCK


def _snapshot_info(path: Path) -> SnapshotInfo:
    facts = path.stat()
    return SnapshotInfo(path.name, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))
