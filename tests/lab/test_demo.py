"""The demo's last word: what it takes for equal, and what not."""

import shutil
from pathlib import Path

import pytest

from qreplica.lab import filesystem
from qreplica.lab.demo import compare
from qreplica.lab.errors import CommandFailed, CopyDiffers, TroubleTooLate
from qreplica.lab.topology import TESTS, Lab
from qreplica.lab.trouble import Trouble
from qreplica.units import MIB

KNOWN = b"as it was at first\n"


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, Path, Path]:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(bytes(range(256)) * 64)
    first, *others = images = (tmp_path / "copy", tmp_path / "original", tmp_path / "written")
    filesystem.make(first, 16 * MIB, tree)
    for other in others:
        shutil.copy(first, other)
    return images


def damage(image: Path, offset: int) -> None:
    with image.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def test_equal_images_are_equal(images: tuple[Path, Path, Path]) -> None:
    assert compare(*images, KNOWN) == filesystem.digest(images[2])


@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_bit_anywhere_is_a_difference(images: tuple[Path, Path, Path], which: int) -> None:
    damage(images[which], 11 * MIB)
    with pytest.raises(CopyDiffers, match=images[which].name):
        compare(*images, KNOWN)


def test_three_equally_broken_filesystems_are_no_success(images: tuple[Path, Path, Path]) -> None:
    for image in images:
        damage(image, 1024 + 0x10)  # s_free_inodes_count of the superblock (kernel: filesystems/ext4/super)
    with pytest.raises(CommandFailed, match="e2fsck"):
        compare(*images, KNOWN)


def test_a_file_must_read_as_written(images: tuple[Path, Path, Path]) -> None:
    with pytest.raises(CopyDiffers, match="another content"):
        compare(*images, b"as it is now\n")


def test_a_disk_that_is_copied_too_fast_to_be_broken_into_is_no_success() -> None:
    trouble = Trouble(Lab("none", TESTS), print, job="payroll-job", node="iqn", lun=1, part=1)
    with pytest.raises(TroubleTooLate, match="payroll-job"):
        trouble.mend()
