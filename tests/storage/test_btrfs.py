"""What only a real btrfs can show: every level, missing disks, a full group, deltas of every kind of change."""

import contextlib
import os
import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.capacity import capacity
from qreplica.storage.driver import BLOCK, GroupHealth, RaidLevel
from qreplica.storage.errors import DiskInUse, GroupBusy, GroupFull, NotADisk
from qreplica.units import GIB, MIB

pytestmark = pytest.mark.root

MakeDisks = Callable[..., list[Path]]

LEVELS = {
    RaidLevel.JBOD: 2,
    RaidLevel.RAID0: 2,
    RaidLevel.RAID1: 3,
    RaidLevel.RAID10: 4,
    RaidLevel.MIRROR3: 3,
    RaidLevel.MIRROR4: 4,
}


@pytest.fixture(scope="module")
def btrfs(place: Path) -> BtrfsDriver:
    return BtrfsDriver(place / "rg")


@pytest.fixture(scope="module")
def rg(btrfs: BtrfsDriver, make_disks: MakeDisks) -> str:
    btrfs.create_group("prop", make_disks(1, 4 * GIB), RaidLevel.JBOD)
    return "prop"


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_promised_of_a_level_can_be_written(
    btrfs: BtrfsDriver, make_disks: MakeDisks, level: RaidLevel
) -> None:
    size = 768 * MIB
    devices = make_disks(LEVELS[level], size)
    promised = capacity(level, [size] * len(devices))
    room = (promised.usable - promised.reserve) // BLOCK * BLOCK
    btrfs.create_group(level.value, devices, level)
    btrfs.create_vd(level.value, "full", room)
    chunk = random.Random(level.value).randbytes(MIB)
    with btrfs.vd_path(level.value, "full").open("r+b") as file:
        for offset in range(0, room, MIB):
            file.write(chunk[: room - offset])
        os.fsync(file.fileno())
    btrfs.close_group(level.value)
    btrfs.open_group(level.value, devices)
    with btrfs.vd_path(level.value, "full").open("rb") as file:
        assert all(file.read(MIB) == chunk[: room - offset] for offset in range(0, room, MIB))
    btrfs.delete_vd(level.value, "full")
    btrfs.delete_group(level.value, devices)
    assert all(
        b"btrfs" not in subprocess.run(["blkid", "-p", disk], capture_output=True, check=False).stdout
        for disk in devices
    )


def test_opened_degraded_without_one_disk(btrfs: BtrfsDriver, make_disks: MakeDisks) -> None:
    devices = make_disks(2, GIB)
    btrfs.create_group("degraded", devices, RaidLevel.RAID1)
    btrfs.create_vd("degraded", "v", MIB)
    btrfs.vd_path("degraded", "v").write_bytes(b"m" * MIB)
    btrfs.close_group("degraded")
    image = subprocess.run(["losetup", "-nO", "BACK-FILE", devices[0]], check=True, capture_output=True, text=True)
    subprocess.run(["btrfs", "device", "scan", "--forget"], check=False, capture_output=True)
    subprocess.run(["losetup", "--detach", devices[0]], check=True)
    try:
        btrfs.open_group("degraded", [Path("/dev/gone"), devices[1]])
        status = btrfs.group_status("degraded")
        assert (status.health, status.missing_disks) == (GroupHealth.DEGRADED, 1)
        assert btrfs.vd_path("degraded", "v").read_bytes() == b"m" * MIB
        btrfs.close_group("degraded")
    finally:
        subprocess.run(["losetup", devices[0], image.stdout.strip()], check=True)


def test_a_group_in_use_is_not_closed(btrfs: BtrfsDriver, rg: str) -> None:
    btrfs.create_vd(rg, "held", MIB)
    with btrfs.vd_path(rg, "held").open("rb"), pytest.raises(GroupBusy):
        btrfs.close_group(rg)
    btrfs.delete_vd(rg, "held")


def make_ext4(disk: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)


def make_partitions(disk: Path) -> None:
    """A master boot record with one Linux partition of 64 MiB that begins at 1 MiB."""
    partition = struct.pack("<B3sB3sII", 0, b"\0\0\0", 0x83, b"\0\0\0", 2048, 64 * MIB // 512)
    with disk.open("r+b") as file:
        file.write(bytes(446) + partition.ljust(64, b"\0") + b"\x55\xaa")


def make_two_signatures(disk: Path) -> None:
    """An XFS over what was an ext4: blkid finds both and tells neither."""
    make_ext4(disk)
    with disk.open("r+b") as file:
        file.seek(0)
        file.write(b"XFSB")


@pytest.mark.parametrize("use", [make_ext4, make_partitions, make_two_signatures])
def test_a_used_disk_is_left_alone(btrfs: BtrfsDriver, make_disks: MakeDisks, use: Callable[[Path], None]) -> None:
    used, free = make_disks(2, GIB)
    use(used)
    before = used.read_bytes()[: 4 * MIB]
    with pytest.raises(DiskInUse, match=f"{used} is already used by"):
        btrfs.create_group("never", [free, used], RaidLevel.RAID1)
    assert used.read_bytes()[: 4 * MIB] == before
    assert free.read_bytes()[: 4 * MIB] == bytes(4 * MIB)
    assert btrfs.group_status("never").health is GroupHealth.CLOSED


def test_a_blank_disk_that_the_system_holds_is_refused(btrfs: BtrfsDriver, make_disks: MakeDisks) -> None:
    (disk,) = make_disks(1, GIB)
    holder = os.open(disk, os.O_RDWR | os.O_EXCL)
    try:
        with pytest.raises(DiskInUse, match="already used by the system"):
            btrfs.create_group("never", [disk], RaidLevel.JBOD)
    finally:
        os.close(holder)


def test_what_is_no_disk_is_refused(btrfs: BtrfsDriver, place: Path, make_disks: MakeDisks) -> None:
    (disk,) = make_disks(1, GIB)
    image = place / "image"
    with image.open("xb") as file:
        file.truncate(GIB)
    with pytest.raises(NotADisk, match="it is no block device"):
        btrfs.create_group("never", [disk, image], RaidLevel.JBOD)
    with pytest.raises(NotADisk, match="No such file"):
        btrfs.create_group("never", [disk, place / "gone"], RaidLevel.JBOD)


def make_many_vds(btrfs: BtrfsDriver) -> None:
    for number in range(2000):
        btrfs.create_vd("full", f"w{number}", MIB)


def test_a_full_group_says_so(btrfs: BtrfsDriver, make_disks: MakeDisks) -> None:
    devices = make_disks(1, 600 * MIB)
    btrfs.create_group("full", devices, RaidLevel.JBOD)
    btrfs.create_vd("full", "v", GIB)
    with contextlib.suppress(OSError), btrfs.vd_path("full", "v").open("r+b", buffering=0) as file:
        while True:
            file.write(b"f" * MIB)
    assert btrfs.vd_path("full", "v").stat().st_size == GIB
    stuffing = btrfs.vd_path("full", "v").parents[3]
    with contextlib.suppress(OSError):
        for number in range(500_000):
            (stuffing / f"stuffing-{number}").write_bytes(b"s" * 2000)
    with pytest.raises(GroupFull, match="RAID group full is full and refused"):
        make_many_vds(btrfs)
    assert "v" in btrfs.list_vds("full")


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
