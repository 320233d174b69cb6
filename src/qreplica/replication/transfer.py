"""The pump: sends a plan's extents to a LUN, with many commands in flight and without ever losing its place.

A flush covers only what the target had acknowledged when the flush was sent (SBC-3, 5.27). Extents go in ascending
order, so one offset tells what is durable: at the moment a flush is sent, nothing below the lowest offset still in
flight is missing. When that flush succeeds, that offset is the checkpoint. Writing goes on meanwhile.

Where the plan is compared with what the target holds, window by window, what is the same counts as if the target had
acknowledged it: it is durable after the next flush, and not before.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from qreplica.iscsi.initiator import Buffer, Completion
from qreplica.replication.pieces import covered, cut
from qreplica.replication.reading import ReadAhead, read_into
from qreplica.replication.sifting import Window
from qreplica.replication.throttle import Throttle
from qreplica.storage.driver import Extent
from qreplica.units import KIB, MIB

_FLUSH = 1 << 62  # the flush's tag; a write's tag is its offset
_PATIENCE = 0.25  # seconds between looks at the stop event while the target is silent
_GLANCE, _AT_ONCE = 0.02, 0.001  # seconds of waiting for one thing while another may come


class Stop(Protocol):
    """What ``threading.Event`` tells."""

    def is_set(self) -> bool:
        """Whether to stop."""


class Lun(Protocol):
    """What the pump needs of ``iscsi.initiator.Session``, which says what the calls promise."""

    @property
    def zeros_are_data(self) -> bool:
        """Whether zeros go over the wire as bytes, so that they count and are throttled as data are."""

    def submit_write(  # noqa: PLR0917 - Session's signature
        self, tag: int, lun: int, offset: int, buffer: Buffer, length: int, start: int = 0
    ) -> None:
        """Queue a write."""

    def submit_zeros(self, tag: int, lun: int, offset: int, length: int) -> None:
        """Queue zeros."""

    def submit_flush(self, tag: int, lun: int) -> None:
        """Queue a flush."""

    def poll(self, timeout: float) -> list[Completion]:
        """Return what has completed."""

    def most_transfer(self, lun: int) -> int:
        """Return the most bytes of one ``submit_write``."""

    def most_zeros(self, lun: int) -> int:
        """Return the most bytes of one ``submit_zeros``."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the pump works: bytes of one write, commands in flight, and when to make a checkpoint.

    That is after so many bytes or so many seconds, but not within ``checkpoint_pause`` seconds of the last one: what a
    fast path sends in that time is sent again as fast.
    ``read_ahead`` is how many bytes of the data that comes next the kernel is told to read, 0 for none.
    """

    chunk: int = 256 * KIB
    depth: int = 32
    checkpoint_bytes: int = 256 * MIB
    checkpoint_seconds: float = 5.0
    checkpoint_pause: float = 1.0
    progress_seconds: float = 1.0
    read_ahead: int = 8 * MIB


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is, in bytes.

    ``done`` counts the plan's bytes that the target has acknowledged or was found to hold (before the start too),
    ``sent`` what this transfer has put on the wire as data, ``compared`` what it compared by digests, ``checkpoint`` is
    the offset below which all is durable.
    """

    done: int
    sent: int
    checkpoint: int
    compared: int = 0


class Compared(Protocol):
    """What the pump needs of ``comparison.Comparison``, which says what the call promises."""

    def window(self, patience: float) -> Window | None:
        """Return the next window, None when it is not known yet."""


