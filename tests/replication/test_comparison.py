"""The comparison that runs ahead of the pump."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qreplica.peer.errors import NoSuchRoute, PeerUnreachable
from qreplica.peer.messages import Digests
from qreplica.replication.comparison import Comparison
from qreplica.replication.digests import digest
from qreplica.replication.errors import SourceUnreadable
from qreplica.replication.sifting import Window
from qreplica.storage.driver import BLOCK, Extent, ExtentKind

SIZE = 8 * BLOCK
EXTENTS = [Extent(0, SIZE, ExtentKind.DATA)]


@pytest.fixture
def source(on_tmpfs: Path) -> Iterator[int]:
    file = os.open(on_tmpfs / "compared", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.pwrite(file, b"s" * SIZE, 0)
    yield file
    os.close(file)


class Target:
    """Tells of two chunks at a time: all is as on the source but for block 5. ``may_go_on`` holds answers back."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, offset: int) -> Digests:
        self.asked.append(offset)
        assert self.may_go_on.wait(60)
        end = min(offset + 2 * BLOCK, SIZE)
        blocks = range(offset, end, BLOCK)
        return Digests(end=end, digests={at: digest((b"t" if at == 5 * BLOCK else b"s") * BLOCK) for at in blocks})


def comparing(
    ask: Callable[[int], Digests], source: int, start: int = 0, extents: list[Extent] = EXTENTS
) -> Comparison:
    return Comparison(ask, source, extents, start, SIZE, ThreadPoolExecutor(2), BLOCK)


def windows(comparison: Comparison, end: int = SIZE) -> list[Window]:
    found: list[Window] = []
    while not found or found[-1].end < end:
        window = comparison.window(60)
        assert window is not None
        found.append(window)
    return found


def test_windows_come_in_order_and_tell_what_differs(source: int) -> None:
    target = Target()
    with comparing(target, source) as comparison:
        found = windows(comparison)
    assert target.asked == [0, 2 * BLOCK, 4 * BLOCK, 6 * BLOCK]
    assert [one.end for one in found] == [2 * BLOCK, 4 * BLOCK, 6 * BLOCK, SIZE]
    assert [one for window in found for one in window.different] == [Extent(5 * BLOCK, BLOCK, ExtentKind.DATA)]
    assert sum(window.compared for window in found) == SIZE
    assert sum(window.same for window in found) == SIZE - BLOCK


def test_it_begins_at_the_chunk_that_the_start_lies_in(source: int) -> None:
    target = Target()
    with comparing(target, source, start=5 * BLOCK + 512) as comparison:
        found = windows(comparison)
    assert target.asked == [5 * BLOCK, 7 * BLOCK]
    assert found[0].different == [Extent(5 * BLOCK + 512, BLOCK - 512, ExtentKind.DATA)]


def test_what_is_not_known_yet_is_not_waited_for_longer_than_asked(source: int) -> None:
    target = Target()
    target.may_go_on.clear()
    with comparing(target, source) as comparison:
        assert comparison.window(0) is None
        assert comparison.window(0.01) is None
        target.may_go_on.set()
        assert len(windows(comparison)) == 4


def test_it_runs_ahead_by_two_windows_at_most(source: int) -> None:
    target = Target()
    with comparing(target, source) as comparison:
        first = comparison.window(60)
        assert first is not None
    # What was asked when it ended: the window taken, the one being compared, and the next.
    assert target.asked in ([0, 2 * BLOCK], [0, 2 * BLOCK, 4 * BLOCK])


def test_a_target_that_knows_no_comparison_is_sent_everything(source: int) -> None:
    def ask(_: int) -> Digests:
        raise NoSuchRoute(method="POST", path="/peer/v1/nodes/x/compare", status=404)

    with comparing(ask, source, start=3 * BLOCK) as comparison:
        assert windows(comparison) == [
            Window(SIZE, [Extent(3 * BLOCK, 5 * BLOCK, ExtentKind.DATA)], same=0, compared=0)
        ]


def test_what_goes_wrong_is_raised_where_the_window_is_taken(source: int) -> None:
    def ask(offset: int) -> Digests:
        if offset:
            raise PeerUnreachable(address="192.0.2.11", port=3261, reason="the test says so")
        return Target()(offset)

    with comparing(ask, source) as comparison:
        assert comparison.window(60) is not None
        with pytest.raises(PeerUnreachable):
            comparison.window(60)


def test_a_source_that_cannot_be_read_is_told_with_its_place(source: int) -> None:
    os.ftruncate(source, 3 * BLOCK)
    with comparing(Target(), source) as comparison:
        assert comparison.window(60) is not None
        with pytest.raises(SourceUnreadable, match=f"byte {3 * BLOCK} "):
            comparison.window(60)


def test_its_end_waits_for_what_is_under_way(source: int) -> None:
    """The file may be closed after it, and the way to the target too."""
    target = Target()
    ended = threading.Event()

    def ask(offset: int) -> Digests:
        try:
            return target(offset)
        finally:
            ended.set()

    target.may_go_on.clear()
    timer = threading.Timer(0.05, target.may_go_on.set)
    with comparing(ask, source):
        timer.start()
    assert ended.is_set()
    timer.join()
