"""Memory that commands read into and write from."""

import mmap

from qreplica.iscsi.initiator._libiscsi import ffi, lib


class Buffer:
    """``size`` bytes of page-aligned memory, fit for direct I/O. Make a few and use them again and again.

    ``view`` is for ``os.preadv`` and the like. From the submission of a command with it until its completion the
    memory must not be touched: the command may be reading it, or writing it.
    """

    __slots__ = ("data", "size", "view")

    def __init__(self, size: int) -> None:
        memory = mmap.mmap(-1, size)
        self.size = size
        self.view = memoryview(memory)
        self.data = ffi.from_buffer("unsigned char[]", memory)

    def is_zero(self, start: int = 0, length: int | None = None) -> bool:
        """Whether ``length`` bytes from ``start`` (by default the rest) are zero; stops at the first that is not."""
        if length is None:
            length = self.size - start
        if start < 0 or length < 0 or start + length > self.size:
            raise ValueError(f"{length} bytes from {start} are not within a buffer of {self.size}")
        return bool(lib.qr_is_zero(self.data + start, length))


def is_zero(data: bytes | bytearray | memoryview, length: int | None = None) -> bool:
    """Whether ``length`` bytes of ``data`` (by default all) are zero; stops at the first that is not."""
    if length is None:
        length = len(data)
    if not 0 <= length <= len(data):
        raise ValueError(f"{length} bytes are not within {len(data)}")
    return bool(lib.qr_is_zero(ffi.from_buffer(data), length))
