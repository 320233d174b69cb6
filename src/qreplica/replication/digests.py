"""What a file holds, as digests of its chunks: both sides of a comparison work them out here.

Only what is written is read; a chunk that is a hole throughout is zeros, whose digest is known.
"""

import functools
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import xxhash

from qreplica.storage.holes import next_written
from qreplica.units import MIB

#: One look reads no more than this (bytes), finds no more chunks, and is over soon after so many seconds: whoever asks
#: over a network gets each answer within seconds also where disks are slow.
MOST_BYTES = 128 * MIB
MOST_CHUNKS = 4096
MOST_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Look:
    """What a file holds up to ``end``: the digest of each chunk with data by its offset, None for an unreadable one."""

    end: int
    digests: dict[int, str | None]


Content = bytes | bytearray | memoryview


def digest(content: Content) -> str:
    """Return the SHA-256, hexadecimal: what decides that something need not be sent."""
    return hashlib.sha256(content).hexdigest()


def quick_digest(content: Content) -> str:
    """Return the XXH3-128, hexadecimal: finds what went wrong by chance, as fast as it is read."""
    return xxhash.xxh3_128_hexdigest(content)


@functools.lru_cache(maxsize=16)
def of_zeros(length: int, of: Callable[[Content], str] = digest) -> str:
    """Return the digest of so many zeros."""
    return of(bytes(length))


def look(  # noqa: PLR0917 - a range of a file, and how it is looked at
    fd: int,
    start: int,
    size: int,
    chunk: int,
    clock: Callable[[], float] = time.monotonic,
    of: Callable[[Content], str] = digest,
) -> Look:
    """Return what the first ``size`` bytes of the file ``fd`` hold from ``start``, a multiple of ``chunk``, on.

    What counts is what the disks hold: the page cache keeps what once failed to be written as if it had been, so what
    is clean there is forgotten first. Raises OSError where even what is written cannot be told.
    """
    os.posix_fadvise(fd, start, size - start, os.POSIX_FADV_DONTNEED)
    digests: dict[int, str | None] = {}
    buffer = memoryview(bytearray(chunk))
    at, read, until = start, 0, clock() + MOST_SECONDS
    while at < size:
        data = next_written(fd, at)
        if data is None or data >= size:
            at = size
            break
        at = data // chunk * chunk
        if read + chunk > MOST_BYTES or len(digests) >= MOST_CHUNKS or (digests and clock() > until):
            break
        length = min(chunk, size - at)
        digests[at] = _digest_at(fd, at, buffer[:length], of)
        read += length
        at += length
    os.posix_fadvise(fd, start, at - start, os.POSIX_FADV_DONTNEED)
    return Look(at, digests)


def _digest_at(fd: int, offset: int, buffer: memoryview, of: Callable[[Content], str]) -> str | None:
    """Return None for what the disks have lost: whoever compares then writes it anew, which heals it."""
    try:
        got = os.preadv(fd, [buffer], offset)
    except OSError:
        return None
    return of(buffer) if got == len(buffer) else None
