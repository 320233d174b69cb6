"""Interval algebra against sets of blocks."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from qreplica.storage.driver import BLOCK, ExtentKind
from qreplica.storage.extents import Range, classify, cover

SIZE = 40 * BLOCK
ranges = st.lists(st.tuples(st.integers(0, SIZE + BLOCK), st.integers(0, 6 * BLOCK)).map(lambda x: (x[0], x[0] + x[1])))


def blocks(found: list[Range]) -> set[int]:
    return {block for start, end in found for block in range(start // BLOCK, -(-end // BLOCK))}


@given(ranges)
def test_cover_names_the_blocks_touched_in_the_fewest_ranges(given_ranges: list[Range]) -> None:
    found = cover(given_ranges, SIZE)
    touched = blocks([(start, end) for start, end in given_ranges if start < end])
    assert blocks(found) == {block for block in touched if block < SIZE // BLOCK}
    assert all(start % BLOCK == end % BLOCK == 0 and start < end for start, end in found)
    assert all(earlier[1] < later[0] for earlier, later in itertools.pairwise(found))


@given(ranges, ranges)
def test_classify_cuts_into_data_and_zeros(changed_ranges: list[Range], data_ranges: list[Range]) -> None:
    changed, data = cover(changed_ranges, SIZE), cover(data_ranges, SIZE)
    found = list(classify(changed, data))
    by_kind = {
        kind: blocks([(extent.offset, extent.end) for extent in found if extent.kind is kind]) for kind in ExtentKind
    }
    assert by_kind[ExtentKind.DATA] == blocks(changed) & blocks(data)
    assert by_kind[ExtentKind.ZERO] == blocks(changed) - blocks(data)
    for earlier, later in itertools.pairwise(found):
        assert earlier.end < later.offset or (earlier.end == later.offset and earlier.kind is not later.kind)
