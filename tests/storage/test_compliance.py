"""What every storage driver must do: one suite, run against each."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.driver import BLOCK, ExtentKind, GroupHealth, RaidLevel, StorageDriver
from qreplica.storage.errors import (
    DiskInUse,
    DiskTooSmall,
    DiskTwice,
    GroupClosed,
    GroupFailed,
    GroupNotEmpty,
    NotADisk,
    NotAMember,
    RebuildRunning,
    SnapshotMissing,
    TooFewDisks,
    VdMissing,
    VdSizeConflict,
)
from qreplica.units import GIB, MIB

from .failing_disks import eventually, scrub, tend

SIZE = 8 * MIB
CONTENT = b"kept" * 1024 * 1024


@pytest.fixture
def vd(driver: StorageDriver, group: str) -> Iterator[str]:
    driver.create_vd(group, "vd1", SIZE)
    yield "vd1"
    driver.delete_vd(group, "vd1")


def write(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_creating_again_is_no_change(driver: StorageDriver, group: str, disks: list[Path], vd: str) -> None:
    write(driver.vd_path(group, vd), 0, b"kept")
    driver.create_group(group, disks, RaidLevel.RAID1)
    driver.create_vd(group, vd, SIZE)
    assert driver.vd_path(group, vd).read_bytes()[:4] == b"kept"
    assert driver.list_vds(group) == [vd]


def test_a_new_vd_reads_as_zeros_and_has_its_size(driver: StorageDriver, group: str, vd: str) -> None:
    assert driver.vd_path(group, vd).read_bytes() == bytes(SIZE)


def test_another_size_is_refused(driver: StorageDriver, group: str, vd: str) -> None:
    with pytest.raises(VdSizeConflict, match="has 8 MiB already, and 16 MiB were asked for"):
        driver.create_vd(group, vd, 2 * SIZE)
    assert driver.vd_path(group, vd).stat().st_size == SIZE


def test_a_disk_in_use_is_refused_and_unchanged(driver: StorageDriver, group: str, disks: list[Path]) -> None:
    with pytest.raises(DiskInUse):
        driver.create_group("g2", disks, RaidLevel.RAID1)
    assert driver.group_status(group).health is GroupHealth.ONLINE
    assert driver.group_status("g2").health is GroupHealth.CLOSED


def test_too_few_disks_are_refused(driver: StorageDriver, disks: list[Path]) -> None:
    with pytest.raises(TooFewDisks, match="needs at least 4 disks and got 2"):
        driver.create_group("g3", disks, RaidLevel.RAID10)


def test_a_group_that_holds_vds_is_not_deleted(driver: StorageDriver, group: str, disks: list[Path], vd: str) -> None:
    with pytest.raises(GroupNotEmpty, match="1 virtual disk"):
        driver.delete_group(group, disks)
    assert driver.list_vds(group) == [vd]


def test_a_closed_group_that_holds_vds_is_not_deleted_either(
    driver: StorageDriver, group: str, disks: list[Path], vd: str
) -> None:
    driver.close_group(group)
    with pytest.raises(GroupNotEmpty, match="1 virtual disk"):
        driver.delete_group(group, disks)
    assert driver.group_status(group).health is GroupHealth.CLOSED
    driver.open_group(group, disks)
    assert driver.list_vds(group) == [vd]


def test_a_disk_named_twice_is_refused(driver: StorageDriver, disks: list[Path]) -> None:
    with pytest.raises(DiskTwice, match="is named twice"):
        driver.create_group("twice", [disks[0], disks[0]], RaidLevel.RAID1)
    assert driver.group_status("twice").health is GroupHealth.CLOSED


def test_closed_and_opened_again_all_is_there(driver: StorageDriver, group: str, disks: list[Path], vd: str) -> None:
    write(driver.vd_path(group, vd), BLOCK, b"x" * BLOCK)
    taken = driver.take_snapshot(group, vd, "s1")
    driver.close_group(group)
    driver.close_group(group)
    assert driver.group_status(group).health is GroupHealth.CLOSED
    with pytest.raises(GroupClosed):
        driver.list_vds(group)
    driver.open_group(group, disks)
    driver.open_group(group, disks)
    assert driver.list_snapshots(group, vd) == [taken]
    assert driver.snapshot_path(group, vd, "s1").read_bytes()[BLOCK : 2 * BLOCK] == b"x" * BLOCK


def test_a_group_without_disks_fails(driver: StorageDriver, tmp_path: Path) -> None:
    with pytest.raises(GroupFailed):
        driver.open_group("nowhere", [tmp_path / "gone"])
    assert driver.group_status("nowhere").health is GroupHealth.CLOSED


def test_a_snapshot_stays_as_it_was(driver: StorageDriver, group: str, vd: str) -> None:
    write(driver.vd_path(group, vd), 0, b"old")
    before = datetime.now(UTC) - timedelta(seconds=2)
    driver.prepare_snapshot(group, vd)
    taken = driver.take_snapshot(group, vd, "s1")
    write(driver.vd_path(group, vd), 0, b"new")
    assert driver.take_snapshot(group, vd, "s1") == taken
    assert before < taken.taken_at < datetime.now(UTC) + timedelta(seconds=2)
    assert taken.size == SIZE
    assert driver.snapshot_path(group, vd, "s1").read_bytes()[:3] == b"old"


def test_snapshots_are_listed_oldest_first(driver: StorageDriver, group: str, vd: str) -> None:
    for name in ("z", "a", "m"):
        write(driver.vd_path(group, vd), 0, name.encode())
        driver.take_snapshot(group, vd, name)
    assert [info.snapshot for info in driver.list_snapshots(group, vd)] == ["z", "a", "m"]
    driver.delete_snapshot(group, vd, "a")
    driver.delete_snapshot(group, vd, "a")
    assert [info.snapshot for info in driver.list_snapshots(group, vd)] == ["z", "m"]


def test_what_is_missing_is_named(driver: StorageDriver, group: str, vd: str) -> None:
    with pytest.raises(SnapshotMissing, match="no snapshot gone"):
        driver.snapshot_path(group, vd, "gone")
    with pytest.raises(SnapshotMissing):
        driver.delta(group, vd, "gone", "gone")
    with pytest.raises(SnapshotMissing):
        driver.roll_back(group, vd, "gone")
    with pytest.raises(VdMissing, match="no virtual disk gone"):
        driver.take_snapshot(group, "gone", "s")
    driver.delete_vd(group, "gone")


def test_roll_back_brings_content_and_size(driver: StorageDriver, group: str, vd: str) -> None:
    write(driver.vd_path(group, vd), 0, b"first")
    driver.take_snapshot(group, vd, "s1")
    write(driver.vd_path(group, vd), 0, b"other")
    with driver.vd_path(group, vd).open("r+b") as file:
        file.truncate(2 * SIZE)
    driver.roll_back(group, vd, "s1")
    content = driver.vd_path(group, vd).read_bytes()
    assert len(content) == SIZE
    assert content[:5] == b"first"
    write(driver.vd_path(group, vd), 0, b"later")
    assert driver.snapshot_path(group, vd, "s1").read_bytes()[:5] == b"first"


def test_a_clone_and_what_it_was_made_of_go_their_own_ways(
    driver: StorageDriver, group: str, disks: list[Path], vd: str
) -> None:
    write(driver.vd_path(group, vd), 0, CONTENT)
    driver.take_snapshot(group, vd, "s1")
    driver.resize_vd(group, vd, 2 * SIZE)
    driver.clone_vd(group, vd, "s1", "clone")
    clone = driver.vd_path(group, "clone")
    assert clone.read_bytes() == CONTENT + bytes(SIZE - len(CONTENT))
    assert driver.list_snapshots(group, "clone") == []
    write(clone, BLOCK, b"mine" * 1024)
    write(driver.vd_path(group, vd), 2 * BLOCK, b"live" * 1024)
    driver.clone_vd(group, vd, "s1", "clone")
    expected = CONTENT[:BLOCK] + b"mine" * 1024 + CONTENT[2 * BLOCK :] + bytes(SIZE - len(CONTENT))
    assert driver.vd_path(group, "clone").read_bytes() == expected
    assert driver.snapshot_path(group, vd, "s1").read_bytes() == CONTENT + bytes(SIZE - len(CONTENT))
    assert driver.vd_path(group, vd).read_bytes()[BLOCK : 2 * BLOCK] == CONTENT[BLOCK : 2 * BLOCK]
    assert driver.list_vds(group) == ["clone", vd]
    driver.delete_snapshot(group, vd, "s1")
    driver.delete_vd(group, vd)
    driver.close_group(group)
    driver.open_group(group, disks)
    assert driver.vd_path(group, "clone").read_bytes() == expected
    driver.delete_vd(group, "clone")
    assert driver.list_vds(group) == []


def test_a_clone_uses_no_space_that_snapshots_could_claim(driver: StorageDriver, group: str, vd: str) -> None:
    write(driver.vd_path(group, vd), 0, CONTENT)
    driver.take_snapshot(group, vd, "s1")
    driver.clone_vd(group, vd, "s1", "clone")
    write(driver.vd_path(group, "clone"), 0, CONTENT[::-1])
    assert driver.space_used(group, "clone").snapshots == 0
    assert driver.space_used(group, vd).snapshots == 0
    driver.delete_vd(group, "clone")


def test_nothing_is_cloned_of_a_snapshot_that_is_missing(driver: StorageDriver, group: str, vd: str) -> None:
    with pytest.raises(SnapshotMissing):
        driver.clone_vd(group, vd, "s9", "clone")
    assert driver.list_vds(group) == [vd]


def test_a_roll_back_that_is_not_confirmed_changes_nothing(driver: StorageDriver, group: str, vd: str) -> None:
    driver.take_snapshot(group, vd, "s1")
    file = driver.vd_path(group, vd)
    write(file, 0, b"other")
    before = file.stat().st_ino
    with pytest.raises(ZeroDivisionError):
        driver.roll_back(group, vd, "s1", lambda: 1 // 0)
    assert file.stat().st_ino == before
    assert file.read_bytes()[:5] == b"other"


def test_a_roll_back_is_known_by_the_file(driver: StorageDriver, group: str, vd: str) -> None:
    """Services tell by it whether one that failed was done, target drivers that a LUN is to be made anew."""

    def identity() -> tuple[int, int]:
        found = driver.vd_path(group, vd).stat()
        return found.st_dev, found.st_ino

    driver.take_snapshot(group, vd, "s1")
    for _ in range(3):
        before = identity()
        driver.take_snapshot(group, vd, "s2")
        driver.delete_snapshot(group, vd, "s2")
        assert identity() == before
        driver.roll_back(group, vd, "s1")
        assert identity() != before


def test_a_first_copy_covers_all_and_tells_holes(driver: StorageDriver, group: str, vd: str) -> None:
    write(driver.vd_path(group, vd), MIB, b"d" * MIB)
    driver.take_snapshot(group, vd, "s1")
    extents = driver.delta(group, vd, None, "s1")
    assert [(extent.offset, extent.length, extent.kind) for extent in extents] == [
        (0, MIB, ExtentKind.ZERO),
        (MIB, MIB, ExtentKind.DATA),
        (2 * MIB, SIZE - 2 * MIB, ExtentKind.ZERO),
    ]


def test_growth_is_part_of_the_delta(driver: StorageDriver, group: str, vd: str) -> None:
    driver.take_snapshot(group, vd, "s1")
    with driver.vd_path(group, vd).open("r+b") as file:
        file.truncate(SIZE + MIB)
    driver.take_snapshot(group, vd, "s2")
    extents = driver.delta(group, vd, "s1", "s2")
    assert [(extent.offset, extent.length, extent.kind) for extent in extents] == [(SIZE, MIB, ExtentKind.ZERO)]


def test_no_change_is_no_delta(driver: StorageDriver, group: str, vd: str) -> None:
    write(driver.vd_path(group, vd), 0, b"same")
    driver.take_snapshot(group, vd, "s1")
    driver.take_snapshot(group, vd, "s2")
    assert driver.delta(group, vd, "s1", "s2") == []


def data_of_delta(driver: StorageDriver, group: str, vd: str, base: str) -> int:
    driver.flush(group, vd)
    driver.take_snapshot(group, vd, "now")
    found = sum(one.length for one in driver.delta(group, vd, base, "now") if one.kind is ExtentKind.DATA)
    driver.delete_snapshot(group, vd, "now")
    return found


def test_what_was_written_since_a_snapshot_is_counted(driver: StorageDriver, group: str, vd: str) -> None:
    path = driver.vd_path(group, vd)
    write(path, 0, b"o" * (4 * MIB))
    driver.flush(group, vd)
    driver.take_snapshot(group, vd, "base")
    assert driver.changed_since(group, vd, "base") == 0
    for offset in (0, 4 * BLOCK, 4 * BLOCK, MIB + BLOCK, 5 * MIB):
        write(path, offset, b"n" * BLOCK)
        driver.flush(group, vd)
    assert driver.changed_since(group, vd, "base") == 4 * BLOCK == data_of_delta(driver, group, vd, "base")
    driver.take_snapshot(group, vd, "later")
    write(path, 2 * MIB, b"n" * MIB)
    driver.flush(group, vd)
    assert driver.changed_since(group, vd, "later") == MIB
    assert driver.changed_since(group, vd, "base") == MIB + 4 * BLOCK
    with pytest.raises(SnapshotMissing):
        driver.changed_since(group, vd, "gone")
    with pytest.raises(VdMissing):
        driver.changed_since(group, "gone", "base")


def test_what_was_written_since_is_never_too_little_after_a_roll_back(
    driver: StorageDriver, group: str, vd: str
) -> None:
    """A delta takes back too what had been written before the base and was rolled back."""

    def fill(offset: int, length: int, value: bytes, snapshot: str) -> None:
        write(driver.vd_path(group, vd), offset, value * length)
        driver.flush(group, vd)
        driver.take_snapshot(group, vd, snapshot)

    fill(0, 4 * MIB, b"1", "s1")
    fill(MIB, MIB, b"2", "s2")
    fill(2 * MIB, MIB, b"3", "base")
    fill(3 * MIB, BLOCK, b"4", "s4")
    driver.roll_back(group, vd, "s2")
    write(driver.vd_path(group, vd), 0, b"5" * BLOCK)
    driver.flush(group, vd)
    for origin in ("s4", "s1", "base"):
        assert driver.changed_since(group, vd, "base") >= data_of_delta(driver, group, vd, "base") > 0
        driver.roll_back(group, vd, origin)
    driver.take_snapshot(group, vd, "anew")
    assert driver.changed_since(group, vd, "anew") == 0


def test_space_used_grows_with_what_snapshots_hold(driver: StorageDriver, group: str, vd: str) -> None:
    path = driver.vd_path(group, vd)
    for round_ in range(3):
        write(path, 0, bytes([round_ + 1]) * SIZE)
        driver.flush(group, vd)
        driver.take_snapshot(group, vd, f"s{round_}")
    write(path, 0, b"\xff" * SIZE)
    driver.flush(group, vd)
    used = driver.space_used(group, vd)
    assert 4 * SIZE <= used.total <= 4 * SIZE + MIB
    assert used.snapshots == used.total - SIZE


def test_what_was_deleted_is_freed_in_the_end(driver: StorageDriver, group: str, vd: str) -> None:
    path = driver.vd_path(group, vd)
    for name in ("s1", "s2"):
        write(path, 0, name.encode() * (SIZE // 2))
        driver.flush(group, vd)
        driver.take_snapshot(group, vd, name)

    def freed() -> bool:
        driver.let_go(group)
        return not driver.freeing(group)

    eventually(freed)
    held = driver.data_use(group).held
    assert held >= 2 * SIZE
    driver.delete_snapshot(group, vd, "s1")
    eventually(freed)
    driver.let_go(group)
    assert driver.data_use(group).held <= held - SIZE


MakeDisk = Callable[..., Path]


@pytest.fixture(scope="module")
def make_disk(
    driver: StorageDriver, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> MakeDisk:
    """Return a function that makes a free disk that suits the driver."""

    def make(size: int = GIB) -> Path:
        if isinstance(driver, BtrfsDriver):
            return request.getfixturevalue("make_disks")(1, size)[0]  # type: ignore[no-any-return] # a fixture
        file = tmp_path_factory.mktemp("more") / "disk"
        with file.open("xb") as opened:
            opened.truncate(size)
        return file

    return make


@pytest.fixture
def mirror(driver: StorageDriver, make_disk: MakeDisk) -> Iterator[list[Path]]:
    """The disks of the group “m”, which holds VD “v” with something in it; tests note those that they replace."""
    disks = [make_disk(), make_disk()]
    driver.create_group("m", disks, RaidLevel.RAID1)
    driver.create_vd("m", "v", SIZE)
    write(driver.vd_path("m", "v"), 0, CONTENT)
    yield disks
    tend(driver, "m")
    assert driver.vd_path("m", "v").read_bytes()[: len(CONTENT)] == CONTENT
    driver.delete_vd("m", "v")
    driver.delete_group("m", [member.disk for member in driver.group_status("m").members if member.disk is not None])


def disks_of(driver: StorageDriver) -> set[Path]:
    return {member.disk for member in driver.group_status("m").members if member.disk is not None}


def test_the_status_lists_the_disks(driver: StorageDriver, mirror: list[Path]) -> None:
    status = driver.group_status("m")
    assert (status.health, status.missing_disks, status.rebuilt) == (GroupHealth.ONLINE, 0, None)
    assert disks_of(driver) == set(mirror)
    assert not any(member.missing or member.errors.total for member in status.members)


def test_a_disk_is_replaced(driver: StorageDriver, mirror: list[Path], make_disk: MakeDisk) -> None:
    new = make_disk()
    driver.replace_disk("m", mirror[0], new)
    assert new in disks_of(driver)
    driver.replace_disk("m", mirror[0], new)
    assert tend(driver, "m").missing_disks == 0
    assert disks_of(driver) == {mirror[1], new}
    driver.replace_disk("m", mirror[0], new)
    assert driver.group_status("m").health is GroupHealth.ONLINE
    driver.close_group("m")
    driver.open_group("m", [mirror[0], mirror[1], new])
    assert disks_of(driver) == {mirror[1], new}


def test_a_disk_that_was_replaced_is_free(driver: StorageDriver, mirror: list[Path], make_disk: MakeDisk) -> None:
    driver.replace_disk("m", mirror[0], make_disk())
    tend(driver, "m")
    driver.create_group("other", [mirror[0]], RaidLevel.JBOD)
    driver.delete_group("other", [mirror[0]])


@pytest.mark.usefixtures("group")
def test_what_cannot_replace_a_disk_is_refused(
    driver: StorageDriver, mirror: list[Path], make_disk: MakeDisk, disks: list[Path], tmp_path: Path
) -> None:
    small, free = make_disk(768 * MIB), make_disk()
    with pytest.raises(DiskTooSmall, match="has 768 MiB"):
        driver.replace_disk("m", mirror[0], small)
    with pytest.raises(NotAMember):
        driver.replace_disk("m", free, make_disk())
    with pytest.raises(DiskInUse):
        driver.replace_disk("m", mirror[0], disks[0])
    with pytest.raises(NotADisk):
        driver.replace_disk("m", mirror[0], tmp_path / "gone")
    assert disks_of(driver) == set(mirror)
    assert driver.group_status("m").health is GroupHealth.ONLINE


def test_a_group_grows_by_a_disk(driver: StorageDriver, mirror: list[Path], make_disk: MakeDisk) -> None:
    more = make_disk()
    driver.add_disk("m", more)
    assert driver.group_status("m").health is GroupHealth.REBUILDING
    assert driver.group_status("m").rebuilt is not None
    driver.add_disk("m", more)
    with pytest.raises(RebuildRunning):
        driver.add_disk("m", make_disk())
    assert tend(driver, "m").rebuilt is None
    assert disks_of(driver) == {*mirror, more}


def test_a_growth_makes_way_for_a_replacement(driver: StorageDriver, mirror: list[Path], make_disk: MakeDisk) -> None:
    more, new = make_disk(), make_disk()
    driver.add_disk("m", more)
    status = driver.group_status("m")
    assert (status.health, status.spreading) == (GroupHealth.REBUILDING, True)
    driver.replace_disk("m", mirror[0], new)
    assert not tend(driver, "m").spreading
    assert disks_of(driver) == {new, mirror[1], more}


@pytest.mark.usefixtures("group")
def test_what_cannot_be_added_is_refused(
    driver: StorageDriver, mirror: list[Path], make_disk: MakeDisk, disks: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(DiskTooSmall):
        driver.add_disk("m", make_disk(256 * MIB))
    with pytest.raises(DiskInUse):
        driver.add_disk("m", disks[0])
    with pytest.raises(NotADisk):
        driver.add_disk("m", tmp_path / "gone")
    assert disks_of(driver) == set(mirror)
    assert driver.group_status("m").health is GroupHealth.ONLINE


@pytest.mark.usefixtures("mirror")
def test_a_scrub_tells_what_it_checked(driver: StorageDriver) -> None:
    driver.flush("m", "v")
    assert driver.scrub_status("m") is None
    before = datetime.now(UTC) - timedelta(seconds=2)
    found = scrub(driver, "m")
    assert (found.corrected, found.uncorrectable, found.progress) == (0, 0, 1.0)
    assert found.checked >= len(CONTENT)
    assert before < found.started_at < datetime.now(UTC) + timedelta(seconds=2)
    driver.stop_scrub("m")
    driver.stop_scrub("m")
    assert driver.scrub_status("m") == found


def test_disks_of_a_closed_group_are_left_alone(driver: StorageDriver, make_disk: MakeDisk) -> None:
    one, other = make_disk(), make_disk()
    for work in (
        lambda: driver.replace_disk("closed", one, other),
        lambda: driver.add_disk("closed", one),
        lambda: driver.tend_group("closed"),
        lambda: driver.start_scrub("closed"),
        lambda: driver.stop_scrub("closed"),
        lambda: driver.scrub_status("closed"),
    ):
        with pytest.raises(GroupClosed):
            work()
