"""A ledger of what a host was promised about blocks that say which they are and when they were written."""

from dataclasses import dataclass, field
from pathlib import Path

from qreplica.drill.pattern import sequence_of
from qreplica.storage.driver import BLOCK


@dataclass
class Ledger:
    """What became of each block's writes: the newest issued, acknowledged, and durable by a flush.

    ``zeros`` are the writes that made a block zeros, whose content does not tell.
    """

    blocks: int
    issued: list[int] = field(init=False)
    acknowledged: list[int] = field(init=False)
    durable: list[int] = field(init=False)
    zeros: dict[int, list[int]] = field(default_factory=dict)
    sequence: int = 0

    def __post_init__(self) -> None:
        self.issued, self.acknowledged, self.durable = ([0] * self.blocks for _ in range(3))

    def issue(self, blocks: range, *, zeros: bool) -> int:
        """Note a write that is about to be issued, and return its sequence number."""
        self.sequence += 1
        for number in blocks:
            self.issued[number] = self.sequence
            if zeros:
                self.zeros.setdefault(number, []).append(self.sequence)
        return self.sequence

    def acknowledge(self, blocks: range, sequence: int) -> None:
        """Note that a write was acknowledged."""
        for number in blocks:
            self.acknowledged[number] = sequence

    def settle(self, found: list[int]) -> None:
        """Take what is there after a crash for what is durable; zeros count as their last possible write."""
        for sequences in (self.issued, self.acknowledged, self.durable):
            sequences[:] = found

    def check(self, file: Path, at_least: list[int], at_most: list[int]) -> list[int]:
        """Return the write that each block of ``file`` holds, after checking that it is within the two bounds."""
        found = []
        with file.open("rb") as content:
            for number in range(self.blocks):
                block = content.read(BLOCK)
                sequence = sequence_of(number, block)
                least, most = at_least[number], at_most[number]
                if sequence == 0:
                    sequence = self._zeroed(number, least, most)
                assert least <= sequence <= most, (
                    f"block {number} holds write {sequence}; {least} was promised and {most} the last begun"
                )
                found.append(sequence)
            assert not content.read(1), "the file is longer than the virtual disk was"
        return found

    def _zeroed(self, number: int, least: int, most: int) -> int:
        possible = [write for write in self.zeros.get(number, ()) if least <= write <= most]
        assert possible or least == 0, f"block {number} is zeros though write {least} was promised"
        return max(possible, default=0)
