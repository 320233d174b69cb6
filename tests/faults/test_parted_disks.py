"""Disks of a mirror that were each written while the other was away are never mixed."""

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qreplica.storage import btrfs_label
from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.btrfs_superblock import Superblock
from qreplica.storage.driver import GroupHealth, RaidLevel
from qreplica.storage.errors import GroupSplit
from qreplica.units import MIB

from ..storage.conftest import make_disks, place  # noqa: F401, TID252 - fixtures of the storage tests
from ..storage.failing_disks import forget, replace, scrub, tend, vanished  # noqa: TID252 - shared with them

MakeDisks = Callable[..., list[Path]]
SIZE, DISK = 8 * MIB, 512 * MIB


class Mirror:
    """An RG with one VD, that is written as a whole."""

    def __init__(self, driver: BtrfsDriver, name: str, disks: list[Path], level: RaidLevel) -> None:
        self.driver, self.name, self.disks = driver, name, disks
        driver.create_group(name, disks, level)
        driver.create_vd(name, "v", SIZE)
        self.content = b""
        self.write("first")

    def write(self, what: str) -> None:
        self.content = random.Random(what).randbytes(SIZE)
        with self.driver.vd_path(self.name, "v").open("r+b") as file:
            file.write(self.content)
            os.fsync(file.fileno())

    def write_without(self, disk: Path, what: str) -> None:
        """Open it without a disk, write, and close it again."""
        with vanished(disk):
            self.driver.open_group(self.name, self.disks)
            self.write(what)
            self.driver.close_group(self.name)

    def check(self) -> None:
        path = self.driver.vd_path(self.name, "v")
        forget(path)
        assert path.read_bytes() == self.content

    def refused(self) -> str:
        messages = set()
        for disks in (self.disks, self.disks[::-1]):
            with pytest.raises(GroupSplit) as raised:
                self.driver.open_group(self.name, disks)
            messages.add(raised.value.sentence)
        (message,) = messages
        return message


@pytest.fixture
def mirror(
    place: Path,  # noqa: F811 - imported above
    make_disks: MakeDisks,  # noqa: F811
    request: pytest.FixtureRequest,
) -> Iterator[Mirror]:
    level = getattr(request, "param", RaidLevel.RAID1)
    driver = BtrfsDriver(place / "rg")
    count = 3 if level is RaidLevel.MIRROR3 else 2
    made = Mirror(driver, f"p{abs(hash(request.node.name)) % 10**9}", make_disks(count, DISK), level)
    yield made
    driver.close_group(made.name)


@pytest.mark.root
@pytest.mark.parametrize("last", [0, 1])
def test_halves_that_were_written_one_after_the_other_are_not_joined_until_one_is_given_up(
    mirror: Mirror, last: int
) -> None:
    mirror.driver.close_group(mirror.name)
    mirror.write_without(mirror.disks[0], "on the second")
    mirror.write_without(mirror.disks[1], "on the first")
    if last == 1:
        mirror.write_without(mirror.disks[0], "on the second again")
        mirror.write_without(mirror.disks[0], "and again")
    message = mirror.refused()
    assert all(str(disk) in message for disk in mirror.disks)
    assert "wipe" in message
    given_up, kept = mirror.disks[1 - last], mirror.disks[last]
    subprocess.run(["wipefs", "--all", "--quiet", given_up], check=True)
    mirror.driver.open_group(mirror.name, mirror.disks)
    mirror.check()
    replace(mirror.driver, mirror.name, given_up, given_up)
    mirror.check()
    mirror.driver.close_group(mirror.name)
    with vanished(kept):
        mirror.driver.open_group(mirror.name, mirror.disks)
        mirror.check()
        mirror.driver.close_group(mirror.name)
    mirror.driver.open_group(mirror.name, mirror.disks)
    tend(mirror.driver, mirror.name)


@pytest.mark.root
@pytest.mark.parametrize("tended", [False, True])
def test_a_disk_that_went_on_when_the_other_was_lost_is_not_joined_to_that_either(
    mirror: Mirror,
    tended: bool,  # noqa: FBT001 - a parameter
) -> None:
    with vanished(mirror.disks[1]):
        mirror.write("on the first")
        if tended:
            mirror.driver.tend_group(mirror.name)
        subprocess.run(["sync", "--file-system", mirror.driver.vd_path(mirror.name, "v")], check=True)
        mirror.driver.close_group(mirror.name)
    mirror.write_without(mirror.disks[0], "on the second")
    for number in range(2):
        mirror.write_without(mirror.disks[0], f"on the second {number}")
    mirror.refused()


@pytest.mark.root
@pytest.mark.parametrize("mirror", [RaidLevel.RAID1, RaidLevel.MIRROR3], indirect=True)
def test_disks_that_were_merely_away_are_taken_back_again_and_again(mirror: Mirror) -> None:
    for number in range(3):
        mirror.driver.close_group(mirror.name)
        away = mirror.disks[number % len(mirror.disks)]
        mirror.write_without(away, f"without {away}")
        mirror.write_without(away, f"still without {away}")
        mirror.driver.open_group(mirror.name, mirror.disks)
        if number == 1:
            # It leaves again before it was brought up to date.
            mirror.driver.close_group(mirror.name)
            mirror.write_without(away, "once more")
            mirror.driver.open_group(mirror.name, mirror.disks)
        mirror.check()
        tend(mirror.driver, mirror.name)
        mirror.driver.tend_group(mirror.name)
        assert scrub(mirror.driver, mirror.name).corrected == 0
    assert mirror.driver.group_status(mirror.name).health is GroupHealth.ONLINE


def block(label: str, generation: int) -> Superblock:
    return Superblock("f", 1, generation, 0, label)


@pytest.mark.parametrize(
    ("newest", "other", "parted"),
    [
        (("qr-g", 20), ("qr-g", 20), False),
        (("qr-g", 20), ("qr-g", 19), False),
        (("qr-g~a.1", 20), ("qr-g", 10), False),
        (("qr-g~a.1", 20), ("qr-g", 11), True),
        (("qr-g~a.1", 20), ("qr-g~a.2", 12), True),
        (("qr-g", 20), ("qr-g~a.2", 12), True),
        (("qr-g~a.1~c.3", 20), ("qr-g~a.1", 12), False),
        (("qr-g~a.1~c.3", 20), ("qr-g~a.1", 13), True),
    ],
)
def test_who_was_written_apart(newest: tuple[str, int], other: tuple[str, int], parted: bool) -> None:  # noqa: FBT001
    assert btrfs_label.were_parted(block(*newest), block(*other)) is parted


def test_a_label_names_one_rg_whatever_it_notes() -> None:
    assert btrfs_label.names("qr-g1", "g1")
    assert btrfs_label.names("qr-g1~a.1", "g1")
    assert not btrfs_label.names("qr-g12", "g1")
    assert not btrfs_label.names(None, "g1")
