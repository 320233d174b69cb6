"""VDs and snapshots on a real btrfs: a full group, crashes in the middle, two controllers at once."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.driver import BLOCK, GroupHealth, RaidLevel
from qreplica.storage.errors import GroupFull
from qreplica.units import GIB, MIB

pytestmark = pytest.mark.root

MakeDisks = Callable[..., list[Path]]


def fill(mount: Path) -> None:
    """Take all space: data by preallocation, then metadata by large extended attributes."""
    with (mount / "stuffing").open("xb") as file:
        size = 256 * MIB
        while size >= BLOCK:
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
            except OSError:
                size //= 2
    with contextlib.suppress(OSError):
        for number in range(100_000):
            stuffing = mount / f"stuffing-{number}"
            stuffing.touch()
            os.setxattr(stuffing, "user.stuffing", bytes(15_000))


def make_many_vds(btrfs: BtrfsDriver) -> None:
    for number in range(2000):
        btrfs.create_vd("full", f"w{number}", MIB)


def test_a_full_group_says_so(btrfs: BtrfsDriver, make_disks: MakeDisks) -> None:
    devices = make_disks(1, 512 * MIB)
    btrfs.create_group("full", devices, RaidLevel.JBOD)
    btrfs.create_vd("full", "v", MIB)
    btrfs.vd_path("full", "v").write_bytes(b"v" * MIB)
    btrfs.flush("full", "v")
    fill(btrfs.vd_path("full", "v").parents[3])
    with pytest.raises(GroupFull, match="RAID group full is full and refused"):
        make_many_vds(btrfs)
    assert "v" in btrfs.list_vds("full")
    assert btrfs.vd_path("full", "v").read_bytes() == b"v" * MIB
    assert btrfs.group_status("full").health is GroupHealth.ONLINE


def test_leftovers_of_a_crash_are_cleared_at_open(btrfs: BtrfsDriver, make_disks: MakeDisks) -> None:
    devices = make_disks(1, GIB)
    btrfs.create_group("crash", devices, RaidLevel.JBOD)
    for vd in ("a", "b", "c"):
        btrfs.create_vd("crash", vd, MIB)
    btrfs.take_snapshot("crash", "b", "s")
    mount = btrfs.vd_path("crash", "a").parents[3]
    (mount / "vds/a/live").rename(mount / "vds/a/new")
    (mount / "vds/b").rename(mount / "trash/b")
    subprocess.run(["btrfs", "-q", "subvolume", "snapshot", mount / "vds/c/live", mount / "vds/c/new"], check=True)
    btrfs.close_group("crash")
    btrfs.open_group("crash", devices)
    assert btrfs.list_vds("crash") == ["c"]
    assert sorted(path.name for path in (mount / "vds").iterdir()) == ["c"]
    assert sorted(path.name for path in (mount / "vds/c").iterdir()) == ["live", "snapshots"]
    assert list((mount / "trash").iterdir()) == []
    btrfs.create_vd("crash", "a", MIB)


def test_a_deletion_cut_short_does_not_stop_the_next(btrfs: BtrfsDriver, place: Path, rg: str) -> None:
    btrfs.create_vd(rg, "again", MIB)
    (place / "rg" / rg / "vds/again").rename(place / "rg" / rg / "trash/again")
    btrfs.create_vd(rg, "again", 2 * MIB)
    btrfs.delete_vd(rg, "again")
    assert "again" not in btrfs.list_vds(rg)
    assert list((place / "rg" / rg / "trash").iterdir()) == []


def test_a_controller_that_opens_does_not_clear_what_the_other_makes(
    btrfs: BtrfsDriver, place: Path, make_disks: MakeDisks
) -> None:
    devices = make_disks(1, GIB)
    btrfs.create_group("shared", devices, RaidLevel.JBOD)
    btrfs.create_vd("shared", "rolled", MIB)
    btrfs.take_snapshot("shared", "rolled", "s")
    other = BtrfsDriver(place / "rg")
    done = threading.Event()
    opened = 0

    def open_again() -> None:
        nonlocal opened
        while not done.is_set():
            other.open_group("shared", devices)
            opened += 1

    opener = threading.Thread(target=open_again)
    opener.start()
    try:
        for number in range(12):
            btrfs.create_vd("shared", f"v{number}", MIB)
            btrfs.roll_back("shared", "rolled", "s")
            btrfs.delete_vd("shared", f"v{number}")
            btrfs.create_vd("shared", f"w{number}", MIB)
    finally:
        done.set()
        opener.join()
    assert opened > 0
    assert btrfs.list_vds("shared") == sorted(["rolled", *(f"w{number}" for number in range(12))])


def test_a_roll_back_that_was_confirmed_is_ended_before_another_begins(
    btrfs: BtrfsDriver, place: Path, rg: str
) -> None:
    btrfs.create_vd(rg, "v1", MIB)
    btrfs.take_snapshot(rg, "v1", "s")
    asked: list[str] = []

    def confirm() -> None:
        asked.append("first")
        second.start()
        second.join(0.2)
        asked.append("confirmed")

    other = BtrfsDriver(place / "rg")
    second = threading.Thread(target=other.roll_back, args=(rg, "v1", "s", lambda: asked.append("second")))
    btrfs.roll_back(rg, "v1", "s", confirm)
    second.join()
    assert asked == ["first", "confirmed", "second"]


def test_two_controllers_open_a_group_once(btrfs: BtrfsDriver, place: Path, make_disks: MakeDisks) -> None:
    devices = make_disks(1, GIB)
    btrfs.create_group("once", devices, RaidLevel.JBOD)
    btrfs.close_group("once")
    drivers = [BtrfsDriver(place / "rg") for _ in range(4)]
    threads = [threading.Thread(target=driver.open_group, args=("once", devices)) for driver in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    assert mounts.count(str(place / "rg" / "once")) == 1
    drivers[0].close_group("once")
    assert not (place / "rg" / "once").exists()
