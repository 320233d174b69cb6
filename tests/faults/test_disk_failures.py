"""Disks of an RG vanish, come back stale and give wrong bytes; every test ends in a comparison of bytes."""

import hashlib
import mmap
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from qreplica.storage import btrfs_mending
from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.btrfs_chunks import chunks
from qreplica.storage.btrfs_tools import SYSFS, filesystem
from qreplica.storage.driver import GroupHealth, RaidLevel
from qreplica.storage.errors import GroupBusy, NotMended, RebuildRunning
from qreplica.units import MIB

from ..storage.conftest import make_disks, place  # noqa: F401, TID252 - fixtures of the storage tests
from ..storage.failing_disks import (  # noqa: TID252 - shared with them
    eventually,
    forget,
    image_of,
    meanwhile,
    replace,
    scrub,
    tend,
    vanish,
    vanished,
)

pytestmark = pytest.mark.root

MakeDisks = Callable[..., list[Path]]
SIZE, DISK = 48 * MIB, 768 * MIB
#: On how many disks the tests make a level, and how many it can do without.
DISKS = {RaidLevel.RAID1: 2, RaidLevel.MIRROR3: 3, RaidLevel.RAID5: 3, RaidLevel.RAID6: 4}
SPARE = {RaidLevel.RAID1: 1, RaidLevel.MIRROR3: 2, RaidLevel.RAID5: 1, RaidLevel.RAID6: 2}


class Group:
    """An RG with one VD, and what must be in that."""

    def __init__(self, driver: BtrfsDriver, name: str, disks: list[Path], level: RaidLevel) -> None:
        self.driver, self.name, self.disks, self.level = driver, name, disks, level
        self.chance = random.Random(name)
        self.content = bytearray(SIZE)
        driver.create_group(name, disks, level)
        driver.create_vd(name, "v", SIZE)
        self.write(0, SIZE)

    def write(self, offset: int, length: int) -> None:
        """Write random bytes, durably."""
        self.content[offset : offset + length] = self.chance.randbytes(length)
        with self.driver.vd_path(self.name, "v").open("r+b") as file:
            file.seek(offset)
            file.write(self.content[offset : offset + length])
            os.fsync(file.fileno())

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write the VD's second half again and again meanwhile."""

        def go_on(enough: Callable[[], bool]) -> None:
            at = SIZE // 2
            while not enough() or at != SIZE // 2:
                self.write(at, MIB)
                at = at + MIB if at + MIB < SIZE else SIZE // 2

        with meanwhile(go_on):
            yield

    def health(self) -> GroupHealth:
        return self.driver.group_status(self.name).health

    def reopen(self, *disks: Path) -> None:
        self.driver.close_group(self.name)
        self.driver.open_group(self.name, disks or self.disks)

    def check(self) -> None:
        """The disks give what was written."""
        path = self.driver.vd_path(self.name, "v")
        forget(path)
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(self.content).digest()

    def read_by_another(self) -> bool:
        """As ``check``, from a process of its own."""
        path = self.driver.vd_path(self.name, "v")
        forget(path)
        done = subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True)
        assert done.stdout.split()[0] == hashlib.sha256(self.content).hexdigest()
        return True

    def with_errors(self) -> list[Path | None]:
        """Return the disks that made errors."""
        return [member.disk for member in self.driver.group_status(self.name).members if member.errors.total]

    def spoil(self, disk: Path) -> None:
        """Overwrite all that a disk holds behind the kernel's back, but for its superblocks, at 64 KiB and 64 MiB."""
        self.driver.close_group(self.name)
        with image_of(disk).open("r+b") as image:
            for at in range(MIB, DISK, MIB):
                if at != 64 * MIB:
                    image.seek(at)
                    image.write(b"\xa5" * MIB)
            os.fsync(image.fileno())
        self.driver.open_group(self.name, self.disks)

    def check_without_others(self, disk: Path) -> None:
        """The disk has its part of all: it is there also without as many other disks as the level can do without."""
        others = [one for one in self.disks if one != disk][: SPARE[self.level]]
        self.driver.close_group(self.name)
        for other in others:
            vanish(other)
        self.driver.open_group(self.name, self.disks)
        status = self.driver.group_status(self.name)
        assert (status.health, status.missing_disks) == (GroupHealth.DEGRADED, len(others))
        self.check()


