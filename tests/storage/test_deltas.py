"""Deltas proved by a full byte comparison, after every kind of change and between every pair of generations."""

import contextlib
import ctypes
import fcntl
import os
import random
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qreplica.storage.driver import BLOCK, Extent, ExtentKind, StorageDriver
from qreplica.units import MIB

BLOCKS = 96
SIZE = BLOCKS * BLOCK
_KEEP_SIZE, _PUNCH = 0x01, 0x03
_CLONE_RANGE = 0x4020940D

offsets = st.integers(0, SIZE - 1)
lengths = st.one_of(st.integers(1, 3 * BLOCK), st.sampled_from([BLOCK, 8 * BLOCK]))
operations = st.one_of(
    st.tuples(st.just("write"), offsets, lengths, st.integers(0, 255)),
    st.tuples(st.just("write again"), offsets, lengths, st.just(0)),
    st.tuples(st.just("punch"), offsets, lengths, st.just(0)),
    st.tuples(st.just("preallocate"), offsets, lengths, st.just(0)),
    st.tuples(st.just("clone"), st.integers(0, BLOCKS - 1), st.integers(1, 4), st.integers(0, BLOCKS - 1)),
    st.tuples(st.just("grow"), st.integers(1, 16), st.just(0), st.just(0)),
    st.tuples(st.just("shrink"), st.integers(1, 16), st.just(0), st.just(0)),
    st.tuples(st.just("roll back"), st.integers(0, 5), st.just(0), st.just(0)),
    st.tuples(st.just("flush"), st.just(0), st.just(0), st.just(0)),
    st.tuples(st.just("snapshot"), st.just(0), st.just(0), st.just(0)),
)
Operation = tuple[str, int, int, int]
_LIBC = ctypes.CDLL(None, use_errno=True)


