"""A session with an iSCSI node: whole calls for simple needs, submit and poll for speed."""

import itertools
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from _cffi_backend import FFI

from qreplica.iscsi.errors import CommandFailed, LunMissing
from qreplica.iscsi.initiator import commands, pages, sense
from qreplica.iscsi.initiator._libiscsi import ffi, lib
from qreplica.iscsi.initiator.buffers import Buffer
from qreplica.iscsi.initiator.connection import Connection
from qreplica.iscsi.initiator.disk import Disk
from qreplica.iscsi.initiator.failures import Answer, command_error
from qreplica.iscsi.initiator.model import (
    BlockLimits,
    Capacity,
    Chap,
    Completion,
    Designator,
    Inquiry,
    KeepAlive,
    Portal,
    Provisioning,
)
from qreplica.units import KIB

_OWN_TAGS = 1 << 63  # tags of whole calls; those of callers are below
_CHUNK = 256 * KIB  # goes in one PDU to a tuned tgtd
_MOST_ATTENTIONS = 10
_BUSY_DELAYS = (0.05, 0.1, 0.2, 0.4, 0.8)
_TURN = 1.0
_PAGE = 252  # an allocation length that old targets take too
_LUN_LIST = 8 + 8 * 16384


class Session:
    """Made by ``connect``, ended by ``logout`` or by leaving its ``with`` block. Use by one thread at a time.

    Offsets and lengths are bytes and must be whole blocks of the LUN. A session that has ended stays so, and every
    call then raises SessionLost. The keep-alive works only while a call waits: between calls nothing is watched.

    Whatever unit attention (SAM-5, 5.14) a LUN has when the session first meets it is passed over. A later one is an
    error, since it can mean that the target was reset and has lost what was not yet flushed.
    """

    def __init__(self, connection: Connection, command_timeout: float, flush_timeout: float) -> None:
        self._link = connection
        self._command_timeout = command_timeout
        self._flush_timeout = flush_timeout
        self._disks: dict[int, Disk] = {}
        self._held: dict[int, tuple[str, int, object]] = {}
        self._ready: list[Completion] = []
        self._answers: dict[int, Answer | None] = {}
        self._own_tags = itertools.count(_OWN_TAGS)

    @classmethod
    def connect(
        cls,
        portal: Portal,
        iqn: str,
        initiator_name: str,
        *,
        chap: Chap | None = None,
        mutual: Chap | None = None,
        interface: str | None = None,
        header_digest: bool = True,
        timeout: float = 10.0,
        keep_alive: KeepAlive | None = None,
        command_timeout: float = 60.0,
        flush_timeout: float = 600.0,
    ) -> Self:
        """Log in to a node within ``timeout`` seconds; no LUN is touched.

        ``chap`` is what we prove, ``mutual`` what the node must prove. ``interface`` binds the session to a network
        port. Header digests are used if the node can. A command that is ``command_timeout`` (a flush:
        ``flush_timeout``) seconds old, and none was answered as long, ends the session.

        Raises PortalUnreachable, NotIscsi, NodeUnknown, InitiatorNotAdmitted, ChapRefused, TargetUnproven,
        LoginRefused, InterfaceUnusable, ChapInvalid, IscsiNameInvalid.
        """
        connection = Connection(
            portal,
            iqn,
            initiator_name,
            chap=chap,
            mutual=mutual,
            interface=interface,
            header_digest=header_digest,
            timeout=timeout,
            keep_alive=keep_alive or KeepAlive(),
        )
        return cls(connection, command_timeout, flush_timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.logout()

    def __repr__(self) -> str:
        return f"<Session with {self._link.peer.node} at {self._link.peer.portal}>"

    def logout(self) -> None:
        """End the session, giving up commands in flight; again is harmless. Afterwards buffers are free."""
        self._link.close()
        self._held.clear()

    @property
    def header_digest(self) -> bool:
        """Whether headers carry a CRC32C (RFC 7143, 13.1)."""
        return self._link.header_digest

    # Whole calls: each waits for its answer. What submitted commands complete meanwhile waits for ``poll``.

    def ping(self) -> None:
        """Return when the target has answered a NOP-Out (RFC 7143, 11.18). Raises SessionLost."""
        ping = self._link.ping()
        while not self._link.has_answered(ping):
            self._gather(_TURN)

    def inquiry(self, lun: int) -> Inquiry:
        """Return who made the LUN. Raises LunMissing, CommandFailed, SessionLost, as all calls about LUNs do."""
        return pages.inquiry(self._inquire(lun))

    def serial(self, lun: int) -> str:
        """Return the unit serial number."""
        return pages.serial(self._page(lun, 0x80))

    def identification(self, lun: int) -> list[Designator]:
        """Return the designators of the LUN, its port and its device."""
        return pages.designators(self._page(lun, 0x83))

    def block_limits(self, lun: int) -> BlockLimits:
        """Return the most that one command may do."""
        return pages.block_limits(self._page(lun, 0xB0))

    def provisioning(self, lun: int) -> Provisioning:
        """Return how the LUN gives space back."""
        return pages.provisioning(self._page(lun, 0xB2))

    def report_luns(self) -> list[int]:
        """Return the node's LUNs, ascending; tgtd always has its own controller as LUN 0."""
        return pages.luns(self._fetch(commands.REPORT_LUNS, 0, commands.report_luns(_LUN_LIST), _LUN_LIST))

    def capacity(self, lun: int) -> Capacity:
        """Ask for the LUN's size and limits, also anew after they may have changed."""
        data = self._fetch(commands.READ_CAPACITY, lun, commands.read_capacity_16(32), 32)
        capacity = pages.capacity(data)
        self._disks[lun] = Disk.of(lun, capacity, self._limits(lun))
        return capacity

    def read(self, lun: int, offset: int, length: int) -> bytes:
        """Return a range of bytes. Raises Misaligned and OutOfRange too, as do all calls about ranges."""
        self._disk(lun).blocks(offset, length)
        data = bytearray(length)
        self._move(commands.READ, lib.SCSI_XFER_READ, lun, offset, ffi.from_buffer("unsigned char[]", data))
        return bytes(data)

    def write(self, lun: int, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write ``data``; durable only after ``flush``."""
        self._move(commands.WRITE, lib.SCSI_XFER_WRITE, lun, offset, ffi.from_buffer("unsigned char[]", data))

    def write_zeros(self, lun: int, offset: int, length: int) -> None:
        """Make a range read as zeros and give its space back if the LUN is thin; durable after ``flush``."""
        disk = self._disk(lun)
        disk.blocks(offset, length)
        for at, size in disk.split(offset, length, disk.most_zeros):
            self._execute(commands.WRITE_SAME, lun, _zeros(disk, at, size), lib.SCSI_XFER_WRITE, disk.zero_block)

    def unmap(self, lun: int, ranges: Sequence[tuple[int, int]]) -> None:
        """Tell the LUN that the (offset, length) ranges are not needed: advice, which may change nothing."""
        disk = self._disk(lun)
        for offset, length in ranges:
            disk.blocks(offset, length)
        pieces = [disk.blocks(*piece) for whole in ranges for piece in disk.split(*whole, disk.most_unmap)]
        for first in range(0, len(pieces), disk.most_ranges):
            parameters = commands.unmap_list(pieces[first : first + disk.most_ranges])
            data = ffi.from_buffer("unsigned char[]", parameters)
            answer = self._answer_to(commands.UNMAP, lun, commands.unmap(len(parameters)), lib.SCSI_XFER_WRITE, data)
            # tgtd executes it and reports that it took none of the parameters.
            self._check(commands.UNMAP, lun, answer.without_residual())

    def flush(self, lun: int) -> None:
        """Return once everything that the target had acknowledged before is on stable storage."""
        self._disk(lun)
        self._execute(commands.SYNCHRONIZE_CACHE, lun, commands.synchronize_cache_16(), lib.SCSI_XFER_NONE, None)

    # Submitted commands: each gets exactly one completion, in any order, unless the session is logged out first.

    @property
    def in_flight(self) -> int:
        """How many submitted commands have not been returned by ``poll``."""
        return len(self._held)

    def submit_write(  # noqa: PLR0917 - what a SCSI command consists of
        self, tag: int, lun: int, offset: int, buffer: Buffer, length: int, start: int = 0
    ) -> None:
        """Queue a WRITE(16) of ``length`` bytes that begin at ``start`` of ``buffer``.

        ``tag`` (below 2**63) names it in its completion and must not be in flight; until then the buffer must not be
        touched. Raises QueueFull, Misaligned, OutOfRange, TransferTooLong, SessionLost; nothing is queued then.
        """
        self._submit(commands.WRITE, lib.SCSI_XFER_WRITE, tag, lun, offset, buffer, length, start)

    def submit_read(  # noqa: PLR0917 - what a SCSI command consists of
        self, tag: int, lun: int, offset: int, buffer: Buffer, length: int, start: int = 0
    ) -> None:
        """Queue a READ(16) into ``buffer``; otherwise as ``submit_write``."""
        self._submit(commands.READ, lib.SCSI_XFER_READ, tag, lun, offset, buffer, length, start)

    def submit_zeros(self, tag: int, lun: int, offset: int, length: int) -> None:
        """Queue a ``write_zeros`` of at most ``most_zeros`` bytes; otherwise as ``submit_write``."""
        disk = self._disk(lun)
        disk.one_command(commands.WRITE_SAME, offset, length, disk.most_zeros)
        self._claim(tag)
        cdb, block = _zeros(disk, offset, length), disk.zero_block
        self._link.command(tag, lun, cdb, lib.SCSI_XFER_WRITE, block, len(block), self._command_timeout)
        self._held[tag] = (commands.WRITE_SAME, lun, block)

    def submit_flush(self, tag: int, lun: int) -> None:
        """Queue a ``flush``. It covers what was completed before, not what is in flight."""
        self._disk(lun)
        self._claim(tag)
        cdb = commands.synchronize_cache_16()
        self._link.command(tag, lun, cdb, lib.SCSI_XFER_NONE, ffi.NULL, 0, self._flush_timeout)
        self._held[tag] = (commands.SYNCHRONIZE_CACHE, lun, None)

    def most_zeros(self, lun: int) -> int:
        """Return the most bytes that one ``submit_zeros`` may cover: the LUN's limit, 1 GiB at most."""
        return self._disk(lun).most_zeros

    def poll(self, timeout: float) -> list[Completion]:
        """Return completions as soon as there are any, an empty list after ``timeout`` seconds.

        When the session ends, each command in flight gets a completion with SessionLost; then it is raised.
        """
        deadline = time.monotonic() + timeout
        while not self._ready:
            self._gather(deadline - time.monotonic())
            if time.monotonic() >= deadline:
                break
        ready, self._ready = self._ready, []
        for completion in ready:
            del self._held[completion.tag]
        return ready

    def _gather(self, timeout: float) -> None:
        for tag, answer in self._link.collect(timeout):
            if tag >= _OWN_TAGS:
                self._answers[tag] = answer
            elif answer is not None and answer.is_good:
                self._ready.append(Completion(tag, None))
            else:
                operation, lun, _buffer = self._held[tag]
                error = self._link.lost() if answer is None else command_error(self._link.peer, operation, lun, answer)
                self._ready.append(Completion(tag, error))

    def _claim(self, tag: int) -> None:
        if not 0 <= tag < _OWN_TAGS or tag in self._held:
            raise ValueError(f"tag {tag} is in flight already, or not within 0 to 2**63-1")

    def _submit(  # noqa: PLR0917 - what a SCSI command consists of
        self,
        operation: str,
        direction: int,
        tag: int,
        lun: int,
        offset: int,
        buffer: Buffer,
        length: int,
        start: int,
    ) -> None:
        disk = self._disk(lun)
        lba, blocks = disk.one_command(operation, offset, length, disk.most_transfer)
        if start < 0 or length <= 0 or start + length > buffer.size:
            raise ValueError(f"{length} bytes from {start} are not within a buffer of {buffer.size}")
        self._claim(tag)
        data = buffer.data + start
        self._link.transfer(tag, lun, direction, lba, blocks, data, length, self._command_timeout)
        self._held[tag] = (operation, lun, buffer)

    def _disk(self, lun: int) -> Disk:
        if lun not in self._disks:
            self.capacity(lun)
        return self._disks[lun]

    def _limits(self, lun: int) -> BlockLimits:
        try:
            return self.block_limits(lun)
        except CommandFailed as error:
            if error.sense_key != sense.ILLEGAL_REQUEST:
                raise
            return BlockLimits()  # the page is optional

    def _page(self, lun: int, code: int) -> bytes:
        return pages.page(self._inquire(lun, code), code)

    def _inquire(self, lun: int, page: int | None = None) -> bytes:
        data = self._fetch(commands.INQUIRY, lun, commands.inquiry(_PAGE, page), _PAGE)
        if pages.is_absent(data):
            raise LunMissing(lun=lun, node=self._link.peer.node, portal=self._link.peer.portal)
        return data

    def _fetch(self, operation: str, lun: int, cdb: bytes, most: int) -> bytes:
        data = bytearray(most)
        answer = self._answer_to(operation, lun, cdb, lib.SCSI_XFER_READ, ffi.from_buffer("unsigned char[]", data))
        got = most if answer.overflow else most - answer.residual
        self._check(operation, lun, answer.without_residual())
        return bytes(data[:got])

    def _move(self, operation: str, direction: int, lun: int, offset: int, data: FFI.CData) -> None:
        disk = self._disk(lun)
        disk.blocks(offset, len(data))
        for at, size in disk.split(offset, len(data), min(_CHUNK, disk.most_transfer)):
            lba, blocks = disk.blocks(at, size)
            make = commands.read_16 if direction == lib.SCSI_XFER_READ else commands.write_16
            piece = data[at - offset : at - offset + size]
            self._execute(operation, lun, make(lba, blocks), direction, piece)

    def _execute(self, operation: str, lun: int, cdb: bytes, direction: int, data: FFI.CData | None) -> None:
        self._check(operation, lun, self._answer_to(operation, lun, cdb, direction, data))

    def _check(self, operation: str, lun: int, answer: Answer) -> None:
        error = command_error(self._link.peer, operation, lun, answer)
        if error is not None:
            raise error

    def _answer_to(self, operation: str, lun: int, cdb: bytes, direction: int, data: FFI.CData | None) -> Answer:
        """Return the answer to a command, sent again while the target is busy or has news of a LUN not yet met."""
        delays = iter(_BUSY_DELAYS)
        attentions = 0
        while True:
            answer = self._answer_once(operation, lun, cdb, direction, data)
            if answer.is_unit_attention and lun not in self._disks and attentions < _MOST_ATTENTIONS:
                attentions += 1
            elif answer.is_busy and (delay := next(delays, None)) is not None:
                self._gather_for(delay)
            else:
                return answer

    def _answer_once(self, operation: str, lun: int, cdb: bytes, direction: int, data: FFI.CData | None) -> Answer:
        tag = next(self._own_tags)
        timeout = self._flush_timeout if operation == commands.SYNCHRONIZE_CACHE else self._command_timeout
        while not self._link.has_room:
            self._gather(_TURN)
        length = 0 if data is None else len(data)
        self._link.command(tag, lun, cdb, direction, ffi.NULL if data is None else data, length, timeout)
        while tag not in self._answers:
            self._gather(_TURN)
        answer = self._answers.pop(tag)
        if answer is None:
            raise self._link.lost()
        return answer

    def _gather_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._gather(left)


def _zeros(disk: Disk, offset: int, length: int) -> bytes:
    lba, blocks = disk.blocks(offset, length)
    return commands.write_same_16(lba, blocks, unmap=disk.capacity.thin)
