"""Space used, against what was written, and through everything that makes the kernel lose count."""

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qreplica.storage import btrfs_quota
from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.btrfs_tools import filesystem
from qreplica.storage.driver import BLOCK, RaidLevel
from qreplica.storage.errors import StorageCommandFailed
from qreplica.units import GIB, MIB

pytestmark = pytest.mark.root

MakeDisks = Callable[..., list[Path]]
#: What the trees of a small VD and of a few snapshots of it take.
TREES = MIB


@pytest.fixture
def vd(btrfs: BtrfsDriver, rg: str) -> Iterator[str]:
    btrfs.create_vd(rg, "counted", 64 * MIB)
    yield "counted"
    btrfs.delete_vd(rg, "counted")


def write(btrfs: BtrfsDriver, rg: str, vd: str, blocks: range | list[int]) -> None:
    """Each block as an extent of its own, so that what is overwritten is let go of at once."""
    fd = os.open(btrfs.vd_path(rg, vd), os.O_RDWR | os.O_DSYNC)
    try:
        for block in blocks:
            os.pwrite(fd, os.urandom(BLOCK), block * BLOCK)
    finally:
        os.close(fd)


def test_every_generation_of_a_block_counts_while_a_snapshot_holds_it(btrfs: BtrfsDriver, rg: str, vd: str) -> None:
    chance = random.Random(3)
    kept: set[tuple[int, int]] = set()
    live: dict[int, int] = {}
    for generation in range(5):
        changed = chance.sample(range(2000), 200)
        write(btrfs, rg, vd, changed)
        live |= dict.fromkeys(changed, generation)
        btrfs.take_snapshot(rg, vd, f"s{generation}")
        kept |= set(live.items())
        used = btrfs.space_used(rg, vd)
        assert len(kept) * BLOCK <= used.total <= len(kept) * BLOCK + TREES
        assert used.snapshots == 0


def test_beyond_the_size_of_the_vd_it_is_snapshot_space(btrfs: BtrfsDriver, rg: str, vd: str) -> None:
    path = btrfs.vd_path(rg, vd)
    for name in ("s1", "s2"):
        path.write_bytes(os.urandom(64 * MIB))
        btrfs.flush(rg, vd)
        btrfs.take_snapshot(rg, vd, name)
    used = btrfs.space_used(rg, vd)
    assert 64 * MIB <= used.snapshots <= 64 * MIB + TREES
    assert used.total == used.snapshots + 64 * MIB


def test_rolled_back_and_deleted_space_comes_back(btrfs: BtrfsDriver, rg: str, vd: str, place: Path) -> None:
    write(btrfs, rg, vd, range(100))
    btrfs.take_snapshot(rg, vd, "s")
    write(btrfs, rg, vd, range(100))
    assert btrfs.space_used(rg, vd).total >= 200 * BLOCK
    btrfs.roll_back(rg, vd, "s")
    settle(place / "rg" / rg)
    assert 100 * BLOCK <= btrfs.space_used(rg, vd).total <= 100 * BLOCK + TREES
    write(btrfs, rg, vd, range(100))
    assert btrfs.space_used(rg, vd).total >= 200 * BLOCK
    btrfs.delete_snapshot(rg, vd, "s")
    settle(place / "rg" / rg)
    assert 100 * BLOCK <= btrfs.space_used(rg, vd).total <= 100 * BLOCK + TREES


def settle(mount: Path) -> None:
    """Wait until the kernel's cleaner has freed what was deleted, and its count is committed."""
    subprocess.run(["btrfs", "subvolume", "sync", mount], check=True, capture_output=True)
    subprocess.run(["btrfs", "filesystem", "sync", mount], check=True, capture_output=True)


def test_after_the_kernel_lost_count_it_is_counted_again(btrfs: BtrfsDriver, make_disks: MakeDisks) -> None:
    """Only full quotas lose count: an RG has those where the kernel knows no others, or whose quotas were off."""
    devices, rg, vd = make_disks(1, GIB), "lost", "v"
    btrfs.create_group(rg, devices, RaidLevel.JBOD)
    btrfs.create_vd(rg, vd, MIB)
    write(btrfs, rg, vd, range(100))
    btrfs.take_snapshot(rg, vd, "s")
    live = btrfs.vd_path(rg, vd).parent
    mount = live.parents[2]
    subprocess.run(["btrfs", "quota", "disable", mount], check=True)
    btrfs.open_group(rg, devices)
    before = btrfs.space_used(rg, vd)
    flag = Path("/sys/fs/btrfs") / filesystem(mount).id / "qgroups/inconsistent"
    # A snapshot with data that joins a group which does not hold its source loses the count.
    subprocess.run(["btrfs", "qgroup", "create", "1/77", mount], check=True)
    subprocess.run(["btrfs", "-q", "subvolume", "snapshot", "-i", "1/77", live, mount / "stray"], check=True)
    subprocess.run(["btrfs", "filesystem", "sync", mount], check=True, capture_output=True)
    assert flag.read_text().strip() == "1"
    # A recount takes long: one that is not asked for is not made.
    btrfs.space_used(rg, vd, settled=False)
    assert flag.read_text().strip() == "1"
    assert btrfs.space_used(rg, vd) == before
    assert flag.read_text().strip() == "0"
    subprocess.run(["btrfs", "-q", "subvolume", "delete", "--commit-after", mount / "stray"], check=True)
    settle(mount)


def test_quotas_switched_off_are_restored_when_the_group_is_opened(btrfs: BtrfsDriver, make_disks: MakeDisks) -> None:
    devices = make_disks(1, GIB)
    btrfs.create_group("off", devices, RaidLevel.JBOD)
    btrfs.create_vd("off", "v", MIB)
    write(btrfs, "off", "v", range(100))
    btrfs.take_snapshot("off", "v", "s")
    write(btrfs, "off", "v", range(100))
    before = btrfs.space_used("off", "v")
    mount = btrfs.vd_path("off", "v").parents[3]
    subprocess.run(["btrfs", "quota", "disable", mount], check=True)
    with pytest.raises(StorageCommandFailed, match="quotas were switched off"):
        btrfs.space_used("off", "v")
    btrfs.open_group("off", devices)
    assert btrfs.space_used("off", "v") == before
    write(btrfs, "off", "v", range(100, 150))
    btrfs.take_snapshot("off", "v", "s2")
    assert before.total + 50 * BLOCK <= btrfs.space_used("off", "v").total <= before.total + 50 * BLOCK + TREES


def test_quota_groups_do_not_outlive_their_vds(btrfs: BtrfsDriver, rg: str, place: Path) -> None:
    mount = place / "rg" / rg
    for number in range(4):
        btrfs.create_vd(rg, f"short-lived-{number}", MIB)
        btrfs.take_snapshot(rg, f"short-lived-{number}", "s")
        write(btrfs, rg, f"short-lived-{number}", range(10))
        btrfs.delete_vd(rg, f"short-lived-{number}")
    gone = {btrfs_quota.quota_group(f"short-lived-{number}").replace("/", "_") for number in range(4)}
    facts = Path("/sys/fs/btrfs") / filesystem(mount).id / "qgroups"
    # The kernel lets go of a subvolume's quota group some time after the subvolume itself is gone.
    deadline = time.monotonic() + 60
    while left := gone & {group.name for group in facts.glob("1_*")}:
        assert time.monotonic() < deadline, left
        settle(mount)
        btrfs_quota.drop_unused(mount, btrfs.list_vds(rg))
