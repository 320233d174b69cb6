"""One connection to a target: login, raw commands, completions. Knows nothing of disks."""

import errno
import os
import socket
import time
from collections.abc import Iterator

from _cffi_backend import FFI

from qreplica.iscsi.errors import ChapInvalid, InterfaceUnusable, PortalUnreachable, QueueFull, SessionLost
from qreplica.iscsi.initiator._libiscsi import ffi, lib
from qreplica.iscsi.initiator.failures import GOOD, Answer, Ending, Peer, login_error, session_error, text_of
from qreplica.iscsi.initiator.model import Chap, KeepAlive, Portal, check_iscsi_name

#: Commands that one connection holds at once.
DEPTH: int = lib.QR_DEPTH

_DISCOVERY = "(discovery)"
_GOODBYE = 2.0


def _given(chap: Chap | None, mutual: Chap | None) -> str:
    if chap is None:
        return "none was given"
    return f"name {chap.user}" + (f", mutual name {mutual.user}" if mutual else "")


class Connection:
    """Use by one thread at a time. Waiting releases the interpreter lock."""

    def __init__(
        self,
        portal: Portal,
        node: str | None,
        initiator_name: str,
        *,
        chap: Chap | None,
        mutual: Chap | None,
        interface: str | None,
        header_digest: bool,
        timeout: float,
        keep_alive: KeepAlive,
        isid: int | None = None,
    ) -> None:
        """Connect and log in, to ``node`` or for discovery when it is None, within ``timeout`` seconds.

        ``isid`` as ``Session.connect`` says. Raises what that does.
        """
        for name in filter(None, (node, initiator_name)):
            check_iscsi_name(name)
        if mutual is not None and chap is None:
            raise ChapInvalid(reason="mutual CHAP needs a name and secret for the initiator too")
        if chap and mutual and chap.secret == mutual.secret:
            raise ChapInvalid(reason="both directions have the same secret, which lets an impostor answer for the node")
        if interface is not None:
            _check_interface(interface)
        self.peer = Peer(portal, node or _DISCOVERY, initiator_name, interface, _given(chap, mutual))
        self._s: FFI.CData | None = ffi.gc(lib.qr_new(initiator_name.encode()), lib.qr_free)
        self._batch = ffi.new("qr_completion[]", DEPTH)
        self._ending = Ending(lib.QR_CLOSED, 0, "")
        if isid is not None:
            lib.qr_set_isid(self._s, isid >> 16, isid & 0xFFFF)
        lib.qr_start(
            self._s,
            str(portal).encode(),
            _text(node),
            _text(chap.user if chap else None),
            _text(chap.secret if chap else None),
            _text(mutual.user if mutual else None),
            _text(mutual.secret if mutual else None),
            _text(interface),
            header_digest,
            round(keep_alive.interval * 1000),
            keep_alive.intervals,
        )
        try:
            self._log_in(timeout)
        except BaseException:
            self._drop()
            raise

    def _log_in(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        s = self._session()
        while (phase := lib.qr_phase(s)) != lib.QR_READY:
            if phase == lib.QR_ENDED:
                raise login_error(self.peer, self._read_ending(s))
            left = deadline - time.monotonic()
            if left <= 0:
                what = "the connection was not accepted" if phase == lib.QR_CONNECTING else "the login was not answered"
                raise PortalUnreachable(portal=self.peer.portal, reason=f"{what} within {timeout:g} s")
            lib.qr_step(s, _milliseconds(left))

    def _session(self) -> FFI.CData:
        if self._s is None:
            raise self.lost()
        return self._s

    def _read_ending(self, s: FFI.CData) -> Ending:
        return Ending(lib.qr_ending(s), lib.qr_detail(s), text_of(lib.qr_text(s)))

    @property
    def header_digest(self) -> bool:
        """Whether both sides agreed on header digests (CRC32C)."""
        return bool(lib.qr_header_digest(self._session()))

    def lost(self) -> SessionLost:
        """Return why there is no session any more."""
        return session_error(self.peer, self._ending if self._s is None else self._read_ending(self._s))

    @property
    def has_ended(self) -> bool:
        """Whether the session is over, for whatever reason."""
        return self._s is None or lib.qr_phase(self._s) != lib.QR_READY

    def command(  # noqa: PLR0917 - what a SCSI command consists of
        self, tag: int, lun: int, cdb: bytes, direction: int, data: FFI.CData, length: int, timeout: float
    ) -> None:
        """Queue a command; ``data`` must stay untouched until the completion. Raises SessionLost, QueueFull."""
        code = lib.qr_command(self._session(), tag, lun, cdb, len(cdb), direction, data, length, _milliseconds(timeout))
        if code:
            raise self._refusal(code)

    def transfer(  # noqa: PLR0917 - what a SCSI command consists of
        self,
        tag: int,
        lun: int,
        direction: int,
        lba: int,
        blocks: int,
        data: FFI.CData,
        length: int,
        timeout: float,
    ) -> None:
        """Queue a READ(16) or WRITE(16); otherwise as ``command``."""
        code = lib.qr_transfer(self._session(), tag, lun, direction, lba, blocks, data, length, _milliseconds(timeout))
        if code:
            raise self._refusal(code)

    def _refusal(self, code: int) -> Exception:
        if code == -errno.EAGAIN:
            return QueueFull(node=self.peer.node, portal=self.peer.portal, depth=DEPTH)
        if code == -errno.EPIPE:
            return self.lost()
        return MemoryError(os.strerror(-code))

    @property
    def has_room(self) -> bool:
        """Whether another command can be queued."""
        return bool(lib.qr_in_flight(self._session()) < DEPTH)

    def collect(self, timeout: float) -> Iterator[tuple[int, Answer | None]]:
        """Serve the connection for at most ``timeout`` seconds and yield what has completed.

        The answer is None for a command that the session's end left unanswered. Returns early with nothing on a
        signal or an answered ping; raises SessionLost when the session is over and everything was yielded.
        """
        s = self._session()
        lib.qr_step(s, _milliseconds(timeout))
        count = lib.qr_collect(s, self._batch, DEPTH)
        if count == 0 and lib.qr_phase(s) != lib.QR_READY:
            raise self.lost()
        for c in self._batch[0:count]:
            if c.status == lib.QR_STATUS_LOST:
                yield c.tag, None
            elif c.status == lib.SCSI_STATUS_GOOD and c.residual == 0:
                yield c.tag, GOOD
            else:
                yield c.tag, Answer(c.status, c.sense_key, c.asc_ascq, c.residual, bool(c.overflow))

    def ping(self) -> int:
        """Send a NOP-Out and return its number. Raises SessionLost."""
        number = lib.qr_ping(self._session())
        if number == 0:
            raise self.lost()
        return number

    def has_answered(self, ping: int) -> bool:
        """Whether the target has answered the NOP-Out of that number."""
        return bool(lib.qr_pinged(self._session(), ping))

    def reset(self, lun: int) -> int:
        """Send a LOGICAL UNIT RESET and return its number. Raises SessionLost."""
        number = lib.qr_reset(self._session(), lun)
        if number == 0:
            raise self.lost()
        return number

    def reset_response(self, reset: int) -> int | None:
        """Return how the target answered the reset of that number (RFC 7143, 11.6.1); None when it has not yet."""
        s = self._session()
        return lib.qr_reset_response(s) if lib.qr_was_reset(s, reset) else None

    def discover(self, timeout: float) -> str:
        """Return what the portal offers: a line for each node, then one with a tab in front for each portal.

        Only on a connection for discovery. Raises SessionLost, and PortalUnreachable when it takes too long.
        """
        s = self._session()
        deadline = time.monotonic() + timeout
        lib.qr_discover(s)
        while lib.qr_discovered(s) == ffi.NULL:
            if lib.qr_phase(s) != lib.QR_READY:
                raise self.lost()
            left = deadline - time.monotonic()
            if left <= 0:
                raise PortalUnreachable(
                    portal=self.peer.portal, reason=f"the discovery was not answered within {timeout:g} s"
                )
            lib.qr_step(s, _milliseconds(left))
        return text_of(lib.qr_discovered(s))

    def close(self) -> None:
        """Log out if the session still stands, and close the socket; again is harmless. Never raises."""
        if self._s is None:
            return
        deadline = time.monotonic() + _GOODBYE
        lib.qr_logout(self._s)
        while lib.qr_phase(self._s) == lib.QR_READY and (left := deadline - time.monotonic()) > 0:
            lib.qr_step(self._s, _milliseconds(left))
            lib.qr_collect(self._s, self._batch, DEPTH)
        self._drop()

    def _drop(self) -> None:
        if self._s is not None:
            if lib.qr_phase(self._s) == lib.QR_ENDED:
                self._ending = self._read_ending(self._s)
            session, self._s = self._s, None
            ffi.release(session)


def _check_interface(interface: str) -> None:
    """Raise InterfaceUnusable unless there is such an interface; libiscsi would split its name at a comma."""
    try:
        socket.if_nametoindex(interface)
    except (OSError, ValueError):
        raise InterfaceUnusable(interface=interface) from None
    if "," in interface:
        raise InterfaceUnusable(interface=interface)


def _text(value: str | None) -> bytes | FFI.CData:
    return ffi.NULL if value is None else value.encode()


def _milliseconds(seconds: float) -> int:
    return max(0, min(round(seconds * 1000), 2**31 - 1))
