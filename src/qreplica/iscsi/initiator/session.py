"""A session with an iSCSI node: whole calls for simple needs, submit and poll for speed."""

import time
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Self

from qreplica.iscsi.initiator import commands, pages
from qreplica.iscsi.initiator._libiscsi import ffi, lib
from qreplica.iscsi.initiator.buffers import Buffer
from qreplica.iscsi.initiator.calls import Caller
from qreplica.iscsi.initiator.connection import Connection
from qreplica.iscsi.initiator.disk import Disk
from qreplica.iscsi.initiator.exchange import Exchange
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
from qreplica.iscsi.initiator.reservations import Reservations

_LUN_LIST = 8 + 8 * 16384


class Session:
    """Made by ``connect``, ended by ``logout`` or by leaving its ``with`` block. Use by one thread at a time.

    Offsets and lengths are bytes and must be whole blocks of the LUN. A session that has ended stays so, and every
    call then raises SessionLost. The keep-alive works only while a call waits: between calls nothing is watched.

    Whatever unit attention (SAM-5, 5.14) a LUN has when the session first meets it is passed over. Later ones that only
    tell of changes are too, if the LUN is still the same disk; any other is an error, since it can mean that the target
    was reset and has lost what was not yet flushed.
    """

    #: Zeros go as commands of a block, which cost no bandwidth.
    zeros_are_data = False

    def __init__(self, connection: Connection, command_timeout: float, flush_timeout: float) -> None:
        self._link = connection
        self._command_timeout = command_timeout
        self._flush_timeout = flush_timeout
        self._exchange = Exchange(connection)
        self._calls = Caller(self._exchange, connection.peer, command_timeout, flush_timeout)

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
        isid: int | None = None,
    ) -> Self:
        """Log in to a node within ``timeout`` seconds; no LUN is touched.

        ``chap`` is what we prove, ``mutual`` what the node must prove. ``interface`` binds the session to a network
        port. Header digests are used if the node can. A command that is ``command_timeout`` (a flush:
        ``flush_timeout``) seconds old, and none was answered as long, ends the session.

        ``isid`` (40 bits, one of chance unless given) makes it the same initiator port as an earlier session with it:
        the target ends that one, and its commands, before it admits this one (session reinstatement, RFC 7143, 6.3.5).

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
            isid=isid,
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
        self._exchange.forget()

    @property
    def header_digest(self) -> bool:
        """Whether headers carry a CRC32C (RFC 7143, 13.1)."""
        return self._link.header_digest

    # Whole calls: each waits for its answer. What submitted commands complete meanwhile waits for ``poll``.

    def ping(self) -> None:
        """Return when the target has answered a NOP-Out (RFC 7143, 11.18). Raises SessionLost."""
        self._exchange.ping()

    def inquiry(self, lun: int) -> Inquiry:
        """Return who made the LUN. Raises LunMissing, CommandFailed, SessionLost, as all calls about LUNs do."""
        return pages.inquiry(self._calls.inquire(lun))

    def serial(self, lun: int) -> str:
        """Return the unit serial number."""
        return pages.serial(self._calls.page(lun, 0x80))

    def identification(self, lun: int) -> list[Designator]:
        """Return the designators of the LUN, its port and its device."""
        return pages.designators(self._calls.page(lun, 0x83))

    def block_limits(self, lun: int) -> BlockLimits:
        """Return the most that one command may do."""
        return pages.block_limits(self._calls.page(lun, 0xB0))

    def provisioning(self, lun: int) -> Provisioning:
        """Return how the LUN gives space back."""
        return pages.provisioning(self._calls.page(lun, 0xB2))

    def report_luns(self) -> list[int]:
        """Return the node's LUNs, ascending; tgtd always has its own controller as LUN 0."""
        return pages.luns(self._calls.fetch(commands.REPORT_LUNS, 0, commands.report_luns(_LUN_LIST), _LUN_LIST))

    def capacity(self, lun: int) -> Capacity:
        """Ask for the LUN's size and limits, also anew after they may have changed. Raises LunReplaced then too."""
        return self._calls.capacity(lun)

    def is_write_protected(self, lun: int) -> bool:
        """Whether the LUN takes no writes."""
        most = 192
        return pages.is_write_protected(self._calls.fetch(commands.MODE_SENSE, lun, commands.mode_sense_6(most), most))

    def reservations(self, lun: int) -> Reservations:
        """Return the LUN's persistent reservations, to look at and to change."""
        return Reservations(self._calls, lun)

    def reset(self, lun: int) -> None:
        """Have the target end every command of the LUN, whoever sent it, and wait for those that cannot be ended.

        LOGICAL UNIT RESET (SAM-5, 7.7). Commands of this session that are in flight are given up. Raises CommandFailed
        when the target refuses, SessionLost.
        """
        self._calls.reset(lun)

    def read(self, lun: int, offset: int, length: int) -> bytes:
        """Return a range of bytes. Raises Misaligned and OutOfRange too, as do all calls about ranges."""
        return self._calls.read(lun, offset, length)

    def write(self, lun: int, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write ``data``; durable only after ``flush``."""
        self._calls.write(lun, offset, memoryview(data).cast("B"))

    def write_zeros(self, lun: int, offset: int, length: int) -> None:
        """Make a range read as zeros and give its space back if the LUN is thin; durable after ``flush``."""
        disk = self._calls.disk(lun)
        disk.blocks(offset, length)
        for at, size in disk.split(offset, length, disk.most_zeros):
            self._calls.execute(commands.WRITE_SAME, lun, _zeros(disk, at, size), lib.SCSI_XFER_WRITE, disk.zero_block)

    def unmap(self, lun: int, ranges: Sequence[tuple[int, int]]) -> None:
        """Tell the LUN that the (offset, length) ranges are not needed: advice, which may change nothing."""
        disk = self._calls.disk(lun)
        for offset, length in ranges:
            disk.blocks(offset, length)
        pieces = [disk.blocks(*piece) for whole in ranges for piece in disk.split(*whole, disk.most_unmap)]
        for first in range(0, len(pieces), disk.most_ranges):
            parameters = commands.unmap_list(pieces[first : first + disk.most_ranges])
            data = ffi.from_buffer("unsigned char[]", parameters)
            answer = self._calls.ask(commands.UNMAP, lun, commands.unmap(len(parameters)), lib.SCSI_XFER_WRITE, data)
            # tgtd executes it and reports that it took none of the parameters.
            self._calls.check(commands.UNMAP, lun, answer.without_residual())

    def flush(self, lun: int) -> None:
        """Return once everything that the target had acknowledged before is on stable storage of this very disk.

        Raises LunReplaced when the LUN is another disk by then.
        """
        self._calls.disk(lun)
        self._calls.execute(commands.SYNCHRONIZE_CACHE, lun, commands.synchronize_cache_16(), lib.SCSI_XFER_NONE, None)
        self._calls.verify(commands.SYNCHRONIZE_CACHE, lun)

    def verify(self, lun: int) -> None:
        """Raise LunReplaced unless the LUN is the disk that the session first met (serial number and designators).

        Targets do not always tell when another disk is put under a LUN that is in use: tgtd does not.
        """
        self._calls.verify(commands.INQUIRY, lun)

    # Submitted commands: each gets exactly one completion, in any order, unless the session is logged out first.

    @property
    def in_flight(self) -> int:
        """How many submitted commands have not been returned by ``poll``."""
        return self._exchange.in_flight

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
        disk = self._calls.disk(lun)
        disk.one_command(commands.WRITE_SAME, offset, length, disk.most_zeros)
        cdb, block = _zeros(disk, offset, length), disk.zero_block
        send = partial(self._link.command, tag, lun, cdb, lib.SCSI_XFER_WRITE, block, len(block), self._command_timeout)
        self._exchange.submit(tag, commands.WRITE_SAME, lun, block, send)

    def submit_flush(self, tag: int, lun: int) -> None:
        """Queue a SYNCHRONIZE CACHE, for what was completed before, not what is in flight; ``verify`` afterwards."""
        self._calls.disk(lun)
        cdb = commands.synchronize_cache_16()
        send = partial(self._link.command, tag, lun, cdb, lib.SCSI_XFER_NONE, ffi.NULL, 0, self._flush_timeout)
        self._exchange.submit(tag, commands.SYNCHRONIZE_CACHE, lun, None, send)

    def most_transfer(self, lun: int) -> int:
        """Return the most bytes that one ``submit_write`` may carry: the LUN's limit, 16 MiB at most."""
        return self._calls.disk(lun).most_transfer

    def most_zeros(self, lun: int) -> int:
        """Return the most bytes that one ``submit_zeros`` may cover: the LUN's limit, 1 GiB at most."""
        return self._calls.disk(lun).most_zeros

    def poll(self, timeout: float) -> list[Completion]:
        """Return completions as soon as there are any, an empty list after ``timeout`` seconds.

        When the session ends, each command in flight gets a completion with SessionLost; then it is raised.
        """
        deadline = time.monotonic() + timeout
        while True:
            ready = self._exchange.take(deadline - time.monotonic())
            self._exchange.settle_aside(self._calls.replaced)
            if ready or time.monotonic() >= deadline:
                return ready

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
        disk = self._calls.disk(lun)
        lba, blocks = disk.one_command(operation, offset, length, disk.most_transfer)
        if start < 0 or length <= 0 or start + length > buffer.size:
            raise ValueError(f"{length} bytes from {start} are not within a buffer of {buffer.size}")
        data = buffer.data + start
        send = partial(self._link.transfer, tag, lun, direction, lba, blocks, data, length, self._command_timeout)
        self._exchange.submit(tag, operation, lun, buffer, send)


def _zeros(disk: Disk, offset: int, length: int) -> bytes:
    lba, blocks = disk.blocks(offset, length)
    return commands.write_same_16(lba, blocks, unmap=disk.capacity.thin)
