"""Has the kernel write parts of a file anew, with the same bytes, while others go on writing it.

``MADV_POPULATE_WRITE`` of madvise(2) makes pages of a shared mapping writable as a store into them would, without the
store: the filesystem takes each for dirty and writes it to a new place, under the same lock of the page that a write(2)
takes. So nothing is read and written back here, and no write of a host can be lost in between.
"""

import contextlib
import ctypes
import errno
import mmap
import os
import time
from collections.abc import Callable, Iterator, Sequence

#: So many ranges are written before the clock is looked at.
_TOGETHER = 64
_POPULATE_WRITE = 23
#: Of sync_file_range(2), linux/fs.h: start to write; and wait before, start, and wait after.
_START, _WHOLE = 2, 7
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_LIBC.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def rewrite(fd: int, ranges: Sequence[tuple[int, int]], deadline: float) -> bool:
    """Write the ``ranges`` (offset and length, multiples of the page size) of the file anew.

    Each becomes an extent of its own. Returns True when all are on the disk; the file has its new extents, and what
    they replaced is free, soon after a commit. False when ``deadline`` (of the monotonic clock) was reached before:
    while hosts write much it takes long. ``fd`` must be open for reading and writing. Raises OSError: ENOSPC when there
    is no room for the new ones, EIO when some of the old ones cannot be read.
    """
    for first in range(0, len(ranges), _TOGETHER):
        if time.monotonic() >= deadline:
            return False
        _rewrite(fd, ranges[first : first + _TOGETHER])
    return True


def _rewrite(fd: int, ranges: Sequence[tuple[int, int]]) -> None:
    start, end = min(offset for offset, _ in ranges), max(offset + length for offset, length in ranges)
    for offset, length in ranges:
        # All reads are under way before the first is waited for.
        os.posix_fadvise(fd, offset, length, os.POSIX_FADV_WILLNEED)
    with _mapped(fd, start, end - start) as address:
        for offset, length in ranges:
            _populate(fd, address - start, offset, length)
            _call(_LIBC.sync_file_range, fd, offset, length, _START)
    for offset, length in ranges:
        _call(_LIBC.sync_file_range, fd, offset, length, _WHOLE)


@contextlib.contextmanager
def _mapped(fd: int, offset: int, length: int) -> Iterator[int]:
    """Map a part of the file and give its address."""
    with mmap.mmap(fd, length, offset=offset) as mapping:
        view = ctypes.c_char.from_buffer(mapping)
        try:
            yield ctypes.addressof(view)
        finally:
            # A mapping of which a view is left cannot be closed.
            del view


def _populate(fd: int, address: int, offset: int, length: int) -> None:
    """Make a range writable in the mapping, of which ``address`` is where the file would begin."""
    try:
        _call(_LIBC.madvise, address + offset, length, _POPULATE_WRITE)
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise
        # EFAULT stands for whatever the fault behind it met: a block that cannot be read, of which a read tells, or
        # no space, of which a write would have told (page_mkwrite).
        os.pread(fd, length, offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def _call(function: Callable[..., int], *arguments: int) -> None:
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
