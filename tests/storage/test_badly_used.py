"""What is worth rewriting, against a model that knows every block of every extent."""

from hypothesis import given
from hypothesis import strategies as st

from qreplica.storage.badly_used import BadlyUsed, badly_used, best, rewriting, without
from qreplica.storage.btrfs_extents import FileExtent
from qreplica.storage.driver import BLOCK

_BLOCKS = 64
writes = st.lists(
    st.tuples(st.integers(0, _BLOCKS - 1), st.integers(1, 24)).map(lambda w: (w[0], min(w[1], _BLOCKS - w[0]))),
    max_size=20,
)


def file_of(written: list[tuple[int, int]]) -> tuple[list[FileExtent], dict[int, list[int]]]:
    """Return a file's parts after the writes, each of which made an extent, and the blocks each extent still has."""
    owner = {block: number for number, (start, count) in enumerate(written) for block in range(start, start + count)}
    parts: list[FileExtent] = []
    for block in sorted(owner):
        number = owner[block]
        start, count = written[number]
        last = parts[-1] if parts else None
        if last is not None and last.extent == number + 1 and last.offset + last.length == block * BLOCK:
            parts[-1] = last._replace(length=last.length + BLOCK)
        else:
            parts.append(
                FileExtent(block * BLOCK, BLOCK, number + 1, count * BLOCK, (block - start) * BLOCK, number + 1)
            )
    left: dict[int, list[int]] = {}
    for block, number in owner.items():
        left.setdefault(number + 1, []).append(block)
    return parts, left


@given(writes)
def test_rewriting_gives_back_what_is_no_longer_used(written: list[tuple[int, int]]) -> None:
    parts, left = file_of(written)
    found = {one.extent: one for one in badly_used(parts, 0, _BLOCKS * BLOCK, 0.0)}
    sizes = {number + 1: count for number, (_, count) in enumerate(written)}
    assert found.keys() == {extent for extent, blocks in left.items() if len(blocks) < sizes[extent]}
    for extent, one in found.items():
        assert one.wasted == (sizes[extent] - len(left[extent])) * BLOCK
        ranges = rewriting(one, 4 * BLOCK)
        assert all(0 < length <= 4 * BLOCK for _, length in ranges)
        rewritten = [at // BLOCK for offset, length in ranges for at in range(offset, offset + length, BLOCK)]
        assert sorted(rewritten) == sorted(left[extent])


@given(writes, st.integers(0, _BLOCKS))
def test_windows_together_find_each_extent_once(written: list[tuple[int, int]], cut: int) -> None:
    parts, _ = file_of(written)
    end = _BLOCKS * BLOCK
    both = badly_used(parts, 0, cut * BLOCK, 0.0) + badly_used(parts, cut * BLOCK, end, 0.0)
    assert {one.extent for one in both} == {one.extent for one in badly_used(parts, 0, end, 0.0)}
    assert len({one.extent for one in both}) == len(both)


@given(writes, st.sampled_from([0.0, 0.5, 1.0, 3.0]))
def test_what_gives_back_too_little_is_left(written: list[tuple[int, int]], worth: float) -> None:
    parts, _ = file_of(written)
    every = badly_used(parts, 0, _BLOCKS * BLOCK, 0.0)
    chosen = {one.extent for one in badly_used(parts, 0, _BLOCKS * BLOCK, worth)}
    assert chosen == {one.extent for one in every if one.wasted >= worth * one.used}


def one(extent: int, used: int, wasted: int) -> BadlyUsed:
    return BadlyUsed(extent, used + wasted, 1, extent * 100, used)


def test_the_best_come_first_and_the_budget_ends_it() -> None:
    extents = [one(1, 8, 1), one(2, 1, 8), one(3, 4, 4)]
    assert [chosen.extent for chosen in best(extents, budget=5, room=100)] == [2, 3]
    assert [chosen.extent for chosen in best(extents, budget=0, room=100)] == [2]


def test_what_does_not_fit_the_room_is_left() -> None:
    assert [chosen.extent for chosen in best([one(1, 8, 9), one(2, 3, 1)], budget=100, room=5)] == [2]
    assert best([one(1, 8, 9)], budget=100, room=5) == []


def test_shared_ones_are_left() -> None:
    assert [left.extent for left in without([one(1, 1, 1), one(2, 1, 1)], {1})] == [2]
