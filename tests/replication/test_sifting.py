"""What a full copy must send, against a comparison of every byte."""

from bisect import bisect_right
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from qreplica.replication.digests import digest, of_zeros
from qreplica.replication.sifting import Theirs, Window, clipped, sift
from qreplica.storage.driver import Extent, ExtentKind

#: Small stands for large: a block of 4 bytes.
UNIT = 4


@dataclass
class Side:
    """A disk: its content, and which blocks are written; all others are holes."""

    content: bytes
    written: list[bool]

    @property
    def extents(self) -> list[Extent]:
        """Return what a plan of a full copy of it would be, though neighbours are not joined."""
        pieces = range(0, len(self.content), UNIT)
        kinds = (ExtentKind.DATA if written else ExtentKind.ZERO for written in self.written)
        return [Extent(at, min(UNIT, len(self.content) - at), kind) for at, kind in zip(pieces, kinds, strict=True)]

    def told(self, start: int, end: int, chunk: int, unreadable: frozenset[int] = frozenset()) -> Theirs:
        """Return what it tells as a target."""
        offsets = [at for at in range(start, end, chunk) if any(self.written[at // UNIT : -(-(at + chunk) // UNIT)])]
        digests = {at: None if at in unreadable else digest(self.content[at : min(at + chunk, end)]) for at in offsets}
        return Theirs(start, end, chunk, digests)


@st.composite
def sides(draw: st.DrawFn, size: int) -> Side:
    blocks = -(-size // UNIT)
    kinds = draw(st.lists(st.sampled_from(["hole", "zeros", "a", "b"]), min_size=blocks, max_size=blocks))
    content = b"".join((bytes(UNIT) if kind in {"hole", "zeros"} else kind.encode() * UNIT) for kind in kinds)
    return Side(content[:size], [kind != "hole" for kind in kinds])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Side, Side, int, int, list[int]]:
    """A source, a target of that size or more, the chunk, where to begin, and where the windows end."""
    size = draw(st.integers(1, 60))
    source = draw(sides(size))
    target = draw(sides(size + draw(st.integers(0, 20))))
    chunk = UNIT * draw(st.integers(1, 4))
    start = draw(st.integers(0, size - 1))
    ends = draw(st.sets(st.integers(start // chunk + 1, 40)))
    return source, target, chunk, start, [*sorted(end * chunk for end in ends if end * chunk < size), size]


@settings(max_examples=300)
@given(case=cases(), data=st.data())
def test_what_is_sent_is_what_differs_and_makes_both_the_same(
    case: tuple[Side, Side, int, int, list[int]], data: st.DataObject
) -> None:
    source, target, chunk, start, ends = case
    size, at = len(source.content), start // chunk * chunk
    unreadable = frozenset(data.draw(st.sets(st.integers(0, 15))))
    result = bytearray(target.content)
    asked: list[int] = []

    def ours(offset: int, length: int) -> str:
        asked.append(offset)
        return digest(source.content[offset : offset + length])

    for end in ends:
        theirs = target.told(at, end, chunk, frozenset(number * chunk for number in unreadable))
        window = sift(source.extents, start, theirs, ours)
        assert window.end == end
        assert window.same + sum(one.length for one in window.different) == end - max(at, start)
        assert window.compared == sum(min(one + chunk, end) - max(one, start) for one in theirs.digests)
        check_order(window, max(at, start))
        for one in window.different:
            is_data = one.kind is ExtentKind.DATA
            result[one.offset : one.end] = source.content[one.offset : one.end] if is_data else bytes(one.length)
            for number in range(one.offset // chunk, -(-one.end // chunk)):
                assert must_go(source, target, number * chunk, min((number + 1) * chunk, size), theirs)
        at = end
    assert result[start:size] == source.content[start:]
    assert result[:start] == target.content[:start]
    assert result[size:] == target.content[size:]
    # The source is read once, and only where both sides hold data.
    assert len(set(asked)) == len(asked)
    for offset in asked:
        blocks = slice(offset // UNIT, -(-min(offset + chunk, size) // UNIT))
        assert any(source.written[blocks])
        assert any(target.written[offset // UNIT : -(-(offset + chunk) // UNIT)])


def must_go(source: Side, target: Side, start: int, end: int, theirs: Theirs) -> bool:
    """Tell whether some of the chunk must be sent: it differs, is unreadable, or nobody has looked at our data."""
    if start not in theirs.digests:
        return any(source.written[start // UNIT : -(-end // UNIT)])
    return theirs.digests[start] is None or source.content[start:end] != target.content[start:end]


def check_order(window: Window, start: int) -> None:
    at, kind = start, None
    for one in window.different:
        assert one.offset >= at
        # Neighbours of a kind are one.
        assert one.offset > at or one.kind is not kind or at == start
        at, kind = one.end, one.kind
    assert at <= window.end


def test_holes_on_both_sides_cost_nothing_however_large() -> None:
    size = 1 << 50
    window = sift([Extent(0, size, ExtentKind.ZERO)], 0, Theirs(0, size, 1 << 16, {}), never)
    assert window == Window(size, [], same=size, compared=0)


def test_a_hole_of_the_source_becomes_zeros_where_the_target_holds_something() -> None:
    size, chunk = 1 << 20, 1 << 16
    theirs = Theirs(0, size, chunk, {0: of_zeros(chunk), chunk: digest(b"x" * chunk), 2 * chunk: None})
    window = sift([Extent(0, size, ExtentKind.ZERO)], 0, theirs, never)
    assert window.different == [Extent(chunk, 2 * chunk, ExtentKind.ZERO)]
    assert window.compared == 3 * chunk


def never(offset: int, length: int) -> str:
    raise AssertionError(f"{length} bytes at {offset} need not be read")


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1),
    gaps=st.lists(st.integers(0, 3)),
    ends=st.tuples(*[st.integers(0, 90)] * 2),
)
def test_clipping_is_what_a_look_at_every_byte_says(lengths: list[int], gaps: list[int], ends: tuple[int, int]) -> None:
    extents, at = [], 0
    for number, length in enumerate(lengths):
        at += gaps[number % len(gaps)] if gaps else 0
        extents.append(Extent(at, length, ExtentKind.DATA if number % 2 else ExtentKind.ZERO))
        at += length
    start, end = min(ends), max(ends)
    got = {offset: one.kind for one in clipped(extents, start, end) for offset in range(one.offset, one.end)}
    offsets = [one.offset for one in extents]
    wanted = {}
    for offset in range(start, end):
        index = bisect_right(offsets, offset) - 1
        if index >= 0 and offset < extents[index].end:
            wanted[offset] = extents[index].kind
    assert got == wanted
