"""Reads which ranges of one file changed from the output of ``btrfs send --no-data`` (kernel: fs/btrfs/send.h).

A stream is a header (magic, version) and commands; a command is a header (length of its attributes, number, CRC-32C
seeded with 0 over the whole command with the checksum field zeroed) and attributes (type, length, value). Anything
that we do not know is an error: a command skipped by guess would be a change lost.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
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

_SNAPSHOT = 2
_CLONE = 16
_TRUNCATE = 17
_END = 21
_UPDATE_EXTENT = 22
#: Commands that change no content: extended attributes set and removed, mode, owner, times, file attributes.
_WITHOUT_CONTENT = frozenset({13, 14, 18, 19, 20, 24})

_SIZE, _PATH, _OFFSET = 4, 15, 18
_CLONE_UUID, _CLONE_PATH, _CLONE_OFFSET, _CLONE_LENGTH = 20, 22, 23, 24


@dataclass(frozen=True, slots=True)
class Changes:
    """What a stream says of the file: ranges written, discarded or cloned, and the size, if it was set (bytes)."""

    ranges: list[Range]
    size: int | None


def read_changes(stream: IO[bytes], file: bytes) -> Changes:
    """Read a whole stream about ``file``, the only file of its subvolume.

    Raises DeltaStreamBroken when it is damaged or ends before its END command, and DeltaStreamUnknown for a command, a
    version, or a file that is not known. A clone counts as changed unless it comes from the same offset of the base.
    """
    ranges: list[Range] = []
    size: int | None = None
    base: bytes | None = None
    for number, attributes in _commands(stream):
        if number == _UPDATE_EXTENT:
            _expect(attributes, file)
            start = _number(attributes, _OFFSET)
            ranges.append((start, start + _number(attributes, _SIZE)))
        elif number == _CLONE:
            _expect(attributes, file)
            start = _number(attributes, _OFFSET)
            same_place = start == _number(attributes, _CLONE_OFFSET) and attributes.get(_CLONE_PATH) == file
            if not (same_place and base is not None and attributes.get(_CLONE_UUID) == base):
                ranges.append((start, start + _number(attributes, _CLONE_LENGTH)))
        elif number == _TRUNCATE:
            _expect(attributes, file)
            size = _number(attributes, _SIZE)
        elif number == _SNAPSHOT:
            base = attributes.get(_CLONE_UUID)
        elif number not in _WITHOUT_CONTENT:
            raise DeltaStreamUnknown(what=f"command {number}")
    return Changes(ranges, size)


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
        yield number, _attributes(body)


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
        found[kind] = body[at : at + length]
        at += length
    return found


def _number(attributes: dict[int, bytes], kind: int) -> int:
    value = attributes.get(kind)
    if value is None or len(value) != _U64.size:
        raise DeltaStreamBroken(reason=f"attribute {kind} is missing or is no number")
    return int(_U64.unpack(value)[0])


def _expect(attributes: dict[int, bytes], file: bytes) -> None:
    path = attributes.get(_PATH)
    if path != file:
        raise DeltaStreamUnknown(what=f"a change of the file {path!r}")
