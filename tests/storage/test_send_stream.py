"""The reader of change streams: what it makes of good ones, and that no damaged or unknown one passes."""

import io
import os
import struct
import subprocess
from pathlib import Path

import crc32c
import pytest

from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.driver import BLOCK, RaidLevel
from qreplica.storage.errors import DeltaStreamBroken, DeltaStreamUnknown
from qreplica.storage.send_stream import read_changes
from qreplica.units import MIB

BASE, OTHER = bytes(range(16)), bytes(range(16, 32))


def number(value: int) -> bytes:
    return struct.pack("<Q", value)


def command(code: int, *attributes: tuple[int, bytes], checksum: int | None = None) -> bytes:
    body = b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in attributes)
    plain = struct.pack("<IHI", len(body), code, 0) + body
    if checksum is None:
        checksum = crc32c.crc32c(plain, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return struct.pack("<IHI", len(body), code, checksum) + body


def stream(*commands: bytes, version: int = 1, end: bool = True) -> io.BytesIO:
    header = struct.pack("<13sI", b"btrfs-stream\0", version)
    snapshot = command(2, (15, b"new"), (1, OTHER), (2, number(9)), (20, BASE), (21, number(8)))
    return io.BytesIO(header + snapshot + b"".join(commands) + (command(21) if end else b""))


def update(offset: int, length: int, path: bytes = b"disk") -> bytes:
    return command(22, (15, path), (18, number(offset)), (4, number(length)))


def clone(offset: int, length: int, uuid: bytes, source: int, path: bytes = b"disk") -> bytes:
    what = ((20, uuid), (21, number(8)), (22, path), (23, number(source)))
    return command(16, (18, number(offset)), (24, number(length)), (15, b"disk"), *what)


@pytest.mark.parametrize("version", [1, 2])
def test_extents_are_read_in_order(version: int) -> None:
    found = stream(update(8192, 4096), update(0, 100), command(17, (15, b"disk"), (4, number(10))), version=version)
    assert [(start, end) for start, end in read_changes(found, b"disk") if start < end] == [(8192, 12288), (0, 100)]


def test_a_clone_from_the_same_place_of_the_base_is_no_change() -> None:
    found = read_changes(stream(clone(4096, 4096, BASE, 4096)), b"disk")
    assert all(start == end for start, end in found)


@pytest.mark.parametrize(
    "moved", [clone(4096, 4096, BASE, 0), clone(4096, 4096, OTHER, 4096), clone(4096, 4096, BASE, 4096, b"elsewhere")]
)
def test_any_other_clone_is_a_change(moved: bytes) -> None:
    assert read_changes(stream(moved), b"disk") == [(4096, 8192)]


@pytest.mark.parametrize("code", [1, 3, 9, 11, 15, 23, 25, 26, 27, 99, 65535])
def test_an_unknown_command_is_an_error(code: int) -> None:
    with pytest.raises(DeltaStreamUnknown, match=f"command {code}, which"):
        read_changes(stream(command(code, (15, b"disk"))), b"disk")


@pytest.mark.parametrize("code", [2, 13, 16, 17, 18, 19, 20, 22, 24])
def test_an_unknown_attribute_is_an_error(code: int) -> None:
    with pytest.raises(DeltaStreamUnknown, match=f"attribute 40 of command {code}"):
        read_changes(stream(command(code, (15, b"disk"), (40, b""))), b"disk")


def test_another_version_or_file_is_an_error() -> None:
    with pytest.raises(DeltaStreamUnknown, match="stream version 3"):
        read_changes(stream(version=3), b"disk")
    with pytest.raises(DeltaStreamUnknown, match="other"):
        read_changes(stream(update(0, 1, b"other")), b"disk")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (command(22, (15, b"disk"), (18, number(0))), "attribute 4 is missing"),
        (command(22, (15, b"disk"), (18, b"short"), (4, number(1))), "attribute 18 is missing or is no number"),
        (command(22, (15, b"disk"), (18, number(0)), (18, number(4096)), (4, number(1))), "comes twice"),
        (command(22, (15, b"disk"), checksum=1), "checksum"),
        (struct.pack("<IHI", 1 << 30, 22, 0), "a command of 1073741824 bytes"),
    ],
)
def test_damage_is_told(broken: bytes, reason: str) -> None:
    with pytest.raises(DeltaStreamBroken, match=reason):
        read_changes(stream(broken), b"disk")


