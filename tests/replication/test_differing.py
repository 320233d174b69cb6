"""What differs between two disks, found by digests, against a comparison of all bytes."""

import itertools

import hypothesis.strategies as st
from hypothesis import given

from qreplica.replication.differing import Range, bounded, differing, joined, with_ranges
from qreplica.replication.digests import of_zeros, quick_digest
from qreplica.storage.driver import BLOCK, Extent, ExtentKind
from qreplica.units import MIB

CHUNK = 4
DISK = st.integers(1, 40).flatmap(
    lambda size: st.tuples(*[st.lists(st.sampled_from([0, 1, 2]), min_size=size, max_size=size)] * 2)
)
RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=8)


def digests(disk: bytes, unreadable: set[int]) -> dict[int, str | None]:
    """As ``digests.look`` tells of them: chunks of zeros are left out now and then, which this always does."""
    return {
        at: None if at in unreadable else quick_digest(disk[at : at + CHUNK])
        for at in range(0, len(disk), CHUNK)
        if any(disk[at : at + CHUNK]) or at in unreadable
    }


def covered(ranges: list[Range]) -> set[int]:
    return {at for offset, length in ranges for at in range(offset, offset + length)}


@given(DISK, st.sets(st.integers(0, 9).map(lambda number: number * CHUNK), max_size=3))
def test_the_chunks_that_differ_are_found_and_no_others(disks: tuple[list[int], ...], unreadable: set[int]) -> None:
    ours, theirs = (bytes(one) for one in disks)
    bad = {at for at in unreadable if at < len(theirs)}
    found = differing(
        0, len(ours), CHUNK, digests(ours, set()), digests(theirs, bad), lambda length: of_zeros(length, quick_digest)
    )
    wrong = {at for at in range(0, len(ours), CHUNK) if ours[at : at + CHUNK] != theirs[at : at + CHUNK] or at in bad}
    assert covered(found) == {at for first in wrong for at in range(first, min(first + CHUNK, len(ours)))}
    assert found == joined(found)


@given(DISK, st.integers(0, 5), st.integers(1, 5))
def test_a_part_of_a_disk_tells_of_that_part(disks: tuple[list[int], ...], first: int, count: int) -> None:
    ours, theirs = (bytes(one) for one in disks)
    start, end = min(first * CHUNK, len(ours)), min((first + count) * CHUNK, len(ours))
    zeros = lambda length: of_zeros(length, quick_digest)  # noqa: E731
    whole = differing(0, len(ours), CHUNK, digests(ours, set()), digests(theirs, set()), zeros)
    part = differing(start, end, CHUNK, digests(ours, set()), digests(theirs, set()), zeros)
    assert covered(part) == covered(whole) & set(range(start, end))


@given(RANGES)
def test_joined_ranges_cover_the_same_and_lie_apart(ranges: list[Range]) -> None:
    made = joined(ranges)
    assert covered(made) == covered(ranges)
    assert all(sum(one) < other[0] for one, other in itertools.pairwise(made))


@given(
    st.lists(st.tuples(st.integers(0, 400).map(lambda at: at * MIB // 4), st.integers(1, MIB)), max_size=40),
    st.integers(1, 8),
)
def test_fewer_ranges_cover_at_least_the_same(ranges: list[Range], most: int) -> None:
    made = bounded(ranges, most)
    assert len(made) <= most
    assert made == joined(made)
    assert all(any(at <= offset and offset + length <= at + size for at, size in made) for offset, length in ranges)
    if len(joined(ranges)) <= most:
        assert made == joined(ranges)
    elif ranges:
        assert max(map(sum, made)) == max(map(sum, ranges))


@given(RANGES, RANGES, st.integers(1, 70))
def test_extents_that_send_ranges_too_keep_what_they_are(deltas: list[Range], ranges: list[Range], size: int) -> None:
    kinds = (ExtentKind.DATA, ExtentKind.ZERO)
    extents = [
        Extent(at * BLOCK, (min(at + length, size) - at) * BLOCK, kinds[at % 2])
        for at, length in joined(deltas)
        if at < size
    ]
    wanted = [(at * BLOCK, length * BLOCK) for at, length in ranges]
    made = with_ranges(extents, wanted, size * BLOCK)
    assert set(extents) <= set(made)
    assert all(one.end <= other.offset for one, other in itertools.pairwise(made))
    assert all(one.length > 0 and one.end <= size * BLOCK for one in made)
    sent = {at // BLOCK for one in made for at in range(one.offset, one.end, BLOCK)}
    both = {at // BLOCK for one in extents for at in range(one.offset, one.end, BLOCK)}
    assert sent == both | {at for at in covered(ranges) if at < size}
    assert {one.kind for one in set(made) - set(extents)} <= {ExtentKind.DATA}
