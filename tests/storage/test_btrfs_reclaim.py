"""Space held for nothing is given back: the bytes stay, snapshots go on sharing, the next delta grows by nothing."""

import ctypes
import errno
import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qreplica.storage.btrfs import BtrfsDriver
from qreplica.storage.btrfs_extents import file_extents
from qreplica.storage.btrfs_locks import locked
from qreplica.storage.btrfs_rewrite import rewrite
from qreplica.storage.capacity import MINIMUM_DISK
from qreplica.storage.driver import BLOCK, RaidLevel
from qreplica.storage.errors import GroupFull, GroupLocked, StorageCommandFailed
from qreplica.units import GIB, KIB, MIB

from .failing_disks import eventually, forget, image_of

pytestmark = pytest.mark.root

SIZE = 64 * MIB
Pattern = Callable[[int, bytearray], None]
#: What the trees of a small VD and of a few snapshots of it take.
TREES = 3 * MIB


@pytest.fixture
def vd(btrfs: BtrfsDriver, rg: str) -> Iterator[str]:
    btrfs.create_vd(rg, "reclaimed", SIZE)
    yield "reclaimed"
    btrfs.delete_vd(rg, "reclaimed")


@contextmanager
def opened(path: Path, flags: int = os.O_RDWR) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def reclaim_all(btrfs: BtrfsDriver, rg: str, vd: str, worth: float = 0.0) -> int:
    """Reclaim until nothing is freed any more; return what was rewritten."""
    rewritten, freed = 0, 1
    while freed:
        freed, start = 0, 0
        while start is not None:
            done = btrfs.reclaim(rg, vd, start=start, budget=GIB, room=GIB, worth=worth, seconds=60.0)
            freed, rewritten, start = freed + done.freed, rewritten + done.rewritten, done.next
        btrfs.let_go(rg)
    return rewritten


def by_hand(btrfs: BtrfsDriver, rg: str, vd: str) -> int:
    """Count every extent that the VD or a snapshot of it uses a part of, once and whole."""
    snapshots = [btrfs.snapshot_path(rg, vd, info.snapshot) for info in btrfs.list_snapshots(rg, vd)]
    extents = {}
    for path in [btrfs.vd_path(rg, vd), *snapshots]:
        with opened(path, os.O_RDONLY) as fd:
            extents |= {part.extent: part.extent_length for part in file_extents(fd, 0, SIZE)}
    return sum(extents.values())


def used(btrfs: BtrfsDriver, rg: str, vd: str) -> int:
    """Return the space used, after it was compared with a count by hand."""
    total = btrfs.space_used(rg, vd).total
    counted = by_hand(btrfs, rg, vd)
    assert counted <= total <= counted + TREES
    return total