class Transfer:
    """One run of the pump over one session. ``run`` it once, then ``seal`` it, in one thread.

    ``source`` is a file descriptor of the snapshot. ``start`` is the checkpoint to go on from. ``on_checkpoint`` must
    have persisted the offset when it returns; ``on_progress`` is called about once a second, also while ``throttle``,
    which may get another limit meanwhile, makes it wait. What is read as zeros is not counted as sent. With a
    ``comparison``, which begins at ``start`` too, only what that finds different is sent.
    """

    def __init__(
        self,
        session: Lun,
        lun: int,
        source: int,
        extents: Sequence[Extent],
        *,
        start: int = 0,
        end: int,
        stop: Stop,
        on_checkpoint: Callable[[Progress], None],
        on_progress: Callable[[Progress], None],
        throttle: Throttle | None = None,
        comparison: Compared | None = None,
        settings: Settings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._lun = lun
        self._source = source
        self._extents = extents
        self._start = start
        self._end = end
        self._stop = stop
        self._on_checkpoint = on_checkpoint
        self._on_progress = on_progress
        settings = settings or Settings()
        self._settings = replace(settings, chunk=min(settings.chunk, session.most_transfer(lun)))
        self._clock = clock
        self._throttle = throttle or Throttle(None, clock)
        self._comparison = comparison
        self._buffers = [Buffer(self._settings.chunk) for _ in range(self._settings.depth)]
        self._in_flight: dict[int, tuple[int, Buffer | None]] = {}
        self._next = start
        self._done = covered(extents, start)
        self._sent = self._compared = 0
        self._checkpoint = start
        self._unflushed = 0
        self._flushing: int | None = None
        self._flushed_at = self._told_at = clock()

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return Progress(self._done, self._sent, self._checkpoint, self._compared)

    def run(self) -> bool:
        """Send everything; return False when the stop event ended it before.

        On True all is acknowledged and ``seal`` makes it durable. On False what was acknowledged is durable, and its
        checkpoint persisted. Raises SourceUnreadable, SessionLost, CommandFailed, and what the callbacks raise; the
        last checkpoint persisted then still holds, and the session must be logged out.
        """
        finished = self._pump(self._extents) if self._comparison is None else self._pump_windows(self._comparison)
        self._drain()
        if finished:
            self._next = self._end
        else:
            self.seal()
        self._on_progress(self.progress)
        return finished

    def seal(self) -> None:
        """Make all that was acknowledged durable and persist that as the checkpoint. Raises as ``run`` does."""
        if self._checkpoint < self._next:
            self._flush()
            self._drain()

    def _pump_windows(self, comparison: Compared) -> bool:
        """Submit what differs, as it becomes known; return False when told to stop before."""
        while self._next < self._end:
            is_busy = bool(self._in_flight) or self._flushing is not None
            window = comparison.window(0 if is_busy else _PATIENCE)
            if self._stop.is_set():
                return False
            if window is None:
                self._collect(_GLANCE if is_busy else _AT_ONCE)
            elif not self._pump(window.different):
                return False
            else:
                self._next = window.end
                self._done += window.same
                self._unflushed += window.same
                self._compared += window.compared
                self._look_at_clock()
        return True

    def _pump(self, extents: Sequence[Extent]) -> bool:
        """Keep the pipe full until all is submitted; return False when told to stop before."""
        session, lun, source = self._session, self._lun, self._source
        in_flight, buffers, depth = self._in_flight, self._buffers, self._settings.depth
        write, zeros = session.submit_write, self._submit_zeros
        stopped, collect = self._stop.is_set, self._collect
        chunk, throttle, zeros_are_free = self._settings.chunk, self._throttle, not session.zeros_are_data
        ahead = ReadAhead(source, extents, self._start, self._settings.read_ahead)
        for offset, length, zero in cut(extents, self._start, chunk, session.most_zeros(lun)):
            if offset >= ahead.next:
                ahead.go_on(offset)
            while len(in_flight) >= depth:
                collect(_PATIENCE)
            while not (zero and zeros_are_free) and (pause := throttle.pause()) and not stopped():
                collect(min(pause, _PATIENCE))
            if stopped():
                return False
            if zero:
                zeros(offset, length)
            else:
                buffer = buffers.pop()
                view = buffer.view
                read_into(source, view if length == chunk else view[:length], offset)
                if buffer.is_zero(0, length):
                    buffers.append(buffer)
                    zeros(offset, length)
                else:
                    write(offset, lun, offset, buffer, length)
                    in_flight[offset] = (length, buffer)
                    throttle.sent(length)
                    self._sent += length
            self._next = offset + length
        return True

    def _submit_zeros(self, offset: int, length: int) -> None:
        self._session.submit_zeros(offset, self._lun, offset, length)
        self._in_flight[offset] = (length, None)
        if self._session.zeros_are_data:
            self._throttle.sent(length)
            self._sent += length

    def _drain(self) -> None:
        while self._in_flight or self._flushing is not None:
            self._collect(_PATIENCE)

    def _collect(self, timeout: float) -> None:
        """Take in what has completed, waiting for it at most ``timeout`` seconds."""
        in_flight, buffers = self._in_flight, self._buffers
        for tag, error in self._session.poll(timeout):
            if error is not None:
                raise error
            if tag == _FLUSH:
                self._flushed()
                continue
            length, buffer = in_flight.pop(tag)
            self._done += length
            self._unflushed += length
            if buffer is not None:
                buffers.append(buffer)
        self._look_at_clock()

    def _look_at_clock(self) -> None:
        now = self._clock()
        if now - self._told_at >= self._settings.progress_seconds:
            self._told_at = now
            self._on_progress(self.progress)
        if self._flushing is not None or not self._unflushed:
            return
        since = now - self._flushed_at
        enough = self._unflushed >= self._settings.checkpoint_bytes and since >= self._settings.checkpoint_pause
        if enough or since >= self._settings.checkpoint_seconds:
            self._flush()

    def _flush(self) -> None:
        """Send a flush; note below which offset everything is acknowledged at this moment."""
        self._flushing = min(self._in_flight, default=self._next)
        self._unflushed = 0
        self._session.submit_flush(_FLUSH, self._lun)

    def _flushed(self) -> None:
        mark, self._flushing = self._flushing, None
        self._flushed_at = self._clock()
        if mark is not None and mark > self._checkpoint:
            # What was read once is not read again: leave the page cache to the hosts.
            os.posix_fadvise(self._source, self._checkpoint, mark - self._checkpoint, os.POSIX_FADV_DONTNEED)
            self._checkpoint = mark
            self._on_checkpoint(self.progress)
