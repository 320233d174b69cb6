"""A host that keeps commands in flight, and flushes now and then while others are under way."""

import random
import threading

from qreplica.drill.pattern import block_of
from qreplica.iscsi.initiator import Buffer, Session
from qreplica.storage.driver import BLOCK

from .pattern import Ledger

_LUN = 1
_SLOT = 16  # blocks; one command at a time is under way in each
_DEPTH = 12
_FLUSH = 1 << 60
_FLUSH_EVERY = 40  # commands
_ZEROS = 0.15


class Writer:
    """Writes blocks of the pattern, and zeros, at random places of a LUN; the ledger tells what became of them."""

    def __init__(self, session: Session, ledger: Ledger, chance: random.Random) -> None:
        self._session = session
        self._ledger = ledger
        self._chance = chance
        self._spare = [Buffer(_SLOT * BLOCK) for _ in range(_DEPTH)]
        self._busy: dict[int, tuple[range, int, Buffer]] = {}
        self._since_flush = 0
        self._flushing: list[int] | None = None

    def run(self, stop: threading.Event) -> None:
        """Go on until told to stop."""
        while not stop.is_set():
            self._fill()
            self._collect()
        self._finish()

    def write(self, commands: int) -> None:
        """Issue so many commands; all is durable on return."""
        for _ in range(commands):
            while not self._spare:
                self._collect()
            self._submit()
        self._finish()

    def _fill(self) -> None:
        while self._spare:
            self._submit()
        if self._since_flush >= _FLUSH_EVERY and self._flushing is None:
            self._flush()

    def _submit(self) -> None:
        chance, ledger = self._chance, self._ledger
        slot = chance.choice([slot for slot in range(ledger.blocks // _SLOT) if slot not in self._busy])
        first = slot * _SLOT + chance.randrange(_SLOT)
        blocks = range(first, chance.randint(first, slot * _SLOT + _SLOT - 1) + 1)
        zeros = chance.random() < _ZEROS
        sequence, buffer = ledger.issue(blocks, zeros=zeros), self._spare.pop()
        self._busy[slot] = (blocks, sequence, buffer)
        self._since_flush += 1
        length = len(blocks) * BLOCK
        if zeros:
            self._session.submit_zeros(slot, _LUN, first * BLOCK, length)
        else:
            buffer.view[:length] = b"".join(block_of(number, sequence) for number in blocks)
            self._session.submit_write(slot, _LUN, first * BLOCK, buffer, length)

    def _flush(self) -> None:
        self._since_flush = 0
        # It covers what was acknowledged before it was sent (SBC-3, 5.27), and nothing else.
        self._flushing = list(self._ledger.acknowledged)
        self._session.submit_flush(_FLUSH, _LUN)

    def _collect(self) -> None:
        for tag, error in self._session.poll(0.2):
            if error is not None:
                raise error
            if tag == _FLUSH:
                assert self._flushing is not None
                self._ledger.durable[:] = self._flushing
                self._flushing = None
            else:
                blocks, sequence, buffer = self._busy.pop(tag)
                self._spare.append(buffer)
                self._ledger.acknowledge(blocks, sequence)

    def _finish(self) -> None:
        while self._busy or self._flushing is not None:
            self._collect()
        self._flush()
        while self._flushing is not None:
            self._collect()