@pytest.fixture
def make_group(place: Path, make_disks: MakeDisks) -> Iterator[Callable[..., Group]]:  # noqa: F811 - imported above
    """Return a function that makes a group of the level; it is deleted afterwards."""
    driver = BtrfsDriver(place / "rg")
    made: list[Group] = []

    def make(level: RaidLevel, size: int = DISK) -> Group:
        name = f"g{next(numbers)}"
        made.append(Group(driver, name, make_disks(DISKS[level], size), level))
        return made[-1]

    yield make
    for group in made:
        group.driver.close_group(group.name)


def _count() -> Iterator[int]:
    number = 0
    while True:
        yield (number := number + 1)


numbers = _count()


@pytest.mark.parametrize("level", DISKS)
def test_a_disk_vanishes_under_writes_and_is_replaced(
    make_group: Callable[..., Group],
    make_disks: MakeDisks,  # noqa: F811 - imported above
    level: RaidLevel,
) -> None:
    group = make_group(level)
    old, new = group.disks[-1], make_disks(1, DISK)[0]
    with group.writing():
        vanish(old)
        status = group.driver.group_status(group.name)
        assert (status.health, status.missing_disks) == (GroupHealth.DEGRADED, 1)
        assert [member.disk for member in status.members if member.missing] == [old]
        group.write(0, 4 * MIB)
        group.driver.tend_group(group.name)
        status = replace(group.driver, group.name, old, new)
    group.disks[-1] = new
    assert status.missing_disks == 0
    assert {member.disk for member in status.members} == set(group.disks)
    group.check()
    found = scrub(group.driver, group.name)
    assert (found.corrected, found.uncorrectable) == (0, 0)
    group.check_without_others(new)


@pytest.mark.parametrize("level", [RaidLevel.RAID1, RaidLevel.MIRROR3, RaidLevel.RAID5])
def test_a_disk_that_was_away_comes_back_stale(make_group: Callable[..., Group], level: RaidLevel) -> None:
    group = make_group(level)
    away = group.disks[0]
    group.driver.close_group(group.name)
    with vanished(away):
        group.driver.open_group(group.name, group.disks[1:])
        assert group.health() is GroupHealth.DEGRADED
        group.write(8 * MIB, 32 * MIB)
        group.driver.take_snapshot(group.name, "v", "degraded")
        group.driver.close_group(group.name)
    group.driver.open_group(group.name, group.disks)
    assert group.health() is GroupHealth.REBUILDING
    group.check()
    status = tend(group.driver, group.name)
    assert not any(member.errors.total for member in status.members)
    found = scrub(group.driver, group.name)
    assert (found.corrected, found.uncorrectable) == (0, 0)
    group.check_without_others(away)


def test_what_a_returned_disk_cannot_be_given_is_told_and_the_disk_stays_noted(
    make_group: Callable[..., Group],
) -> None:
    group = make_group(RaidLevel.RAID1)
    away, other = group.disks
    mount = group.driver.vd_path(group.name, "v").parents[3]
    with vanished(away):
        group.write(8 * MIB, 4 * MIB)
        group.driver.tend_group(group.name)
    spoil_content(other, bytes(group.content[8 * MIB : 8 * MIB + 4096]))
    raised: list[NotMended] = []

    def look() -> bool:
        try:
            group.driver.tend_group(group.name)
        except NotMended as error:
            raised.append(error)
        return group.health() is GroupHealth.DEGRADED

    eventually(look, lambda: group.driver.group_status(group.name))
    assert str(away) in raised[0].sentence
    group.reopen()
    before = group.driver.scrub_status(group.name)
    assert before is not None
    assert before.uncorrectable > 0
    for _ in range(3):
        group.driver.tend_group(group.name)
    assert group.driver.scrub_status(group.name) == before, "it is not tried again and again"
    assert btrfs_mending.stale(mount).numbers == {1}
    assert group.health() is GroupHealth.DEGRADED
    # What was damaged is written anew, and a scrub that finds nothing more ends it.
    group.write(0, SIZE)
    eventually(lambda: scrub(group.driver, group.name).uncorrectable == 0)
    assert tend(group.driver, group.name).health is GroupHealth.ONLINE
    assert not btrfs_mending.stale(mount).numbers
    group.check_without_others(away)


