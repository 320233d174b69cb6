"""Makes initiators wait for a moment without ending their sessions.

A socket filter (BPF, socket(7)) that lets nothing through is put on each TCP socket of tgtd: what arrives is as if lost
on its way, and TCP sends it again, after 200 ms or so, when the filter is gone. tgtd itself runs on, does what it had
received before, and can be configured meanwhile, which one that is stopped cannot.
"""

import contextlib
import ctypes
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Iterator, Sequence

from qreplica.iscsi.target.sockets import tcp_sockets

#: SO_ATTACH_FILTER and SO_DETACH_FILTER of asm-generic/socket.h.
_ATTACH_FILTER, _DETACH_FILTER = 26, 27
#: A program of one instruction, BPF_RET | BPF_K, that keeps 0 bytes of what arrived (linux/filter.h).
_NOTHING = ctypes.create_string_buffer(struct.pack("@HBBI", 0x06, 0, 0, 0), 8)
_LET_NOTHING_IN = struct.pack("@HP", 1, ctypes.addressof(_NOTHING))


class Held:
    """Sockets that nothing comes in by."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._sockets = sockets

    def drained(self) -> bool:
        """Tell whether all that had come in before was read; what is half there stays so."""
        return not any(
            int.from_bytes(fcntl.ioctl(one, termios.FIONREAD, bytes(4)), sys.byteorder)
            for one in self._sockets
            if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        )


@contextlib.contextmanager
def held(pid: int) -> Iterator[Held]:
    """Let nothing in by the TCP sockets of the process as long as the context lasts.

    Raises OSError where the kernel does not allow it or the process is gone; then nothing was held.
    """
    with contextlib.ExitStack() as stack:
        sockets = []
        for one in tcp_sockets(pid, stack):
            one.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, _LET_NOTHING_IN)
            stack.callback(one.setsockopt, socket.SOL_SOCKET, _DETACH_FILTER, 0)
            sockets.append(one)
        yield Held(sockets)
