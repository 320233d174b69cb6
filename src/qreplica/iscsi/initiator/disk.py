"""What a session knows of a LUN: its size and the most that one command may do."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from _cffi_backend import FFI

from qreplica.iscsi.errors import Misaligned, OutOfRange, TransferTooLong
from qreplica.iscsi.initiator._libiscsi import ffi
from qreplica.iscsi.initiator.model import BlockLimits, Capacity
from qreplica.units import GIB, MIB

# Beyond a GiB tgtd answers GOOD and does nothing, or makes everyone wait.
_MOST_ZEROS = GIB
_MOST_TRANSFER = 16 * MIB
_MOST_RANGES = 32


@dataclass(frozen=True, slots=True)
class Disk:
    """A LUN's capacity, limits and identity; the limits are bytes, except ``most_ranges``, which counts."""

    lun: int
    capacity: Capacity
    most_transfer: int
    most_zeros: int
    most_unmap: int
    most_ranges: int
    identity: bytes = field(repr=False)
    zero_block: FFI.CData = field(repr=False)

    @classmethod
    def of(cls, lun: int, capacity: Capacity, limits: BlockLimits, identity: bytes) -> "Disk":
        """Combine what the LUN reports with what is wise; a limit reported as 0 is none."""

        def least(blocks: int, wise: int) -> int:
            return min(blocks * capacity.block_size or wise, wise)

        return cls(
            lun,
            capacity,
            least(limits.transfer, _MOST_TRANSFER),
            least(limits.write_same, _MOST_ZEROS),
            least(limits.unmap, _MOST_ZEROS),
            min(limits.unmap_ranges or 1, _MOST_RANGES),
            identity,
            ffi.new("unsigned char[]", capacity.block_size),
        )

    def blocks(self, offset: int, length: int) -> tuple[int, int]:
        """Return the first block of a range of bytes and how many it has. Raises Misaligned, OutOfRange."""
        size = self.capacity.block_size
        if offset % size or length % size:
            raise Misaligned(lun=self.lun, block=size, offset=offset, length=length)
        if offset < 0 or length < 0 or offset + length > self.capacity.size:
            raise OutOfRange(lun=self.lun, size=self.capacity.size, offset=offset, length=length)
        return offset // size, length // size

    def one_command(self, operation: str, offset: int, length: int, most: int) -> tuple[int, int]:
        """Return what ``blocks`` does, for a range that one command must carry, else raise TransferTooLong."""
        if length > most:
            raise TransferTooLong(lun=self.lun, operation=operation, most=most, length=length)
        return self.blocks(offset, length)

    @staticmethod
    def split(offset: int, length: int, most: int) -> Iterator[tuple[int, int]]:
        """Yield (offset, length) pieces of a range, each of ``most`` bytes at most."""
        for at in range(offset, offset + length, most):
            yield at, min(most, offset + length - at)
