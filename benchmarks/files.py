"""Files that are copied: made, dropped from memory, compared."""

import os
from collections.abc import Iterable
from pathlib import Path

from benchmarks.errors import CopyIsWrong
from qreplica.units import MIB

_PIECE = 16 * MIB


def fill(file: Path, size: int) -> None:
    """Write what does not compress and has no zeros, no piece twice."""
    with file.open("wb") as out:
        for at in range(0, size, _PIECE):
            out.write(os.urandom(min(_PIECE, size - at)))
        os.fsync(out.fileno())


def empty(file: Path, size: int) -> None:
    """Make a file of holes."""
    with file.open("wb") as out:
        out.truncate(size)


def forget(files: Iterable[Path]) -> None:
    """Write out what is dirty of the files and drop their content from memory (posix_fadvise(2))."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def check_equal(one: Path, other: Path, size: int) -> None:
    """Compare the first ``size`` bytes. Raises CopyIsWrong."""
    with one.open("rb") as first, other.open("rb") as second:
        for at in range(0, size, _PIECE):
            length = min(_PIECE, size - at)
            if first.read(length) != second.read(length):
                raise CopyIsWrong(one=one, other=other, offset=at)
