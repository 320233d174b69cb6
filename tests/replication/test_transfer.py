"""The pump against a LUN that forgets what no flush covered."""

import itertools
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qreplica.errors import QReplicaError
from qreplica.iscsi.errors import CommandFailed, SessionLost
from qreplica.replication.digests import digest
from qreplica.replication.errors import SourceUnreadable
from qreplica.replication.sifting import Theirs, Window, sift
from qreplica.replication.throttle import Throttle
from qreplica.replication.transfer import Progress, Settings, Transfer
from qreplica.storage.driver import BLOCK, Extent, ExtentKind
from qreplica.units import KIB

from .fakes import FakeDisk, FakeSession, Sent, lost, refused

BLOCKS = 48
SIZE = BLOCKS * BLOCK
SMALL = Settings(chunk=4 * BLOCK, depth=4, checkpoint_bytes=6 * BLOCK, checkpoint_seconds=1e9, checkpoint_pause=0)


class Clock:
    """Goes on by ``step`` seconds at each look."""

    def __init__(self, step: float = 0.0) -> None:
        self.time = 0.0
        self.step = step

    def __call__(self) -> float:
        self.time += self.step
        return self.time


class InOrder(random.Random):
    """No chance: all that is in flight completes, the oldest first."""

    def randint(self, a: int, b: int) -> int:  # noqa: ARG002 - Random's signature
        return b

    def randrange(self, *_: Any) -> int:
        return 0


class Bench:
    """A source file, a LUN, and every checkpoint and progress that was told."""

    def __init__(self, folder: Path, source: bytes, before: bytes) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "source").write_bytes(source)
        (folder / "target").write_bytes(before)
        self.source = source
        self.disk = FakeDisk(folder / "target")
        self.descriptor = os.open(folder / "source", os.O_RDONLY)
        self.checkpoints: list[Progress] = []
        self.progress: list[Progress] = []
        self.stop = threading.Event()

    def transfer(self, session: FakeSession, extents: list[Extent], start: int = 0, **how: Any) -> Transfer:
        return Transfer(
            session,
            1,
            self.descriptor,
            extents,
            start=start,
            end=len(self.source),
            stop=self.stop,
            on_checkpoint=self.checkpoints.append,
            on_progress=self.progress.append,
            **{"settings": SMALL, "clock": Clock(), **how},
        )

    @property
    def checkpoint(self) -> int:
        return self.checkpoints[-1].checkpoint if self.checkpoints else 0


@contextmanager
def bench(folder: Path, source: bytes, before: bytes | None = None) -> Iterator[Bench]:
    made = Bench(folder, source, before if before is not None else bytes(len(source)))
    try:
        yield made
    finally:
        os.close(made.descriptor)


def data(block: int, count: int = 1) -> Extent:
    return Extent(block * BLOCK, count * BLOCK, ExtentKind.DATA)


def zero(block: int, count: int = 1) -> Extent:
    return Extent(block * BLOCK, count * BLOCK, ExtentKind.ZERO)


def patterned(blocks: int = BLOCKS) -> bytes:
    return b"".join(bytes([1 + block % 250]) * BLOCK for block in range(blocks))


def calm(disk: FakeDisk, **how: Any) -> FakeSession:
    return FakeSession(disk, random.Random(7), **how)


