"""Commands in flight on a connection, those of callers and our own, each kept with its memory until it is answered."""

import itertools
import time
from collections.abc import Callable
from typing import NamedTuple

from _cffi_backend import FFI

from qreplica.errors import QReplicaError
from qreplica.iscsi.initiator._libiscsi import ffi
from qreplica.iscsi.initiator.connection import Connection
from qreplica.iscsi.initiator.failures import Answer, command_error
from qreplica.iscsi.initiator.model import Completion

_OWN_TAGS = 1 << 63  # tags of whole calls; those of callers are below
_TURN = 1.0

#: How often a command is sent to a target that always has something else to say.
MOST_TRIES = 20


class _Held(NamedTuple):
    """A command in flight. ``memory`` lives as long as it; ``send`` sends it again."""

    operation: str
    lun: int
    memory: object
    send: Callable[[], None]


class Exchange:
    """Matches answers to commands. A submitted command that the target had news for is set aside, not completed."""

    def __init__(self, link: Connection) -> None:
        self._link = link
        self._held: dict[int, _Held] = {}
        self._own: dict[int, object] = {}
        self._answers: dict[int, Answer | None] = {}
        self._ready: list[Completion] = []
        self._aside: list[int] = []
        self._repeats: dict[int, int] = {}
        self._own_tags = itertools.count(_OWN_TAGS)

    @property
    def in_flight(self) -> int:
        """How many submitted commands have not been returned by ``take``."""
        return len(self._held)

    def forget(self) -> None:
        """Drop everything; only once the connection is closed, since memory is let go."""
        self._held.clear()
        self._own.clear()

    def submit(self, tag: int, operation: str, lun: int, memory: object, send: Callable[[], None]) -> None:
        """Send a caller's command, whose completion ``take`` will return. Raises what ``send`` does."""
        if not 0 <= tag < _OWN_TAGS or tag in self._held:
            raise ValueError(f"tag {tag} is in flight already, or not within 0 to 2**63-1")
        self._held[tag] = _Held(operation, lun, memory, send)
        try:
            send()
        except BaseException:
            del self._held[tag]
            raise

    def call(self, lun: int, cdb: bytes, direction: int, data: FFI.CData | None, timeout: float) -> Answer:
        """Send a command of our own and return its answer. ``data`` must own its memory. Raises SessionLost."""
        while not self._link.has_room:
            self._gather(_TURN)
        tag = next(self._own_tags)
        self._own[tag] = data  # the target may still fill it after an exception has left this call
        self._link.command(tag, lun, cdb, direction, ffi.NULL if data is None else data, len(data or b""), timeout)
        while tag not in self._answers:
            self._gather(_TURN)
        answer = self._answers.pop(tag)
        if answer is None:
            raise self._link.lost()
        return answer

    def wait(self, seconds: float) -> None:
        """Serve the connection for so long; whatever completes stays for ``take``."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._gather(left)

    def ping(self) -> None:
        """Return when the target has answered a NOP-Out. Raises SessionLost."""
        ping = self._link.ping()
        while not self._link.has_answered(ping):
            self._gather(_TURN)

    def reset(self, lun: int, timeout: float) -> int | None:
        """Have a LUN reset; return the target's response, None when there is none within ``timeout`` s.

        Raises SessionLost.
        """
        deadline = time.monotonic() + timeout
        reset = self._link.reset(lun)
        while (response := self._link.reset_response(reset)) is None and time.monotonic() < deadline:
            self._gather(_TURN)
        return response

    def take(self, timeout: float) -> list[Completion]:
        """Return completions as soon as there are any, or something was set aside; else after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while not self._ready and not self._aside:
            self._gather(deadline - time.monotonic())
            if time.monotonic() >= deadline:
                break
        ready, self._ready = self._ready, []
        for completion in ready:
            del self._held[completion.tag]
            self._repeats.pop(completion.tag, None)
        return ready

    def settle_aside(self, verdict: Callable[[str, int], QReplicaError | None]) -> None:
        """Send again what was set aside, or complete it with the error that ``verdict`` has for its operation and LUN.

        An error that ``verdict`` or the sending raises completes it too: every command gets its completion.
        """
        aside, self._aside = self._aside, []
        for tag in aside:
            held = self._held[tag]
            self._repeats[tag] = self._repeats.get(tag, 0) + 1
            try:
                error = verdict(held.operation, held.lun)
                if error is None:
                    held.send()
            except QReplicaError as failure:
                error = failure
            if error is not None:
                self._ready.append(Completion(tag, error))

    def _gather(self, timeout: float) -> None:
        for tag, answer in self._link.collect(timeout):
            if tag >= _OWN_TAGS:
                self._answers[tag] = answer
                del self._own[tag]
            elif answer is None:
                self._ready.append(Completion(tag, self._link.lost()))
            elif answer.is_good:
                self._ready.append(Completion(tag, None))
            elif answer.is_news and self._repeats.get(tag, 0) < MOST_TRIES:
                self._aside.append(tag)
            else:
                operation, lun, _memory, _send = self._held[tag]
                self._ready.append(Completion(tag, command_error(self._link.peer, operation, lun, answer)))
