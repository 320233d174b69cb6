"""What a file holds, chunk by chunk."""

import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qreplica.replication import digests
from qreplica.replication.digests import digest, look, of_zeros
from qreplica.storage.driver import BLOCK

CHUNK = 2 * BLOCK


@pytest.fixture
def disk(on_tmpfs: Path) -> Iterator[int]:
    """A disk of ten blocks and a half, of which some are written: 1, 4, 5 and the half."""
    file = os.open(on_tmpfs / "disk-with-holes", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.ftruncate(file, 10 * BLOCK + BLOCK // 2)
    os.pwrite(file, b"1" * BLOCK, BLOCK)
    os.pwrite(file, b"4" * 2 * BLOCK, 4 * BLOCK)
    os.pwrite(file, b"h" * (BLOCK // 2), 10 * BLOCK)
    yield file
    os.close(file)


def test_only_what_is_written_is_told(disk: int) -> None:
    size = os.fstat(disk).st_size
    found = look(disk, 0, size, CHUNK)
    assert found.end == size
    assert found.digests == {
        0: digest(bytes(BLOCK) + b"1" * BLOCK),
        2 * CHUNK: digest(b"4" * CHUNK),
        5 * CHUNK: digest(b"h" * (BLOCK // 2)),
    }


def test_what_lies_beyond_the_size_asked_for_does_not_count(disk: int) -> None:
    """A backup VD may be larger than what is replicated to it."""
    found = look(disk, 0, 5 * BLOCK, CHUNK)
    assert found == digests.Look(5 * BLOCK, {0: digest(bytes(BLOCK) + b"1" * BLOCK), 2 * CHUNK: digest(b"4" * BLOCK)})


def test_an_empty_disk_is_told_of_at_once(on_tmpfs: Path) -> None:
    with (on_tmpfs / "empty-disk").open("w+b") as file:
        file.truncate(1 << 44)
        assert look(file.fileno(), 0, 1 << 44, CHUNK) == digests.Look(1 << 44, {})
        assert look(file.fileno(), CHUNK, 1 << 44, CHUNK) == digests.Look(1 << 44, {})


def test_zeros_that_are_written_have_the_digest_of_zeros(on_tmpfs: Path) -> None:
    with (on_tmpfs / "zeros").open("w+b") as file:
        file.write(bytes(3 * BLOCK))
        file.flush()
        found = look(file.fileno(), 0, 3 * BLOCK, CHUNK)
    assert found.digests == {0: of_zeros(CHUNK), CHUNK: of_zeros(BLOCK)}


@pytest.mark.parametrize(
    ("limit", "value"), [("MOST_CHUNKS", 2), ("MOST_BYTES", 2 * CHUNK), ("MOST_BYTES", 3 * CHUNK - 1)]
)
def test_a_look_is_bounded_and_the_next_goes_on(
    disk: int, limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, limit, value)
    size = os.fstat(disk).st_size
    first = look(disk, 0, size, CHUNK)
    # It ends where the next chunk with data begins: the holes before cost nothing.
    assert (first.end, sorted(first.digests)) == (5 * CHUNK, [0, 2 * CHUNK])
    second = look(disk, first.end, size, CHUNK)
    assert (second.end, sorted(second.digests)) == (size, [5 * CHUNK])


def test_a_slow_disk_ends_a_look_but_not_before_a_chunk(disk: int) -> None:
    slow = itertools.count(step=digests.MOST_SECONDS * 2)
    found = look(disk, 0, os.fstat(disk).st_size, CHUNK, lambda: next(slow))
    assert (found.end, list(found.digests)) == (2 * CHUNK, [0])


@pytest.mark.parametrize("failing", ["error", "too little"])
def test_what_cannot_be_read_is_told_as_such(disk: int, failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.preadv

    def preadv(fd: int, views: list[Any], offset: int) -> int:
        if offset != 2 * CHUNK:
            return real(fd, views, offset)
        if failing == "error":
            raise OSError(errno.EIO, "Input/output error")
        return BLOCK

    monkeypatch.setattr(os, "preadv", preadv)
    assert look(disk, 0, os.fstat(disk).st_size, CHUNK).digests[2 * CHUNK] is None