class Disk:
    """A VD under random operations, as a host and an administrator might give them."""

    def __init__(self, driver: StorageDriver, group: str, vd: str) -> None:
        self.driver, self.group, self.vd = driver, group, vd
        self.generations: list[str] = []
        driver.create_vd(group, vd, SIZE)
        with driver.vd_path(group, vd).open("r+b") as file:
            for block in range(0, BLOCKS, 3):
                file.seek(block * BLOCK)
                file.write((block + 1).to_bytes(4) * (2 * BLOCK // 4))

    def do(self, operation: Operation) -> None:
        verb, *numbers = operation
        if verb == "snapshot":
            name = f"g{len(self.generations)}"
            self.driver.take_snapshot(self.group, self.vd, name)
            self.generations.append(name)
        elif verb == "roll back":
            if self.generations:
                back_to = self.generations[numbers[0] % len(self.generations)]
                self.driver.roll_back(self.group, self.vd, back_to)
        else:
            fd = os.open(self.driver.vd_path(self.group, self.vd), os.O_RDWR)
            try:
                _change(fd, verb, *numbers)
            finally:
                os.close(fd)


def _change(fd: int, verb: str, first: int, second: int, third: int) -> None:
    size = os.fstat(fd).st_size
    match verb:
        case "write":
            os.pwrite(fd, bytes([third]) * min(second, max(0, size - first)), first)
        case "write again":
            os.pwrite(fd, os.pread(fd, second, first), first)
        case "punch" | "preallocate":
            mode = _PUNCH if verb == "punch" else _KEEP_SIZE
            assert _LIBC.fallocate(fd, mode, ctypes.c_long(first), ctypes.c_long(second)) == 0
        case "clone":
            request = struct.pack("=qQQQ", fd, first * BLOCK, second * BLOCK, third * BLOCK)
            with contextlib.suppress(OSError):  # the kernel refuses overlaps, what is beyond the end, and other engines
                fcntl.ioctl(fd, _CLONE_RANGE, request)
        case "flush":
            os.fsync(fd)
        case "grow":
            os.ftruncate(fd, size + first * BLOCK)
        case "shrink":
            os.ftruncate(fd, max(BLOCK, size - first * BLOCK))
        case _:
            raise AssertionError(verb)


def applied(base: bytes, new: bytes, delta: list[Extent]) -> bytes:
    """What a receiver that holds ``base`` gets: the proof reads only what the delta names."""
    result = bytearray(base[: len(new)].ljust(len(new), b"\xaa"))
    for extent in delta:
        replacement = new[extent.offset : extent.end] if extent.kind is ExtentKind.DATA else bytes(extent.length)
        result[extent.offset : extent.end] = replacement
    return bytes(result)


def check_form(delta: list[Extent], size: int) -> None:
    previous = None
    for extent in delta:
        assert extent.length > 0
        assert extent.offset % BLOCK == extent.length % BLOCK == 0
        assert extent.end <= size
        if previous is not None:
            assert extent.offset >= previous.end
            assert extent.offset > previous.end or extent.kind is not previous.kind
        previous = extent


def check_deltas(driver: StorageDriver, group: str, vd: str, generations: list[str]) -> None:
    content = {name: driver.snapshot_path(group, vd, name).read_bytes() for name in generations}
    for number, new in enumerate(generations):
        for base in (None, *generations[:number]):
            delta = driver.delta(group, vd, base, new)
            check_form(delta, len(content[new]))
            old = b"\xaa" * len(content[new]) if base is None else content[base]
            assert applied(old, content[new], delta) == content[new], (base, new)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(operations, min_size=5, max_size=40))
def test_every_delta_turns_its_base_into_its_new(driver: StorageDriver, group: str, script: list[Operation]) -> None:
    disk = Disk(driver, group, "fuzzed")
    try:
        for operation in (
            ("snapshot", 0, 0, 0),
            *script,
            ("snapshot", 0, 0, 0),
            ("write", 0, BLOCK, 7),
            ("snapshot", 0, 0, 0),
        ):
            disk.do(operation)
        check_deltas(driver, group, disk.vd, disk.generations)
    finally:
        driver.delete_vd(group, disk.vd)


@pytest.fixture
def busy_vd(driver: StorageDriver, group: str) -> Iterator[str]:
    driver.create_vd(group, "busy", 16 * MIB)
    yield "busy"
    driver.delete_vd(group, "busy")


def test_deltas_hold_while_writes_go_on(driver: StorageDriver, group: str, busy_vd: str) -> None:
    done, written = threading.Event(), threading.Semaphore(0)

    def scribble() -> None:
        chance = random.Random(5)
        fd = os.open(driver.vd_path(group, busy_vd), os.O_RDWR)
        while not done.is_set():
            length = chance.randrange(1, 2 * BLOCK)
            offset = chance.randrange(16 * MIB - length)
            if chance.random() < 0.1:
                _change(fd, "punch", offset, length, 0)
            else:
                os.pwrite(fd, chance.randbytes(length), offset)
            written.release()
        os.close(fd)

    writer = threading.Thread(target=scribble)
    writer.start()
    generations = [f"s{number}" for number in range(6)]
    try:
        for name in generations:
            for _ in range(20):
                assert written.acquire(timeout=60)
            driver.prepare_snapshot(group, busy_vd)
            driver.take_snapshot(group, busy_vd, name)
    finally:
        done.set()
        writer.join()
    check_deltas(driver, group, busy_vd, generations)
    assert driver.delta(group, busy_vd, generations[0], generations[-1])


def test_blocks_cloned_inside_the_vd_are_changes(driver: StorageDriver, group: str, busy_vd: str) -> None:
    path = driver.vd_path(group, busy_vd)
    with path.open("r+b") as file:
        for block in range(0, 40, 2):
            file.seek(block * BLOCK)
            file.write((block + 1).to_bytes(4) * (BLOCK // 4))
    driver.take_snapshot(group, busy_vd, "before")
    with path.open("r+b") as file:
        for source, count, destination in ((0, 1, 100), (10, 2, 200), (12, 1, 20)):
            os.copy_file_range(file.fileno(), file.fileno(), count * BLOCK, source * BLOCK, destination * BLOCK)
    driver.take_snapshot(group, busy_vd, "after")
    check_deltas(driver, group, busy_vd, ["before", "after"])
    changed = {extent.offset // BLOCK for extent in driver.delta(group, busy_vd, "before", "after")}
    assert changed >= {20, 100, 200}


def test_a_delta_names_no_more_than_the_blocks_that_changed(driver: StorageDriver, group: str, busy_vd: str) -> None:
    path = driver.vd_path(group, busy_vd)
    path.write_bytes(random.Random(1).randbytes(16 * MIB))
    driver.take_snapshot(group, busy_vd, "before")
    changed = sorted(random.Random(2).sample(range(0, 4096, 2), 500))
    with path.open("r+b") as file:
        for block in changed:
            file.seek(block * BLOCK + 100)
            file.write(b"changed")
    driver.take_snapshot(group, busy_vd, "after")
    expected = [Extent(block * BLOCK, BLOCK, ExtentKind.DATA) for block in changed]
    assert driver.delta(group, busy_vd, "before", "after") == expected