def test_a_plan_is_sent_ascending_cut_at_aligned_places_and_sealed(tmp_path: Path) -> None:
    extents = [data(1, 3), data(5, 14), zero(20, 9), data(40)]
    with bench(tmp_path, patterned(), before=b"\xff" * SIZE) as b:
        session = calm(b.disk)
        transfer = b.transfer(session, extents)
        assert transfer.run()
        transfer.seal()
        got = [(one.kind, one.offset // BLOCK, one.length // BLOCK) for one in session.written()]
        assert got == [
            ("write", 1, 3),
            ("write", 5, 3),
            ("write", 8, 4),
            ("write", 12, 4),
            ("write", 16, 3),
            ("zeros", 20, 9),
            ("write", 40, 1),
        ]
        assert b.checkpoint == SIZE
        assert b.disk.cache == []
        after = b.disk.content()
        source = patterned()
        for extent in extents:
            expected = bytes(extent.length) if extent.kind is ExtentKind.ZERO else source[extent.offset : extent.end]
            assert after[extent.offset : extent.end] == expected
        assert after[:BLOCK] == b"\xff" * BLOCK
        assert session.most_in_flight <= SMALL.depth + 1
        assert transfer.progress == Progress(done=27 * BLOCK, sent=18 * BLOCK, checkpoint=SIZE)


def test_zero_runs_within_data_are_sent_as_zeros(tmp_path: Path) -> None:
    source = bytearray(patterned())
    source[8 * BLOCK : 16 * BLOCK] = bytes(8 * BLOCK)
    with bench(tmp_path, bytes(source), before=b"\xff" * SIZE) as b:
        session = calm(b.disk)
        transfer = b.transfer(session, [data(0, BLOCKS)])
        transfer.run()
        transfer.seal()
        zeros = [(one.offset // BLOCK, one.length // BLOCK) for one in session.written() if one.kind == "zeros"]
        assert zeros == [(8, 4), (12, 4)]
        assert b.disk.file.read_bytes() == bytes(source)
        assert transfer.progress.sent == (BLOCKS - 8) * BLOCK


def test_zeros_go_in_pieces_that_one_command_may_carry(tmp_path: Path) -> None:
    with bench(tmp_path, bytes(SIZE), before=b"\xff" * SIZE) as b:
        session = calm(b.disk)
        session.most_zeros = lambda _lun: 16 * BLOCK  # type: ignore[method-assign]
        transfer = b.transfer(session, [zero(3, 40)])
        transfer.run()
        assert [(one.offset // BLOCK, one.length // BLOCK) for one in session.written()] == [
            (3, 13),
            (16, 16),
            (32, 11),
        ]


def test_a_transfer_that_goes_on_sends_nothing_below_its_start(tmp_path: Path) -> None:
    with bench(tmp_path, patterned()) as b:
        session = calm(b.disk)
        transfer = b.transfer(session, [data(0, 10), data(20, 10)], start=5 * BLOCK)
        assert transfer.progress.done == 5 * BLOCK
        transfer.run()
        transfer.seal()
        assert min(one.offset for one in session.written()) == 5 * BLOCK
        assert sum(one.length for one in session.written()) == 15 * BLOCK
        assert transfer.progress.done == 20 * BLOCK


def test_an_empty_plan_still_flushes(tmp_path: Path) -> None:
    with bench(tmp_path, patterned()) as b:
        session = calm(b.disk)
        transfer = b.transfer(session, [])
        assert transfer.run()
        transfer.seal()
        assert [one.kind for one in session.sent] == ["flush"]
        assert b.checkpoint == SIZE


def test_checkpoints_come_by_bytes_and_by_time(tmp_path: Path) -> None:
    with bench(tmp_path, patterned()) as b:
        b.transfer(calm(b.disk), [data(0, BLOCKS)], settings=Settings(BLOCK, 2, 8 * BLOCK, 1e9, 0)).run()
        by_bytes = len(b.checkpoints)
        assert by_bytes >= 3
        b.checkpoints.clear()
        seldom = Settings(BLOCK, 2, 8 * BLOCK, 1e9, checkpoint_pause=10.0)
        b.transfer(calm(b.disk), [data(0, BLOCKS)], settings=seldom, clock=Clock(1.0)).run()
        assert 0 < len(b.checkpoints) < by_bytes
        b.checkpoints.clear()
        slow = Settings(BLOCK, 2, 1 << 40, 5.0)
        b.transfer(calm(b.disk), [data(0, BLOCKS)], settings=slow, clock=Clock(1.0)).run()
        assert len(b.checkpoints) >= 3
        b.checkpoints.clear()
        b.transfer(calm(b.disk), [data(0, BLOCKS)], settings=slow, clock=Clock(0.0)).run()
        assert b.checkpoints == []


def test_writing_goes_on_while_a_flush_is_under_way(tmp_path: Path) -> None:
    """The flush takes until all is submitted, and its checkpoint is the place of the moment it was sent."""
    with bench(tmp_path, patterned()) as b:
        session = FakeSession(b.disk, InOrder())
        real = session.poll

        def poll(timeout: float) -> list[Any]:
            flushes = [one for one in session.in_flight if one.kind == "flush"]
            others = [one for one in session.in_flight if one.kind != "flush"]
            if sum(one.length for one in session.written()) < SIZE:
                session.in_flight = others
                completions = real(timeout)
                session.in_flight = session.in_flight + flushes
                return completions
            return real(timeout)

        session.poll = poll  # type: ignore[method-assign]
        transfer = b.transfer(session, [data(0, BLOCKS)])
        transfer.run()
        kinds = [one.kind for one in session.sent]
        assert kinds.index("flush") < len(kinds) // 2
        assert 0 < b.checkpoints[0].checkpoint < SIZE // 2


def test_stop_ends_it_with_a_durable_checkpoint(tmp_path: Path) -> None:
    with bench(tmp_path, patterned()) as b:
        session = calm(b.disk)

        def stop_after_ten(_: str) -> None:
            if len(session.written()) == 10:
                b.stop.set()

        session.before = stop_after_ten
        transfer = b.transfer(session, [data(0, BLOCKS)], settings=Settings(BLOCK, 4, 1 << 40, 1e9))
        assert not transfer.run()
        assert not session.in_flight
        assert len(session.written()) < 16
        b.disk.lose_power()
        assert b.checkpoint >= 10 * BLOCK
        assert b.disk.content()[: b.checkpoint] == patterned()[: b.checkpoint]
        assert b.progress[-1].checkpoint == b.checkpoint


@pytest.mark.parametrize("kind", ["write", "zeros", "flush"])
def test_a_refused_command_ends_it_with_the_error_that_it_was(tmp_path: Path, kind: str) -> None:
    with bench(tmp_path, patterned()) as b:
        session = calm(b.disk, fails=lambda one: refused(one.kind) if one.kind == kind else None)
        transfer = b.transfer(session, [data(0, 10), zero(10, 10), data(20, 28)])
        with pytest.raises(CommandFailed, match=kind):
            transfer.run()


def test_an_unreadable_source_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.preadv

    def preadv(descriptor: int, buffers: Any, offset: int) -> int:
        if offset == 8 * BLOCK:
            raise OSError(5, "Input/output error")
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    with bench(tmp_path, patterned()) as b:
        transfer = b.transfer(calm(b.disk), [data(0, BLOCKS)])
        with pytest.raises(SourceUnreadable, match=rf"16 KiB at byte {8 * BLOCK} .*Input/output error"):
            transfer.run()


def test_a_source_that_ends_early_is_unreadable(tmp_path: Path) -> None:
    with bench(tmp_path, patterned()) as b:
        os.truncate(tmp_path / "source", 10 * BLOCK)
        with pytest.raises(SourceUnreadable, match="ends before"):
            b.transfer(calm(b.disk), [data(0, BLOCKS)]).run()


def test_progress_is_told_about_once_a_second(tmp_path: Path) -> None:
    with bench(tmp_path, patterned()) as b:
        clock = Clock(0.25)
        b.transfer(calm(b.disk), [data(0, BLOCKS)], settings=Settings(BLOCK, 1, 1 << 40, 1e9), clock=clock).run()
        assert 3 <= len(b.progress) <= clock.time + 1
        done = [one.done for one in b.progress]
        assert done == sorted(done)
        assert done[-1] == SIZE


def plans() -> st.SearchStrategy[list[Extent]]:
    """Ascending, disjoint extents; neighbours may differ in kind."""

    def build(spec: list[tuple[int, int, bool]]) -> list[Extent]:
        extents, at = [], 0
        for gap, count, is_zero in spec:
            first = at + gap
            if first + count > BLOCKS:
                break
            extents.append(zero(first, count) if is_zero else data(first, count))
            at = first + count
        return extents

    return st.lists(st.tuples(st.integers(0, 4), st.integers(1, 11), st.booleans()), max_size=12).map(build)


def applied(extents: list[Extent], source: bytes, before: bytes) -> bytes:
    after = bytearray(before)
    for one in extents:
        after[one.offset : one.end] = bytes(one.length) if one.kind is ExtentKind.ZERO else source[one.offset : one.end]
    return bytes(after)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans(), seed=st.integers(0, 2**32), cuts=st.lists(st.integers(1, 40), max_size=4), depth=st.integers(1, 9))
def test_whatever_is_below_the_checkpoint_survives_any_end(
    tmp_path: Path, plan: list[Extent], seed: int, cuts: list[int], depth: int
) -> None:
    """Sessions are lost after so many calls, each time with the target's power; then it goes on from the checkpoint."""
    chance = random.Random(seed)
    source, before = patterned(), b"\xee" * SIZE
    wanted = applied(plan, source, before)
    how = Settings(
        chunk=4 * BLOCK,
        depth=depth,
        checkpoint_bytes=chance.randint(1, 12) * BLOCK,
        checkpoint_seconds=1e9,
        checkpoint_pause=0,
    )
    with bench(tmp_path, source, before) as b:
        for cut in [*cuts, None]:
            left = cut

            def die_in_time(_: str) -> None:
                nonlocal left
                if left is not None:
                    left -= 1
                    if left < 0:
                        raise lost()

            session = FakeSession(b.disk, chance, die_in_time)
            start = b.checkpoint
            transfer = b.transfer(session, plan, start=start, settings=how)
            try:
                transfer.run()
                transfer.seal()
            except SessionLost:
                b.disk.lose_power(chance)
            assert all(one.offset >= start for one in session.written())
            assert b.checkpoint >= start
            assert b.disk.file.read_bytes()[: b.checkpoint] == wanted[: b.checkpoint]
            if cut is None:
                break
        assert b.checkpoint == SIZE
        assert b.disk.file.read_bytes() == wanted


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans(), seed=st.integers(0, 2**32), nth=st.integers(0, 60))
def test_a_failure_of_any_command_leaves_a_true_checkpoint(
    tmp_path: Path, plan: list[Extent], seed: int, nth: int
) -> None:
    chance = random.Random(seed)
    source, before = patterned(), b"\xee" * SIZE
    wanted = applied(plan, source, before)
    with bench(tmp_path, source, before) as b:
        session = FakeSession(b.disk, chance, fails=failing(nth))
        transfer = b.transfer(session, plan)
        try:
            transfer.run()
            transfer.seal()
        except CommandFailed:
            b.disk.lose_power(chance)
        else:
            assert b.disk.file.read_bytes() == wanted
        assert b.disk.file.read_bytes()[: b.checkpoint] == wanted[: b.checkpoint]


def failing(nth: int) -> Callable[[Sent], QReplicaError | None]:
    """Fail the command that completes as number ``nth``."""
    count = 0

    def fails(one: Sent) -> QReplicaError | None:
        nonlocal count
        count += 1
        return refused(one.kind) if count == nth + 1 else None

    return fails


class Windows:
    """What a comparison finds out; at times it does not know yet. Of the target's bytes those cached count too."""

    def __init__(self, made: Bench, start: int, chance: random.Random, chunk: int = 2 * BLOCK) -> None:
        self._bench = made
        self._start = start
        self._at = start // chunk * chunk
        self._chance = chance
        self._chunk = chunk

    def window(self, patience: float) -> Window | None:
        assert patience >= 0
        if self._chance.random() < 0.3:
            return None
        there, source = self._bench.disk.content(), self._bench.source
        at, self._at = self._at, min(self._at + self._chunk * self._chance.randint(1, 6), SIZE)
        chunks = [range(offset, offset + self._chunk) for offset in range(at, self._at, self._chunk)]
        told = {one[0]: digest(there[one[0] : one[-1] + 1]) for one in chunks if any(there[one[0] : one[-1] + 1])}
        theirs = Theirs(at, self._at, self._chunk, told)
        return sift([data(0, BLOCKS)], self._start, theirs, lambda offset, size: digest(source[offset : offset + size]))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    other=st.sets(st.integers(0, BLOCKS - 1), max_size=8),
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(1, 40), max_size=4),
    every=st.sampled_from([0.5, 1e9]),
)
def test_what_is_found_the_same_is_below_a_checkpoint_only_when_durable(
    tmp_path: Path, other: set[int], seed: int, cuts: list[int], every: float
) -> None:
    """The target's page cache may hold all of the copy: power losses in between show whether a flush followed."""
    chance = random.Random(seed)
    source = patterned()
    wanted = {number: source[number * BLOCK : (number + 1) * BLOCK] for number in range(BLOCKS)}
    same = wanted.keys() - other
    before = b"".join(wanted[number] if number in same and number % 2 else b"\xee" * BLOCK for number in range(BLOCKS))
    how = replace(SMALL, checkpoint_seconds=every)
    with bench(tmp_path, source, before) as b:
        for number in same:
            b.disk.write(number * BLOCK, wanted[number])
        for cut in [*cuts, None]:
            left = cut

            def die_in_time(_: str) -> None:
                nonlocal left
                if left is not None:
                    left -= 1
                    if left < 0:
                        raise lost()

            session, start = FakeSession(b.disk, chance, die_in_time), b.checkpoint
            comparison = Windows(b, start, chance)
            transfer = b.transfer(
                session, [data(0, BLOCKS)], start=start, settings=how, comparison=comparison, clock=Clock(0.01)
            )
            try:
                transfer.run()
                transfer.seal()
            except SessionLost:
                b.disk.lose_power(chance)
            assert all(one.offset >= start for one in session.written())
            assert b.disk.file.read_bytes()[: b.checkpoint] == source[: b.checkpoint]
            if cut is None:
                break
        assert b.checkpoint == SIZE
        assert b.disk.file.read_bytes() == source
        assert b.progress[-1].done == SIZE


def test_a_comparison_counts_what_it_compared_and_what_was_sent_apart(tmp_path: Path) -> None:
    source = patterned()
    before = bytearray(source)
    before[4 * BLOCK : 5 * BLOCK] = before[40 * BLOCK : 41 * BLOCK] = b"\xee" * BLOCK
    with bench(tmp_path, source, bytes(before)) as b:
        session = calm(b.disk)
        transfer = b.transfer(session, [data(0, BLOCKS)], comparison=Windows(b, 0, random.Random(1)))
        assert transfer.run()
        transfer.seal()
        assert [(one.offset // BLOCK, one.length // BLOCK) for one in session.written()] == [(4, 2), (40, 2)]
        assert transfer.progress == Progress(done=SIZE, sent=4 * BLOCK, checkpoint=SIZE, compared=SIZE)
        assert b.disk.file.read_bytes() == source


def test_a_throttle_does_not_hold_what_is_the_same(tmp_path: Path) -> None:
    with bench(tmp_path, patterned(), patterned()) as b:
        clock = Ticking()
        session = clock.wrap(calm(b.disk))
        throttle, comparison = Throttle(1, clock), Windows(b, 0, random.Random(2))
        transfer = b.transfer(session, [data(0, BLOCKS)], clock=clock, throttle=throttle, comparison=comparison)
        assert transfer.run()
        assert clock.time < 5


def test_a_stop_while_the_comparison_hangs_keeps_what_was_compared(tmp_path: Path) -> None:
    with bench(tmp_path, patterned(), patterned()) as b:
        windows = iter([Window(8 * BLOCK, [], same=8 * BLOCK, compared=8 * BLOCK)])

        class Hanging:
            def window(self, patience: float) -> Window | None:
                assert patience >= 0
                found = next(windows, None)
                if found is None:
                    b.stop.set()
                return found

        transfer = b.transfer(calm(b.disk), [data(0, BLOCKS)], comparison=Hanging())
        assert not transfer.run()
        assert b.checkpoint == 8 * BLOCK


def test_a_worker_holds_no_more_buffers_than_commands(tmp_path: Path) -> None:
    with bench(tmp_path, patterned()) as b:
        how = Settings()
        transfer = b.transfer(calm(b.disk), [], settings=how)
        assert sum(one.size for one in transfer._buffers) == how.depth * how.chunk <= 8192 * KIB


def test_data_is_read_ahead_once_and_let_go_when_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    let_go: list[tuple[int, int]] = []

    def advise(_: int, offset: int, length: int, advice: int) -> None:
        (asked if advice == os.POSIX_FADV_WILLNEED else let_go).append((offset, length))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    extents = [data(block) for block in range(0, 24, 2)] + [zero(24, 8), data(32, 16)]
    ahead: list[int] = []
    with bench(tmp_path, patterned()) as b:
        session = FakeSession(b.disk, InOrder(), lambda _: ahead.append(sum(length for _, length in asked)))
        how = Settings(
            chunk=BLOCK,
            depth=1,
            checkpoint_bytes=8 * BLOCK,
            checkpoint_seconds=1e9,
            checkpoint_pause=0,
            read_ahead=4 * BLOCK,
        )
        transfer = b.transfer(session, extents, start=4 * BLOCK, settings=how)
        transfer.run()
        transfer.seal()
    assert asked == [(one.offset, one.length) for one in extents if one.kind is ExtentKind.DATA][2:]
    # Asked for little by little.
    assert ahead[0] == 4 * BLOCK
    assert let_go[0][0] == 4 * BLOCK
    assert sum(length for _, length in let_go) == SIZE - 4 * BLOCK
    assert all(one[0] + one[1] == other[0] for one, other in itertools.pairwise(let_go))


def test_reading_ahead_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advice: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *how: advice.append(how[3]))
    with bench(tmp_path, patterned()) as b:
        b.transfer(calm(b.disk), [data(0, BLOCKS)], settings=Settings(BLOCK, 1, BLOCK, 1e9, 0, read_ahead=0)).run()
    assert set(advice) == {os.POSIX_FADV_DONTNEED}


class Ticking(Clock):
    """Goes on while the pump waits, as much as it says that it will wait at most."""

    def wrap(self, session: FakeSession) -> FakeSession:
        poll = session.poll

        def waiting(timeout: float) -> Any:
            self.time += timeout
            return poll(timeout)

        session.poll = waiting  # type: ignore[method-assign] # on this one alone
        return session


def test_a_throttle_holds_the_transfer_to_its_limit(tmp_path: Path) -> None:
    with bench(tmp_path, patterned()) as made:
        clock = Ticking()
        throttle = Throttle(4 * BLOCK, clock)
        transfer = made.transfer(
            clock.wrap(FakeSession(made.disk, InOrder())), [data(0, BLOCKS)], clock=clock, throttle=throttle
        )
        assert transfer.run()
        transfer.seal()
        assert made.disk.file.read_bytes() == made.source
        # 48 blocks at 4 a second; the last piece of 4 need not be waited for.
        assert clock.time == pytest.approx(11, abs=1.5)


def test_another_limit_takes_effect_while_it_runs(tmp_path: Path) -> None:
    with bench(tmp_path, patterned()) as made:
        clock = Ticking()
        throttle = Throttle(BLOCK, clock)

        def lift(progress: Progress) -> None:
            if progress.done >= 12 * BLOCK:
                throttle.set(None)

        session = clock.wrap(FakeSession(made.disk, InOrder()))
        transfer = made.transfer(session, [data(0, BLOCKS)], clock=clock, throttle=throttle)
        transfer._on_progress = lift
        assert transfer.run()
        # All at this limit would take 44 s, and without one 3.
        assert 8 <= clock.time <= 24


def test_zeros_that_go_as_data_are_throttled_and_counted_as_data(tmp_path: Path) -> None:
    with bench(tmp_path, bytes(SIZE), before=b"\xff" * SIZE) as made:
        clock = Ticking()
        session = FakeSession(made.disk, InOrder(), zeros_are_data=True)
        session.most_zeros = lambda _lun: 4 * BLOCK  # type: ignore[method-assign]
        throttle = Throttle(4 * BLOCK, clock)
        transfer = made.transfer(clock.wrap(session), [data(0, 8), zero(8, 40)], clock=clock, throttle=throttle)
        assert transfer.run()
        transfer.seal()
        assert transfer.progress.sent == 48 * BLOCK
        assert clock.time == pytest.approx(11, abs=1.5)
        assert made.disk.file.read_bytes()[: 48 * BLOCK] == bytes(48 * BLOCK)


def test_zeros_are_not_throttled(tmp_path: Path) -> None:
    with bench(tmp_path, bytes(SIZE)) as made:
        clock = Ticking()
        session = clock.wrap(FakeSession(made.disk, InOrder()))
        throttle = Throttle(1, clock)
        assert made.transfer(session, [data(0, 8), zero(8, 40)], clock=clock, throttle=throttle).run()
        assert clock.time < 5


def test_a_throttled_transfer_stops_at_once_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    with bench(tmp_path, patterned()) as made:
        clock = Ticking()

        def stop_soon(progress: Progress) -> None:
            if progress.done >= 4 * BLOCK:
                made.stop.set()

        session = clock.wrap(FakeSession(made.disk, InOrder()))
        throttle = Throttle(BLOCK // 64, clock)
        transfer = made.transfer(session, [data(0, BLOCKS)], clock=clock, throttle=throttle)
        transfer._on_progress = stop_soon
        assert not transfer.run()
        assert made.checkpoint == 4 * BLOCK
        assert clock.time < 5
