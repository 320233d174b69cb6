"""Reads which ranges of one file changed from the output of ``btrfs send --no-data`` (kernel: fs/btrfs/send.h).

A stream is a header (magic, version) and commands; a command is a header (length of its attributes, number, CRC-32C
seeded with 0 over the whole command with the checksum field zeroed) and attributes (type, length, value). Anything
that we do not know is an error: a command skipped by guess would be a change lost.
"""

import struct
from collections.abc import Callable, Iterator
from typing import IO

import crc32c

from qreplica.storage.errors import DeltaStreamBroken, DeltaStreamUnknown
from qreplica.storage.extents import Range

_MAGIC = b"btrfs-stream\0"
_VERSIONS = (1, 2)
_STREAM_HEADER = struct.Struct("<13sI")
_COMMAND_HEADER = struct.Struct("<IHI")
_ATTRIBUTE_HEADER = struct.Struct("<HH")
_U64 = struct.Struct("<Q")
#: No command without data comes near this; a larger length can only be damage.
_LONGEST_COMMAND = 1 << 20

_SNAPSHOT, _CLONE, _TRUNCATE, _END, _UPDATE_EXTENT = 2, 16, 17, 21, 22
_UUID, _TRANSACTION, _SIZE, _PATH, _OFFSET = 1, 2, 4, 15, 18
_CLONE_UUID, _CLONE_TRANSACTION, _CLONE_PATH, _CLONE_OFFSET, _CLONE_LENGTH = 20, 21, 22, 23, 24
#: Every command that may come, with the attributes that it may have.
_KNOWN = {
    _SNAPSHOT: {_PATH, _UUID, _TRANSACTION, _CLONE_UUID, _CLONE_TRANSACTION},
    _CLONE: {_PATH, _OFFSET, _CLONE_UUID, _CLONE_TRANSACTION, _CLONE_PATH, _CLONE_OFFSET, _CLONE_LENGTH},
    _TRUNCATE: {_PATH, _SIZE},
    _UPDATE_EXTENT: {_PATH, _OFFSET, _SIZE},
    # Extended attributes set and removed, mode, owner, times, flags: these change no content.
    13: {_PATH, 13, 14},
    14: {_PATH, 13},
    18: {_PATH, 5},
    19: {_PATH, 6, 7},
    20: {_PATH, 9, 10, 11, 12},
    24: {_PATH, 26},
}


def read_changes(stream: IO[bytes], file: bytes, on_change: Callable[[Range], None] | None = None) -> list[Range]:
    """Read a whole stream about ``file``, the only file of its subvolume, and return what was changed in it.

    ``on_change`` is told each range as soon as it is known, while it is not yet known whether the stream is whole.

    The ranges were written, discarded or cloned (bytes, in the stream's order). A clone counts as changed unless it
    comes from the same offset of the base. Raises DeltaStreamBroken when the stream is damaged or ends before its END
    command, and DeltaStreamUnknown for a command, an attribute, a version, or a file that is not known.
    """
    ranges: list[Range] = []
    base: bytes | None = None
    for number, attributes in _commands(stream):
        if number == _SNAPSHOT:
            base = attributes.get(_CLONE_UUID)
            continue
        path = attributes.get(_PATH)
        if number == _UPDATE_EXTENT:
            start, length = _number(attributes, _OFFSET), _number(attributes, _SIZE)
        elif number == _CLONE:
            start, length = _number(attributes, _OFFSET), _number(attributes, _CLONE_LENGTH)
            same_place = start == _number(attributes, _CLONE_OFFSET) and attributes.get(_CLONE_PATH) == file
            if same_place and base is not None and attributes.get(_CLONE_UUID) == base:
                length = 0
        elif number == _TRUNCATE:
            # The size is the file's own, and what a change of it uncovers comes as an extent.
            start = length = 0
        else:
            continue
        if path != file:
            raise DeltaStreamUnknown(what=f"a change of the file {path!r}")
        ranges.append((start, start + length))
        if on_change is not None:
            on_change(ranges[-1])
    return ranges


def _commands(stream: IO[bytes]) -> Iterator[tuple[int, dict[int, bytes]]]:
    magic, version = _STREAM_HEADER.unpack(_exactly(stream, _STREAM_HEADER.size))
    if magic != _MAGIC:
        raise DeltaStreamBroken(reason="it does not begin as a btrfs stream")
    if version not in _VERSIONS:
        raise DeltaStreamUnknown(what=f"stream version {version}")
    while True:
        header = _exactly(stream, _COMMAND_HEADER.size)
        length, number, checksum = _COMMAND_HEADER.unpack(header)
        if length > _LONGEST_COMMAND:
            raise DeltaStreamBroken(reason=f"a command of {length} bytes")
        body = _exactly(stream, length)
        if _checksum(header[:6] + b"\0\0\0\0" + body) != checksum:
            raise DeltaStreamBroken(reason="a checksum does not match")
        if number == _END:
            return
        attributes = _attributes(body)
        known = _KNOWN.get(number)
        if known is None:
            raise DeltaStreamUnknown(what=f"command {number}")
        if not known.issuperset(attributes):
            raise DeltaStreamUnknown(what=f"attribute {max(set(attributes) - known)} of command {number}")
        yield number, attributes


def _exactly(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise DeltaStreamBroken(reason="it ends in the middle")
    return data


def _checksum(data: bytes) -> int:
    """CRC-32C as btrfs computes it: seed 0 and no final inversion, where the library seeds and inverts with ones."""
    return int(crc32c.crc32c(data, 0xFFFFFFFF)) ^ 0xFFFFFFFF


def _attributes(body: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(body):
        if at + _ATTRIBUTE_HEADER.size > len(body):
            raise DeltaStreamBroken(reason="an attribute is cut off")
        kind, length = _ATTRIBUTE_HEADER.unpack_from(body, at)
        at += _ATTRIBUTE_HEADER.size
        if at + length > len(body):
            raise DeltaStreamBroken(reason="an attribute is longer than its command")
        if kind in found:
            raise DeltaStreamBroken(reason=f"attribute {kind} comes twice in a command")
        found[kind] = body[at : at + length]
        at += length
    return found


def _number(attributes: dict[int, bytes], kind: int) -> int:
    value = attributes.get(kind)
    if value is None or len(value) != _U64.size:
        raise DeltaStreamBroken(reason=f"attribute {kind} is missing or is no number")
    return int(_U64.unpack(value)[0])