def test_a_mending_scrub_that_is_ended_is_not_begun_again_at_once(make_group: Callable[..., Group]) -> None:
    group = make_group(RaidLevel.RAID1)
    mount = group.driver.vd_path(group.name, "v").parents[3]
    btrfs_mending.note_away(mount, frozenset({1}))
    at_most(group, MIB)
    group.driver.tend_group(group.name)
    begun = group.driver.scrub_status(group.name)
    assert begun is not None
    assert begun.running
    group.driver.stop_scrub(group.name)
    for _ in range(3):
        group.driver.tend_group(group.name)
        now = group.driver.scrub_status(group.name)
        assert now is not None
        assert (now.running, now.interrupted, now.started_at) == (False, True, begun.started_at)
    assert group.health() is GroupHealth.REBUILDING


def test_a_disk_that_vanished_comes_back_while_the_group_is_open(make_group: Callable[..., Group]) -> None:
    group = make_group(RaidLevel.RAID1)
    with vanished(group.disks[1]):
        group.write(0, SIZE // 2)
        group.driver.tend_group(group.name)
        assert group.health() is GroupHealth.DEGRADED
    assert group.health() is GroupHealth.REBUILDING
    group.write(SIZE // 2, 4 * MIB)
    tend(group.driver, group.name)
    found = scrub(group.driver, group.name)
    assert (found.corrected, found.uncorrectable) == (0, 0)
    group.check_without_others(group.disks[1])


@pytest.mark.parametrize("level", [RaidLevel.RAID1, RaidLevel.MIRROR3, RaidLevel.RAID5])
def test_wrong_bytes_of_a_disk_are_read_from_others_counted_and_mended(
    make_group: Callable[..., Group], level: RaidLevel
) -> None:
    group = make_group(level)
    bad = group.disks[0]
    group.spoil(bad)
    # Which disk is read depends on who reads.
    eventually(lambda: group.read_by_another() and group.with_errors())
    assert group.with_errors() == [bad]
    assert group.health() is GroupHealth.ONLINE
    group.spoil(bad)
    found = scrub(group.driver, group.name)
    assert found.corrected > 0
    assert found.uncorrectable == 0
    again = scrub(group.driver, group.name)
    assert (again.corrected, again.uncorrectable) == (0, 0)
    assert group.with_errors() == [bad]
    group.check_without_others(bad)


def at_most(group: Group, speed: int) -> None:
    """Let no disk be read faster for a replacement, in bytes a second; 0 for as fast as it can."""
    facts = SYSFS / filesystem(group.driver.vd_path(group.name, "v").parents[3]).id
    for limit in facts.glob("devinfo/*/scrub_speed_max"):
        limit.write_text(str(speed))


def spoil_content(disk: Path, content: bytes) -> None:
    """Damage a disk behind the kernel's back, where it holds ``content``."""
    with image_of(disk).open("r+b") as image, mmap.mmap(image.fileno(), 0) as held:
        at = held.find(content)
        assert at > 0
        held[at : at + len(content)] = bytes(len(content))
        held.flush()


def kill_work(group: Group, *command: str) -> None:
    """Kill the program that the kernel works for, as the system does with all of a service's."""
    mount = str(group.driver.vd_path(group.name, "v").parents[3])
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if line[: len(command)] == list(command) and line[-1] == mount:
            process.send_signal(signal.SIGKILL)


@pytest.fixture
def being_replaced(make_group: Callable[..., Group], make_disks: MakeDisks) -> Group:  # noqa: F811 - imported above
    """A group in which a disk is just being replaced, slowly."""
    group = make_group(RaidLevel.RAID1)
    at_most(group, 2 * MIB)
    group.disks.append(make_disks(1, DISK)[0])
    group.driver.replace_disk(group.name, group.disks[0], group.disks[2])
    assert group.health() is GroupHealth.REBUILDING
    return group


def test_a_replacement_goes_on_after_the_group_was_closed(being_replaced: Group) -> None:
    group = being_replaced
    group.driver.stop_scrub(group.name)
    with pytest.raises(RebuildRunning):
        group.driver.start_scrub(group.name)
    group.driver.create_group(group.name, group.disks, RaidLevel.RAID1)
    group.reopen()
    # It may be done already, but not what it left out when it was interrupted.
    assert group.health() is GroupHealth.REBUILDING
    group.write(0, 4 * MIB)
    at_most(group, 0)
    status = tend(group.driver, group.name)
    assert {member.disk for member in status.members} == set(group.disks[1:])
    group.disks.pop(0)
    group.check_without_others(group.disks[1])


def test_a_group_that_is_used_goes_on_replacing_when_it_cannot_be_closed(being_replaced: Group) -> None:
    group = being_replaced
    with group.driver.vd_path(group.name, "v").open("rb"), pytest.raises(GroupBusy):
        group.driver.close_group(group.name)
    assert group.health() is GroupHealth.REBUILDING
    with group.driver.vd_path(group.name, "v").open("r+b"), pytest.raises(GroupBusy):
        group.driver.close_group(group.name)
    assert group.health() is GroupHealth.REBUILDING
    group.write(0, 4 * MIB)
    at_most(group, 0)
    tend(group.driver, group.name)
    group.disks.pop(0)
    group.check_without_others(group.disks[1])


def test_a_replacement_ends_well_though_its_program_is_killed(being_replaced: Group) -> None:
    group = being_replaced
    kill_work(group, "btrfs", "replace", "start")
    at_most(group, 0)
    again = BtrfsDriver(group.driver.vd_path(group.name, "v").parents[4])
    again.replace_disk(group.name, group.disks[0], group.disks[2])
    status = tend(again, group.name)
    assert {member.disk for member in status.members} == set(group.disks[1:])
    group.disks.pop(0)
    group.check_without_others(group.disks[1])


def test_the_new_disk_vanishes_too(being_replaced: Group, make_disks: MakeDisks) -> None:  # noqa: F811 - imported above
    group = being_replaced
    vanish(group.disks[2])
    at_most(group, 0)

    def look() -> bool:
        group.driver.tend_group(group.name)
        return group.health() is not GroupHealth.REBUILDING

    eventually(look, lambda: group.driver.group_status(group.name))
    group.check()
    group.reopen()
    group.disks[2] = make_disks(1, DISK)[0]
    group.driver.replace_disk(group.name, group.disks[0], group.disks[2])
    status = tend(group.driver, group.name)
    assert {member.disk for member in status.members} == set(group.disks[1:])
    group.disks.pop(0)
    group.check_without_others(group.disks[1])


@pytest.mark.parametrize("cut", ["killed", "closed"])
def test_a_growth_goes_on_after_it_was_cut_off(
    make_group: Callable[..., Group],
    make_disks: MakeDisks,  # noqa: F811 - imported above
    cut: str,
) -> None:
    group = make_group(RaidLevel.RAID1)
    group.driver.create_vd(group.name, "more", 192 * MIB)
    group.driver.vd_path(group.name, "more").write_bytes(random.Random(cut).randbytes(192 * MIB))
    group.disks += make_disks(1, DISK)
    group.driver.add_disk(group.name, group.disks[2])
    group.driver.tend_group(group.name)
    if cut == "killed":
        kill_work(group, "btrfs", "balance", "start")
    group.reopen()
    driver = BtrfsDriver(group.driver.vd_path(group.name, "v").parents[4])
    status = tend(driver, group.name)
    assert {member.disk for member in status.members} == set(group.disks)
    mount = group.driver.vd_path(group.name, "v").parents[3]
    assert {device for chunk in chunks(mount) if chunk.is_data for device in chunk.devices} > {3}
    group.check()
    assert driver.vd_path(group.name, "more").read_bytes() == random.Random(cut).randbytes(192 * MIB)
    group.check_without_others(group.disks[0])