def test_an_attribute_that_overruns_its_command_is_damage() -> None:
    for body in (struct.pack("<HH", 15, 5) + b"disk", b"\x0f\0"):
        plain = struct.pack("<IHI", len(body), 22, 0) + body
        checksum = crc32c.crc32c(plain, 0xFFFFFFFF) ^ 0xFFFFFFFF
        with pytest.raises(DeltaStreamBroken, match="attribute is"):
            read_changes(stream(struct.pack("<IHI", len(body), 22, checksum) + body), b"disk")


def test_a_stream_without_end_or_of_another_kind_is_broken() -> None:
    with pytest.raises(DeltaStreamBroken, match="ends in the middle"):
        read_changes(stream(update(0, 1), end=False), b"disk")
    with pytest.raises(DeltaStreamBroken, match="does not begin as a btrfs stream"):
        read_changes(io.BytesIO(b"ERROR: no such thing".ljust(40)), b"disk")
    with pytest.raises(DeltaStreamBroken, match="ends in the middle"):
        read_changes(io.BytesIO(b""), b"disk")


@pytest.fixture(scope="module")
def recorded(place: Path, make_disks: object) -> bytes:
    """What this machine's btrfs says of writes, a hole, a clone and growth."""
    driver = BtrfsDriver(place / "rg")
    (device,) = make_disks(1, 512 * MIB)  # type: ignore[operator]
    driver.create_group("recorded", [device], RaidLevel.JBOD)
    driver.create_vd("recorded", "vd", MIB)
    path = driver.vd_path("recorded", "vd")
    path.write_bytes(os.urandom(MIB))
    driver.take_snapshot("recorded", "vd", "old")
    with path.open("r+b") as file:
        for block in (3, 5, 6, 100):
            file.seek(block * BLOCK)
            file.write(b"x" * BLOCK)
        file.truncate(2 * MIB)
    subprocess.run(["fallocate", "--punch-hole", "--offset", "65536", "--length", "8192", path], check=True)
    driver.take_snapshot("recorded", "vd", "new")
    old, new = (driver.snapshot_path("recorded", "vd", name).parent for name in ("old", "new"))
    command_line = ["btrfs", "send", "--quiet", "--no-data", "-p", old, new]
    output = subprocess.run(command_line, check=True, capture_output=True).stdout
    driver.delete_vd("recorded", "vd")
    driver.delete_group("recorded", [device])
    return output


@pytest.mark.root
def test_a_recorded_stream_is_read(recorded: bytes) -> None:
    changed = {
        block
        for start, end in read_changes(io.BytesIO(recorded), b"disk")
        for block in range(start // BLOCK, -(-end // BLOCK))
    }
    assert changed >= {3, 5, 6, 16, 17, 100}
    assert not changed & {2, 4, 7, 15, 18, 99, 101}


@pytest.mark.root
def test_cut_off_at_any_byte_it_is_broken(recorded: bytes) -> None:
    for length in range(len(recorded)):
        with pytest.raises(DeltaStreamBroken):
            read_changes(io.BytesIO(recorded[:length]), b"disk")


@pytest.mark.root
def test_any_bit_changed_is_noticed(recorded: bytes) -> None:
    for bit in range(len(recorded) * 8):
        damaged = bytearray(recorded)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((DeltaStreamBroken, DeltaStreamUnknown)):
            read_changes(io.BytesIO(damaged), b"disk")
