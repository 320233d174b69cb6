"""The host's filesystem: real files, really changed."""

import os
from pathlib import Path

import pytest

from qreplica.lab import filesystem, sparse
from qreplica.lab.errors import CommandFailed, TreeTooSmall
from qreplica.lab.storage_left import loops_below, mounts
from qreplica.units import KIB, MIB


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for number in range(200):
        file = root / f"folder-{number % 7}" / f"file-{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(100 * KIB))
    (root / "link").symlink_to("folder-0/file-0")
    return root


def collected(tree: Path) -> dict[str, bytes]:
    return {str(file.relative_to(tree)): file.read_bytes() for file in tree.rglob("*") if file.is_file()}


def test_a_collection_is_the_same_every_time_and_large_enough(files: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert filesystem.collect(one, 10 * MIB, (files,)) >= 10 * MIB
    filesystem.collect(two, 10 * MIB, (files,))
    assert collected(one) == collected(two)
    assert 10 * MIB <= sum(map(len, collected(one).values())) < 11 * MIB


def test_too_few_files_are_copied_again(files: Path, tmp_path: Path) -> None:
    assert filesystem.collect(tmp_path / "tree", 30 * MIB, (files,)) >= 30 * MIB
    assert [entry.name for entry in sorted((tmp_path / "tree").iterdir())] == ["copy-1", "copy-2"]


def test_next_to_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises(TreeTooSmall, match="less than 1 MiB"):
        filesystem.collect(tmp_path / "tree", MIB, (tmp_path / "root", tmp_path / "nowhere"))


@pytest.fixture
def image(files: Path, tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    filesystem.collect(tree, 16 * MIB, (files,))
    filesystem.make(tmp_path / "image", 128 * MIB, tree)
    return tmp_path / "image"


@pytest.mark.root
def test_changes_leave_a_clean_filesystem_that_differs(image: Path, tmp_path: Path) -> None:
    filesystem.check(image)
    assert filesystem.content(image, filesystem.KNOWN_FILE) == b"as it was at first\n"
    before = tmp_path / "before"
    sparse.copy(image, before)

    changes = filesystem.change(image, tmp_path / "mount")

    filesystem.check(image)
    assert filesystem.content(image, filesystem.KNOWN_FILE) == changes.known_content
    assert min(changes.changed, changes.deleted, changes.added) > 0
    assert loops_below(tmp_path) == []
    assert tmp_path / "mount" not in {mount.point for mount in mounts()}
    with before.open("rb") as older, image.open("rb") as newer:
        found = list(sparse.differences(older.fileno(), newer.fileno()))
    discarded = sum(one.length for one in found if one.hole)
    written = sum(one.length for one in found if not one.hole)
    assert discarded >= changes.deleted * 96 * KIB
    assert written >= changes.added * MIB


@pytest.mark.root
def test_damage_is_found(image: Path) -> None:
    with image.open("r+b") as file:
        file.seek(1024 + 0x58)  # s_inode_size of the superblock (kernel: filesystems/ext4/super)
        file.write(b"\xff\xff")
    with pytest.raises(CommandFailed, match="e2fsck"):
        filesystem.check(image)


def test_a_digest_is_of_all_bytes(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"a" * 10)
    (tmp_path / "two").write_bytes(b"a" * 9 + b"b")
    assert filesystem.digest(tmp_path / "one") != filesystem.digest(tmp_path / "two")
