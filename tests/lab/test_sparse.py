"""Sparse images: copies keep their holes, differences are exactly what differs."""

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qreplica.lab.sparse import copy, differences, written_ranges
from qreplica.units import MIB

BLOCK = 4096
BLOCKS = 64


def image(file: Path, blocks: dict[int, int], size: int = BLOCKS * BLOCK) -> Path:
    with file.open("wb") as opened:
        opened.truncate(size)
        for number, fill in blocks.items():
            os.pwrite(opened.fileno(), bytes([fill]) * BLOCK, number * BLOCK)
    return file


def applied(older: Path, newer: Path) -> tuple[bytes, list[bool]]:
    """What the differences make of the older image, and which were holes."""
    result = bytearray(older.read_bytes())
    kinds = []
    with older.open("rb") as before, newer.open("rb") as after:
        for difference in differences(before.fileno(), after.fileno()):
            place = slice(difference.offset, difference.offset + difference.length)
            kinds.append(difference.hole)
            result[place] = bytes(difference.length) if difference.hole else newer.read_bytes()[place]
    return bytes(result), kinds


contents = st.dictionaries(st.integers(0, BLOCKS - 1), st.integers(0, 2), max_size=BLOCKS)


@settings(deadline=None, max_examples=60)
@given(older=contents, newer=contents)
def test_the_differences_turn_the_older_into_the_newer(
    tmp_path_factory: pytest.TempPathFactory, older: dict[int, int], newer: dict[int, int]
) -> None:
    directory = tmp_path_factory.mktemp("images")
    before, after = image(directory / "before", older), image(directory / "after", newer)
    assert applied(before, after)[0] == after.read_bytes()
    with before.open("rb") as one, after.open("rb") as two:
        listed = list(differences(one.fileno(), two.fileno()))
    for difference in listed:
        for block in range(difference.offset // BLOCK, (difference.offset + difference.length) // BLOCK):
            assert older.get(block, 0) != newer.get(block, 0)
            assert difference.hole == (block not in newer)
    assert all(a.offset + a.length < b.offset or a.hole != b.hole for a, b in itertools.pairwise(listed))


def test_differences_far_apart(tmp_path: Path) -> None:
    before = image(tmp_path / "before", {0: 1, 5000: 1}, 64 * MIB)
    after = image(tmp_path / "after", {0: 1, 9000: 2}, 64 * MIB)
    assert applied(before, after) == (after.read_bytes(), [True, False])


def test_a_copy_is_equal_and_as_sparse(tmp_path: Path) -> None:
    original = image(tmp_path / "original", {3: 7, 4000: 9}, 64 * MIB)
    copy(original, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == original.read_bytes()
    with original.open("rb") as one, (tmp_path / "copy").open("rb") as two:
        assert written_ranges(one.fileno()) == written_ranges(two.fileno())
        assert written_ranges(two.fileno()) == [(3 * BLOCK, 4 * BLOCK), (4000 * BLOCK, 4001 * BLOCK)]
