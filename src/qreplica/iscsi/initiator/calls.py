"""Whole calls: a command sent, waited for, and sent again where that is right. Knows the disks of a session."""

from collections.abc import Iterator

from _cffi_backend import FFI

from qreplica.iscsi.errors import CommandFailed, LunMissing, LunReplaced
from qreplica.iscsi.initiator import commands, pages, sense
from qreplica.iscsi.initiator._libiscsi import ffi, lib
from qreplica.iscsi.initiator.disk import Disk
from qreplica.iscsi.initiator.exchange import MOST_TRIES, Exchange
from qreplica.iscsi.initiator.failures import Answer, Peer, command_error
from qreplica.iscsi.initiator.model import Capacity
from qreplica.units import KIB

_CHUNK = 256 * KIB  # goes in one PDU to a tuned tgtd
_BUSY_DELAYS = (0.05, 0.1, 0.2, 0.4, 0.8)
_PAGE = 252  # an allocation length that old targets take too
_RESPONSES = {2: "there is no such LUN", 5: "the target does not know the function", 6: "the target does not permit it"}


def _response(code: int) -> str:
    """Return a task management response (RFC 7143, 11.6.1) in words."""
    return _RESPONSES.get(code, f"task management response {code}")


class Caller:
    """Makes whole calls over an exchange. Each raises CommandFailed, LunMissing, LunReplaced, SessionLost."""

    def __init__(self, exchange: Exchange, peer: Peer, command_timeout: float, flush_timeout: float) -> None:
        self._exchange = exchange
        self._peer = peer
        self._command_timeout = command_timeout
        self._flush_timeout = flush_timeout
        self._disks: dict[int, Disk] = {}

    def disk(self, lun: int) -> Disk:
        """Return what is known of a LUN, after asking it when the session first meets it."""
        if lun not in self._disks:
            self.capacity(lun)
        return self._disks[lun]

    def capacity(self, lun: int) -> Capacity:
        """Ask for the LUN's size, limits and identity, which must be the same as before if it was met before."""
        capacity = pages.capacity(self.fetch(commands.READ_CAPACITY, lun, commands.read_capacity_16(32), 32))
        limits = pages.block_limits(self._optional_page(lun, 0xB0))
        if lun in self._disks:
            self.verify(commands.READ_CAPACITY, lun)
        self._disks[lun] = Disk.of(lun, capacity, limits, self._identity(lun))
        return capacity

    def inquire(self, lun: int, page: int | None = None) -> bytes:
        """Return standard INQUIRY data, or a vital product data page with its header."""
        data = self.fetch(commands.INQUIRY, lun, commands.inquiry(_PAGE, page), _PAGE)
        if pages.is_absent(data):
            raise LunMissing(lun=lun, node=self._peer.node, portal=self._peer.portal)
        return data

    def page(self, lun: int, code: int) -> bytes:
        """Return the body of a vital product data page."""
        return pages.page(self.inquire(lun, code), code)

    def fetch(self, operation: str, lun: int, cdb: bytes, most: int) -> bytes:
        """Return what a command gives, ``most`` bytes at most."""
        data = bytearray(most)
        answer = self.ask(operation, lun, cdb, lib.SCSI_XFER_READ, ffi.from_buffer("unsigned char[]", data))
        got = most if answer.overflow else most - answer.residual
        self.check(operation, lun, answer.without_residual())
        return bytes(data[:got])

    def read(self, lun: int, offset: int, length: int) -> bytes:
        """Read a range of any length, one command after the other."""
        parts = []
        for at, size in self._pieces(lun, offset, length):
            part = bytearray(size)
            cdb = commands.read_16(*self._disks[lun].blocks(at, size))
            self.execute(commands.READ, lun, cdb, lib.SCSI_XFER_READ, ffi.from_buffer("unsigned char[]", part))
            parts.append(part)
        return b"".join(parts)

    def write(self, lun: int, offset: int, data: memoryview) -> None:
        """Write a range of any length, one command after the other."""
        for at, size in self._pieces(lun, offset, len(data)):
            # A copy, since CPython crashes when its garbage collector meets a memoryview that cffi has exported.
            part = ffi.from_buffer("unsigned char[]", bytes(data[at - offset : at - offset + size]))
            cdb = commands.write_16(*self._disks[lun].blocks(at, size))
            self.execute(commands.WRITE, lun, cdb, lib.SCSI_XFER_WRITE, part)

    def _pieces(self, lun: int, offset: int, length: int) -> Iterator[tuple[int, int]]:
        disk = self.disk(lun)
        disk.blocks(offset, length)
        return disk.split(offset, length, min(_CHUNK, disk.most_transfer))

    def execute(self, operation: str, lun: int, cdb: bytes, direction: int, data: FFI.CData | None) -> None:
        """Have a command executed wholly."""
        self.check(operation, lun, self.ask(operation, lun, cdb, direction, data))

    def check(self, operation: str, lun: int, answer: Answer) -> None:
        """Raise what is wrong with an answer."""
        error = command_error(self._peer, operation, lun, answer)
        if error is not None:
            raise error

    def ask(self, operation: str, lun: int, cdb: bytes, direction: int, data: FFI.CData | None) -> Answer:
        """Return the answer to a command, sent again while the target is busy, or has news that may be passed over."""
        timeout = self._flush_timeout if operation == commands.SYNCHRONIZE_CACHE else self._command_timeout
        # What refuses a reservation is the verdict itself, and passes no sooner than anything else.
        delays = iter(() if operation == commands.RESERVE_OUT else _BUSY_DELAYS)
        for _ in range(MOST_TRIES):
            answer = self._exchange.call(lun, cdb, direction, data, timeout)
            if answer.is_busy and (delay := next(delays, None)) is not None:
                self._exchange.wait(delay)
            elif not self._may_pass_over(operation, lun, answer):
                return answer
        return self._exchange.call(lun, cdb, direction, data, timeout)

    def _may_pass_over(self, operation: str, lun: int, answer: Answer) -> bool:
        if lun not in self._disks:
            return answer.is_unit_attention
        if answer.is_news:
            self.verify(operation, lun)
        return answer.is_news

    def reset(self, lun: int) -> None:
        """Have the LUN reset, and meet it anew: the unit attention of the reset is no error."""
        response = self._exchange.reset(lun, self._flush_timeout)
        self._disks.pop(lun, None)
        if response != 0:
            why = f"it was not answered within {self._flush_timeout:g} s" if response is None else _response(response)
            node, portal = self._peer.node, self._peer.portal
            raise CommandFailed(operation=commands.RESET, lun=lun, node=node, portal=portal, sense=why)

    def verify(self, operation: str, lun: int) -> None:
        """Raise LunReplaced if the LUN is not the disk any more that the session met."""
        self.disk(lun)
        if error := self.replaced(operation, lun):
            raise error

    def replaced(self, operation: str, lun: int) -> LunReplaced | None:
        """Return the error for a LUN that is not the disk any more that the session met; None if it is."""
        if self._identity(lun) == self._disks[lun].identity:
            return None
        return LunReplaced(operation=operation, lun=lun, node=self._peer.node, portal=self._peer.portal)

    def _identity(self, lun: int) -> bytes:
        return self._optional_page(lun, 0x80) + self._optional_page(lun, 0x83)

    def _optional_page(self, lun: int, code: int) -> bytes:
        try:
            return self.page(lun, code)
        except CommandFailed as error:
            if error.sense_key != sense.ILLEGAL_REQUEST:
                raise
            return b""
