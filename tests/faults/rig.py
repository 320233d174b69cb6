"""An RG of two disks whose power can be cut, and a process that operates on it."""

import contextlib
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

from qreplica.storage import btrfs_filesystem, btrfs_tools
from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.driver import BLOCK, RaidLevel
from qreplica.units import GIB, MIB

from .boxes import check_structure, scrub
from .operations import Model, Operation, Operator, apply, choose, explained, found, perform
from .platter import Platter

_GROUP = "rg1"
_MORE = 12
_MOST_USED = 256 * MIB


class Rig:
    """The RG, open."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.platter = Platter.make(folder / "power")
        self.disks = [self.platter.disk(folder / f"d{number}", GIB, with_cache=number == 1) for number in (1, 2)]
        self._chance = chance
        self._mounts = folder / "rg"
        self._driver = BtrfsDriver(self._mounts)
        self._operator: Operator | None = None

    @property
    def _place(self) -> Path:
        return self._mounts / _GROUP

    def make(self) -> None:
        self._attach(self.platter.file)
        self._driver.create_group(_GROUP, [disk.link for disk in self.disks], RaidLevel.RAID1)

    def operate(self, model: Model) -> Operator:
        """Begin to operate on the RG, which is as the model."""
        self._operator = Operator(self._mounts, _GROUP, model, self._chance)
        return self._operator

    def cut(self) -> Path:
        return self.platter.cut(self.disks, self._chance)

    def open_copy(self, file: Path) -> None:
        """Have what a cut left instead of what there is."""
        self.take_down()
        self._attach(file)
        self.open()

    def open(self) -> None:
        """Open the RG as a start does."""
        self._driver.open_group(_GROUP, [disk.link for disk in self.disks])

    def examine(self, before: Model, operations: list[Operation], done: int) -> Model:
        """Return what the RG holds after a crash, which at least ``done`` of the operations must explain."""
        assert operations
        there = found(self._driver, _GROUP)
        assert explained(before, operations, done, there), (operations[max(0, done - 1) :], there)
        self._check_tidy(there)
        return there

    def go_on(self, model: Model) -> None:
        """Do some things more; they come out as they should."""
        for _ in range(_MORE):
            operation = choose(model, self._chance)
            perform(self._driver, _GROUP, operation)
            apply(model, operation)
        there = found(self._driver, _GROUP)
        assert there == model
        self._check_tidy(there)

    def _check_tidy(self, there: Model) -> None:
        """Nothing half made is left, what is used is counted right, and nothing is damaged."""
        assert not list((self._place / "trash").iterdir())
        for vd, disk in there.items():
            home = self._place / "vds" / vd
            assert {entry.name for entry in home.iterdir()} == {"live", "snapshots"}
            assert {entry.name for entry in (home / "snapshots").iterdir()} == set(disk.snapshots)
            written = {
                (block, write) for one in (disk.live, *disk.snapshots.values()) for block, write in one.blocks.items()
            }
            assert len(written) * BLOCK <= self._driver.space_used(_GROUP, vd).total <= _MOST_USED
        assert {entry.name for entry in (self._place / "vds").iterdir()} == set(there)
        facts = btrfs_filesystem.SYSFS / btrfs_tools.filesystem(self._place).id
        assert (facts / "qgroups" / "inconsistent").read_text().strip() == "0"
        scrub(self._place)

    def take_down(self) -> None:
        """Close the RG, have its structure looked at, and take its disks out of operation."""
        self._driver.close_group(_GROUP)
        check_structure(self.disks)
        for disk in self.disks:
            disk.detach()

    def _attach(self, file: Path) -> None:
        for disk in self.disks:
            disk.attach(file)

    def close(self) -> None:
        if self._operator is not None:
            self._operator.kill()
        if os.path.ismount(self._place):
            subprocess.run(["umount", self._place], check=True)
        self.platter.close()


@contextlib.contextmanager
def operated_group(folder: Path, chance: random.Random) -> Iterator[Rig]:
    """An RG in operation."""
    rig = Rig(folder, chance)
    try:
        rig.make()
        yield rig
    finally:
        rig.close()
