"""How large a run of the bench is."""

from dataclasses import dataclass

from qreplica.units import GIB, MIB


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes in bytes.

    ``vd`` is copied in full and then changed in ``changes`` blocks of 4 KiB; ``ram`` is what is copied on tmpfs.
    ``growth`` is the VD that is larger, with one block written in every ``growth_step`` bytes. ``space`` is the RG's
    worth of VDs that are overwritten; ``jobs`` is what sixteen jobs replicate together. ``visits`` is how often a page
    is looked at. ``rounds`` are measured, after one that only warms up.
    """

    vd: int
    ram: int
    changes: int
    growth: int
    space: int
    jobs: int
    growth_step: int = MIB
    snapshots: int = 40
    visits: int = 1000
    rounds: int = 3


FULL = Scale(vd=8 * GIB, ram=4 * GIB, changes=20_000, growth=128 * GIB, space=8 * GIB, jobs=4 * GIB)
QUICK = Scale(
    vd=2 * GIB, ram=2 * GIB, changes=5_000, growth=32 * GIB, space=GIB, jobs=3 * GIB, snapshots=20, visits=100
)
#: For the bench's own tests: each figure comes about, and means nothing.
TINY = Scale(
    vd=64 * MIB,
    ram=32 * MIB,
    changes=200,
    growth=256 * MIB,
    space=64 * MIB,
    jobs=192 * MIB,
    snapshots=3,
    visits=8,
    rounds=1,
)
