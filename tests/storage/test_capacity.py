"""What is promised of disks, level by level; that it can really be written is proved in ``test_btrfs``."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreplica.storage.capacity import MINIMUM_DISK, capacity, metadata_copies, minimum_disks
from qreplica.storage.driver import RaidLevel
from qreplica.storage.errors import DiskTooSmall, TooFewDisks
from qreplica.units import GIB, MIB, TIB


@pytest.mark.parametrize(
    ("level", "disks", "usable"),
    [
        (RaidLevel.JBOD, [4, 2, 1], 7),
        (RaidLevel.RAID0, [4, 4], 8),
        (RaidLevel.RAID0, [4, 2, 2], 6),
        (RaidLevel.RAID1, [4, 4], 4),
        (RaidLevel.RAID1, [4, 4, 4], 6),
        (RaidLevel.RAID1, [8, 2, 2], 4),
        (RaidLevel.RAID5, [4, 4, 4], 8),
        (RaidLevel.RAID5, [4, 4, 4, 4, 4], 16),
        (RaidLevel.RAID5, [4, 4, 2], 6),
        (RaidLevel.RAID6, [4, 4, 4, 4], 8),
        (RaidLevel.RAID6, [4, 4, 4, 4, 4, 4], 16),
        (RaidLevel.RAID6, [4, 4, 4, 1], 5),
        (RaidLevel.RAID10, [4, 4, 4, 4], 8),
        (RaidLevel.RAID10, [10, 1, 1, 1], 2),
        (RaidLevel.RAID10, [4, 4, 4, 4, 4], 10),
        (RaidLevel.MIRROR3, [4, 4, 4], 4),
        (RaidLevel.MIRROR3, [4, 4, 2, 2], 4),
        (RaidLevel.MIRROR4, [4, 4, 4, 4], 4),
    ],
)
def test_usable_is_what_the_level_leaves(level: RaidLevel, disks: list[int], usable: int) -> None:
    found = capacity(level, [disk * TIB for disk in disks])
    assert found.raw == sum(disks) * TIB
    assert found.usable == pytest.approx(usable * TIB, rel=0.002)
    assert found.usable <= usable * TIB


PARITY = {RaidLevel.RAID5, RaidLevel.RAID6}


@st.composite
def levels_and_disks(draw: st.DrawFn) -> tuple[RaidLevel, list[int]]:
    """A level and enough disks for it, the largest up to four times the smallest, as large as they must be."""
    level = draw(st.sampled_from(RaidLevel))
    smallest = draw(st.integers(MINIMUM_DISK, 20 * TIB))
    sizes = draw(st.lists(st.integers(smallest, 4 * smallest), min_size=minimum_disks(level), max_size=12))
    try:
        capacity(level, sizes)
    except DiskTooSmall as error:
        # What it says is needed is enough.
        sizes = [max(size, int(str(error.fields["minimum"]))) for size in sizes]
    return level, sizes


def test_disks_that_leave_nothing_to_promise_are_refused_with_the_size_that_does() -> None:
    sizes = [MINIMUM_DISK] * 3 + [696254464]
    with pytest.raises(DiskTooSmall, match="number 1") as caught:
        capacity(RaidLevel.MIRROR4, sizes)
    minimum = int(str(caught.value.fields["minimum"]))
    assert MINIMUM_DISK < minimum <= 2 * MINIMUM_DISK
    assert capacity(RaidLevel.MIRROR4, [max(size, minimum) for size in sizes]).promisable > 0


@given(levels_and_disks())
def test_the_reserve_leaves_something_to_promise_and_room_for_metadata(case: tuple[RaidLevel, list[int]]) -> None:
    level, sizes = case
    found = capacity(level, sizes)
    assert 0 < found.promisable < found.usable <= found.raw
    # Each copy of fragmented data needs some 5 % of metadata, two copies of it where data has only one.
    copies = metadata_copies(level) * found.usable / found.raw if level in PARITY else 1
    copies = 2 if level in {RaidLevel.JBOD, RaidLevel.RAID0} else copies
    assert found.reserve >= 0.05 * copies * found.promisable


@given(levels_and_disks(), st.randoms())
def test_the_order_of_disks_does_not_matter(case: tuple[RaidLevel, list[int]], chance: random.Random) -> None:
    level, sizes = case
    shuffled = list(sizes)
    chance.shuffle(shuffled)
    assert capacity(level, shuffled) == capacity(level, sizes)


@pytest.mark.parametrize("level", RaidLevel)
def test_a_disk_less_is_too_few(level: RaidLevel) -> None:
    with pytest.raises(TooFewDisks, match=f"needs at least {minimum_disks(level)} disks"):
        capacity(level, [GIB] * (minimum_disks(level) - 1))


def test_a_small_disk_is_named_with_both_sizes() -> None:
    with pytest.raises(DiskTooSmall, match="number 2 has 511 MiB and an RG needs disks of at least 512 MiB"):
        capacity(RaidLevel.RAID1, [GIB, 511 * MIB])
