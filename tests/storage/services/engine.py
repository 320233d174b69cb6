"""An engine in memory whose disks fail, vanish and are rebuilt when a test says so, and which outlives the daemon."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from qreplica.errors import QReplicaError
from qreplica.storage.driver import (
    DiskErrors,
    GroupHealth,
    GroupStatus,
    MemberStatus,
    RaidLevel,
    Scrub,
)
from qreplica.storage.memory import MemoryDriver


class Engine(MemoryDriver):
    """Replacing and growing go on until ``finish``; scrubs until ``end_scrub``."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.members: dict[str, list[Path]] = {}
        self.errors: dict[Path, DiskErrors] = {}
        self.missing: set[Path] = set()
        self.pathless = False
        self.stopped_writing = False
        self.replacing: dict[str, tuple[Path, Path]] = {}
        self.tended = 0
        self.spare: int | None = None
        self.hindered: QReplicaError | None = None
        self.spreading = False

    def create_group(self, group: str, disks: Any, level: RaidLevel) -> None:
        super().create_group(group, disks, level)
        self.members[group] = list(disks)

    def group_status(self, group: str) -> GroupStatus:
        status = super().group_status(group)
        if status.health is GroupHealth.CLOSED:
            return status
        members = tuple(self._status_of(disk) for disk in self.members[group])
        lost = sum(one.missing for one in members)
        health = GroupHealth.DEGRADED if lost else GroupHealth.ONLINE
        if self.stopped_writing:
            health = GroupHealth.FAILED
        if group in self._rebuilding:
            return GroupStatus(
                GroupHealth.REBUILDING, status.allocated, lost, rebuilt=0.25, members=members, spreading=self.spreading
            )
        return GroupStatus(health, status.allocated, lost, members=members)

    def _status_of(self, disk: Path) -> MemberStatus:
        missing = disk in self.missing
        known = None if missing and self.pathless else disk
        return MemberStatus(known, missing, self.errors.get(disk, DiskErrors()))

    def replace_disk(self, group: str, old: Path, new: Path) -> None:
        if self._member(group, new):
            return
        # It is no longer all that goes on.
        self.spreading = False
        super().replace_disk(group, old, new)
        self.replacing[group] = (old, new)
        self.members[group].append(new)

    def add_disk(self, group: str, disk: Path) -> None:
        if self._member(group, disk):
            return
        super().add_disk(group, disk)
        self.members[group].append(disk)

    def tend_group(self, group: str, spare: int | None = None) -> None:
        self._group(group)
        self.spare = spare
        self.tended += 1
        if self.hindered is not None:
            raise self.hindered

    def finish(self, group: str) -> None:
        """End the rebuild well."""
        self._rebuilding.discard(group)
        if group in self.replacing:
            old, _ = self.replacing.pop(group)
            self.members[group].remove(old)
            self.missing.discard(old)

    def fail_rebuild(self, group: str) -> None:
        """End a replacement before its time."""
        self._rebuilding.discard(group)
        old, new = self.replacing.pop(group)
        self.members[group].remove(new)
        self._owner(new).unlink()
        self._owner(old).write_text(group)

    def start_scrub(self, group: str) -> None:
        if group not in self._scrubs or not self._scrubs[group].running:
            super().start_scrub(group)
            self._scrubs[group] = replace(self._scrubs[group], running=True, progress=0.5)

    def stop_scrub(self, group: str) -> None:
        super().stop_scrub(group)
        if group in self._scrubs and self._scrubs[group].running:
            self._scrubs[group] = replace(self._scrubs[group], running=False, interrupted=True)

    def end_scrub(self, group: str, **found: Any) -> Scrub:
        self._scrubs[group] = replace(self._scrubs[group], running=False, progress=1.0, seconds=9.0, **found)
        return self._scrubs[group]

    def forget_scrub(self, group: str) -> None:
        """Lose all that is known of scrubs, as with the machine."""
        self._scrubs.pop(group, None)