def passes_in_order(fd: int, model: bytearray) -> None:
    """Overwrite all in order, each time from one block later on: each pass leaves a block of the one before."""
    chance = random.Random(7)
    for start in range(0, 16 * BLOCK, BLOCK):
        data = chance.randbytes(SIZE // 2 - start)
        for at in range(0, len(data), BLOCK):
            os.pwrite(fd, data[at : at + BLOCK], start + at)
        model[start : SIZE // 2] = data
        os.fdatasync(fd)


def remnants(fd: int, model: bytearray) -> None:
    """Leave a block of each of many long extents, far from each other."""
    chance = random.Random(8)
    apart = 16 * BLOCK
    for passes in range(8):
        for start in range(0, SIZE, 8 * MIB):
            # Each pass leaves a further block as the one before wrote it, and everything up to there.
            offset = start + (passes * apart + BLOCK if passes else 0)
            data = chance.randbytes(start + 8 * MIB - offset)
            os.pwrite(fd, data, offset)
            model[offset : offset + len(data)] = data
        os.fdatasync(fd)


@pytest.mark.parametrize("pattern", [passes_in_order, remnants])
def test_what_is_held_for_nothing_is_given_back(btrfs: BtrfsDriver, rg: str, vd: str, pattern: Pattern) -> None:
    model = bytearray(SIZE)
    with opened(btrfs.vd_path(rg, vd)) as fd:
        pattern(fd, model)
    written = btrfs.allocated(rg, vd)
    assert used(btrfs, rg, vd) > written * 3
    reclaim_all(btrfs, rg, vd)
    assert used(btrfs, rg, vd) <= written + TREES
    assert btrfs.vd_path(rg, vd).read_bytes() == model


def scattered(fd: int, count: int, seed: int) -> set[int]:
    chance = random.Random(seed)
    blocks = set(chance.sample(range(SIZE // BLOCK), count))
    for block in blocks:
        os.pwrite(fd, chance.randbytes(BLOCK), block * BLOCK)
    os.fdatasync(fd)
    return blocks


def test_what_a_snapshot_shares_stays_shared(btrfs: BtrfsDriver, rg: str, vd: str) -> None:
    with opened(btrfs.vd_path(rg, vd)) as fd:
        os.pwrite(fd, os.urandom(SIZE), 0)
        os.fdatasync(fd)
        btrfs.take_snapshot(rg, vd, "s")
        scattered(fd, 5000, 1)
        before = used(btrfs, rg, vd)
        assert reclaim_all(btrfs, rg, vd) == 0
        assert used(btrfs, rg, vd) == before
        btrfs.delete_snapshot(rg, vd, "s")
        reclaim_all(btrfs, rg, vd)
    assert used(btrfs, rg, vd) <= SIZE + TREES


def test_after_a_roll_back_only_what_its_snapshot_shares_stays(btrfs: BtrfsDriver, rg: str, vd: str) -> None:
    with opened(btrfs.vd_path(rg, vd)) as fd:
        os.pwrite(fd, os.urandom(SIZE), 0)
        os.fdatasync(fd)
        scattered(fd, 5000, 1)
        btrfs.take_snapshot(rg, vd, "old")
        scattered(fd, 100, 2)
        btrfs.take_snapshot(rg, vd, "new")
    btrfs.roll_back(rg, vd, "old")
    assert reclaim_all(btrfs, rg, vd) == 0
    btrfs.delete_snapshot(rg, vd, "old")
    assert reclaim_all(btrfs, rg, vd) == 0  # "new" shares all but its hundred blocks
    btrfs.delete_snapshot(rg, vd, "new")
    reclaim_all(btrfs, rg, vd)
    assert used(btrfs, rg, vd) <= SIZE + TREES


def test_the_next_delta_holds_what_was_written_and_no_more(btrfs: BtrfsDriver, rg: str, vd: str) -> None:
    with opened(btrfs.vd_path(rg, vd)) as fd:
        os.pwrite(fd, os.urandom(SIZE), 0)
        os.fdatasync(fd)
        btrfs.take_snapshot(rg, vd, "base")
        written: set[int] = set()
        os.pwrite(fd, os.urandom(16 * MIB), 0)
        written |= set(range(16 * MIB // BLOCK))
        os.fdatasync(fd)
        for seed in range(3):
            written |= scattered(fd, 3000, seed)
        assert reclaim_all(btrfs, rg, vd) > 0
        btrfs.take_snapshot(rg, vd, "next")
    delta = btrfs.delta(rg, vd, "base", "next")
    changed = {at // BLOCK for extent in delta for at in range(extent.offset, extent.end, BLOCK)}
    assert changed == written
    assert used(btrfs, rg, vd) <= SIZE + len(written) * BLOCK + TREES


def test_the_bytes_stay_right_while_a_host_writes(btrfs: BtrfsDriver, rg: str, vd: str) -> None:
    path = btrfs.vd_path(rg, vd)
    with opened(path) as fd:
        os.pwrite(fd, os.urandom(SIZE), 0)
        os.fdatasync(fd)
    writing = multiprocessing.get_context("spawn").Process(target=write_for_a_while, args=(path, 40_000))
    writing.start()
    try:
        while writing.is_alive():
            btrfs.reclaim(rg, vd, start=0, budget=16 * MIB, room=GIB, worth=0.0, seconds=0.2)
    finally:
        writing.join()
    assert writing.exitcode == 0
    assert path.read_bytes()[: SIZE // 2] == bytes(written_by_then(40_000))


def plan(count: int) -> Iterator[tuple[int, bytes]]:
    chance = random.Random(11)
    for _ in range(count):
        length = chance.choice([512, 1024, 4096, 8192])
        yield chance.randrange(SIZE // 2 // 512 - 16) * 512, chance.randbytes(length)


def write_for_a_while(path: Path, count: int) -> None:
    with opened(path) as fd:
        os.pwrite(fd, bytes(SIZE // 2), 0)
        for number, (offset, data) in enumerate(plan(count)):
            os.pwrite(fd, data, offset)
            if number % 2000 == 0:
                os.fdatasync(fd)


def written_by_then(count: int) -> bytearray:
    model = bytearray(SIZE // 2)
    for offset, data in plan(count):
        model[offset : offset + len(data)] = data
    return model


def test_discarded_and_deleted_space_is_not_counted(btrfs: BtrfsDriver, rg: str, vd: str) -> None:
    path = btrfs.vd_path(rg, vd)
    with opened(path) as fd:
        os.pwrite(fd, os.urandom(SIZE), 0)
        os.fdatasync(fd)
        btrfs.take_snapshot(rg, vd, "s")
        os.pwrite(fd, os.urandom(8 * MIB), 0)
        assert used(btrfs, rg, vd) >= SIZE + 8 * MIB
        punch(fd, 16 * MIB, 16 * MIB + 4 * KIB)
        assert used(btrfs, rg, vd) >= SIZE + 8 * MIB
    assert btrfs.space_used(rg, vd).snapshots <= 8 * MIB + TREES
    btrfs.delete_snapshot(rg, vd, "s")
    reclaim_all(btrfs, rg, vd)
    assert used(btrfs, rg, vd) <= SIZE - 16 * MIB + TREES


def punch(fd: int, offset: int, length: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    assert libc.fallocate(fd, 3, offset, length) == 0


@pytest.fixture
def small(btrfs: BtrfsDriver, make_disks: Callable[..., list[Path]]) -> Iterator[tuple[str, Path]]:
    """A VD “v” of an RG of its own on one disk, and the file behind that."""
    (disk,) = make_disks(1, MINIMUM_DISK)
    btrfs.create_group("small", [disk], RaidLevel.JBOD)
    btrfs.create_vd("small", "v", SIZE)
    yield "v", image_of(disk)
    btrfs.delete_vd("small", "v")
    btrfs.delete_group("small", [disk])


def test_a_block_that_cannot_be_read_is_told_as_such(btrfs: BtrfsDriver, small: tuple[str, Path]) -> None:
    vd, image = small
    path = btrfs.vd_path("small", vd)
    mark = os.urandom(BLOCK)
    with opened(path) as fd:
        os.pwrite(fd, os.urandom(8 * MIB), 0)
        os.pwrite(fd, mark, 4 * MIB)
        os.fdatasync(fd)
        # Most of the extent goes, and of what is left one block is spoilt.
        os.pwrite(fd, os.urandom(3 * MIB), 0)
        os.fdatasync(fd)
        spoil(image, mark)
        forget(path)
        with pytest.raises(OSError, match="Input/output error") as caught:
            rewrite(fd, [(4 * MIB, BLOCK)], deadline=float("inf"))
        assert caught.value.errno == errno.EIO
        forget(path)
        with pytest.raises(StorageCommandFailed, match="Input/output error"):
            btrfs.reclaim("small", vd, start=0, budget=GIB, room=GIB, worth=0.0, seconds=60.0)
        # Written anew, it is whole again.
        os.pwrite(fd, mark, 4 * MIB)
        os.fdatasync(fd)
    reclaim_all(btrfs, "small", vd)


def spoil(image: Path, block: bytes) -> None:
    """Have the disk return something else for a block."""
    content = image.read_bytes()
    found = content.find(block)
    assert found >= 0
    with image.open("r+b") as file:
        file.seek(found)
        file.write(bytes(BLOCK))
        os.fsync(file.fileno())


def test_no_room_for_what_is_rewritten_is_told_as_such(btrfs: BtrfsDriver, small: tuple[str, Path]) -> None:
    vd, _ = small
    btrfs.create_vd("small", "rest", GIB)
    try:
        with opened(btrfs.vd_path("small", vd)) as fd:
            os.pwrite(fd, os.urandom(32 * MIB), 0)
            os.fdatasync(fd)
            os.pwrite(fd, os.urandom(BLOCK), MIB)
            os.fdatasync(fd)
            fill(btrfs.vd_path("small", "rest"))
            with pytest.raises(GroupFull):
                btrfs.reclaim("small", vd, start=0, budget=GIB, room=GIB, worth=0.0, seconds=60.0)
    finally:
        btrfs.delete_vd("small", "rest")


def fill(path: Path) -> None:
    """Write a file until there is no space left."""
    with opened(path) as fd:
        for length in (MIB, BLOCK):
            at = path.stat().st_blocks * 512
            with pytest.raises(OSError, match="No space left"):
                append(fd, at, length)
            os.fsync(fd)


def append(fd: int, at: int, length: int) -> None:
    while True:
        at += os.pwrite(fd, os.urandom(length), at)


def test_what_a_program_holds_open_is_not_freed_before_it_ends(btrfs: BtrfsDriver, rg: str, vd: str) -> None:
    def freed() -> bool:
        btrfs.let_go(rg)
        return not btrfs.freeing(rg)

    eventually(freed)
    btrfs.take_snapshot(rg, vd, "read")
    with opened(btrfs.snapshot_path(rg, vd, "read"), os.O_RDONLY):
        btrfs.delete_snapshot(rg, vd, "read")
        btrfs.let_go(rg)
        assert btrfs.freeing(rg)
    eventually(freed)


def test_an_rg_that_another_call_works_on_is_waited_for_no_longer_than_asked(
    btrfs: BtrfsDriver, rg: str, vd: str, place: Path
) -> None:
    with locked(place / "rg" / f".{rg}.lock", rg), pytest.raises(GroupLocked) as caught:
        btrfs.reclaim(rg, vd, start=0, budget=GIB, room=GIB, worth=0.0, seconds=0.1)
    assert caught.value.fields["seconds"] == 0.1
