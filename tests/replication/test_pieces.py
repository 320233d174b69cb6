"""How extents are cut into commands."""

from hypothesis import given
from hypothesis import strategies as st

from qreplica.replication.pieces import Totals, covered, cut, totals
from qreplica.storage.driver import BLOCK, Extent, ExtentKind

D, Z = ExtentKind.DATA, ExtentKind.ZERO


def test_an_extent_that_fits_in_one_command_stays_one_wherever_it_lies() -> None:
    assert list(cut([Extent(3 * BLOCK, 4 * BLOCK, D)], 0, 4 * BLOCK, BLOCK)) == [(3 * BLOCK, 4 * BLOCK, False)]


def test_a_large_one_is_cut_at_multiples() -> None:
    got = [
        (offset // BLOCK, length // BLOCK)
        for offset, length, _ in cut([Extent(3 * BLOCK, 7 * BLOCK, D)], 0, 4 * BLOCK, 1)
    ]
    assert got == [(3, 1), (4, 4), (8, 2)]


def test_what_lies_below_the_start_is_left_out_and_what_it_cuts_is_clipped() -> None:
    extents = [Extent(0, BLOCK, D), Extent(2 * BLOCK, 4 * BLOCK, Z)]
    assert list(cut(extents, 3 * BLOCK, 64 * BLOCK, 64 * BLOCK)) == [(3 * BLOCK, 3 * BLOCK, True)]
    assert covered(extents, 3 * BLOCK) == 2 * BLOCK
    assert totals(extents) == Totals(5 * BLOCK, 4 * BLOCK)


@given(
    lengths=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 50), st.sampled_from([D, Z])), max_size=10),
    start=st.integers(0, 300),
    chunk=st.integers(1, 9),
    most=st.integers(1, 20),
)
def test_the_pieces_are_exactly_the_extents_from_the_start(
    lengths: list[tuple[int, int, ExtentKind]], start: int, chunk: int, most: int
) -> None:
    extents, at = [], 0
    for gap, length, kind in lengths:
        extents.append(Extent((at + gap) * BLOCK, length * BLOCK, kind))
        at += gap + length
    expected = {
        (block, one.kind is Z)
        for one in extents
        for block in range(max(one.offset, start * BLOCK) // BLOCK, one.end // BLOCK)
    }
    pieces = list(cut(extents, start * BLOCK, chunk * BLOCK, most * BLOCK))
    got = [
        (block, zero) for offset, length, zero in pieces for block in range(offset // BLOCK, (offset + length) // BLOCK)
    ]
    assert len(got) == len(set(got))
    assert set(got) == expected
    assert got == sorted(got)
    assert all(0 < length <= (most if zero else chunk) * BLOCK for _, length, zero in pieces)
    assert covered(extents, start * BLOCK) + sum(length for _, length, _ in pieces) == totals(extents).all
