"""What a drill's host writes: blocks that say which they are and when they were written.

A block's content follows from its number and sequence number alone, so that one that is torn, misplaced or made up is
told from every one that was written.
"""

import hashlib
import struct

from qreplica.storage.driver import BLOCK

_HEADER = struct.Struct("<8sQQ")
_MAGIC = b"QRBLOCK\n"


def block_of(number: int, sequence: int) -> bytes:
    """Return the content of a block; each write has a sequence number of its own, from 1."""
    header = _HEADER.pack(_MAGIC, number, sequence)
    return header + hashlib.shake_128(header).digest(BLOCK - len(header))


def sequence_of(number: int, content: bytes) -> int:
    """Return which write the content of block ``number`` is from, 0 for zeros. Raises ValueError when it is none."""
    if content.count(0) == BLOCK:
        return 0
    magic, said, sequence = _HEADER.unpack_from(content)
    if (magic, said) != (_MAGIC, number):
        raise ValueError(f"block {number} holds something else: {content[:48]!r}")
    if content != block_of(number, sequence):
        raise ValueError(f"block {number} is torn at write {sequence}")
    return int(sequence)
