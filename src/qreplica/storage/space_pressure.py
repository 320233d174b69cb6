"""When an RG must get space back, from what it holds and what it still owes; pure.

The *limit* of an RG is what its data may take: all that can be promised, and the working reserve. The reserve is for
what the engine holds beyond the promises: extents of which only a part is still used.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from qreplica.storage.capacity import working_reserve
from qreplica.storage.driver import DataUse
from qreplica.units import MIB

#: What is held too much by less than this is let be: as much is the trees' own, or was counted a moment too early.
NEWS = 4 * MIB
#: Room below which hosts wait until there is more; half of the working reserve where that is smaller. What hosts write
#: before they are made to wait does not shrink with the RG: of a very small reserve it is up to three quarters.
_HOLD_BELOW, _HOLD_BELOW_LEAST, _HOLD_BELOW_MOST_SHARE = 512 * MIB, 64 * MIB, 3 / 4
#: What is left of the working reserve when reclaiming in the background begins.
_BEGIN = 0.75
#: Bytes rewritten in a slice of the background: few at first, and the more the nearer the hosts' waiting comes.
_SLOWEST, _FASTEST = 8 * MIB, 128 * MIB


class Pressure(IntEnum):
    """NONE: nothing to do. RECLAIM: in the background. HOLD: hosts must wait for it."""

    NONE = 0
    RECLAIM = 1
    HOLD = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """What an RG may hold (``limit``), and how much of it is the ``working`` reserve, in bytes."""

    limit: int
    working: int

    @classmethod
    def of(cls, promisable: int) -> "Limits":
        """Return those of an RG that may promise so much."""
        working = working_reserve(promisable)
        return cls(promisable + working, working)

    def room(self, use: DataUse) -> int:
        """Return what is left to the limit; below 0 when it is passed."""
        return self.limit - use.held - use.coming

    def spare(self, use: DataUse) -> int:
        """Return what may be held for a while beside what hosts write, without their having to wait for it."""
        return max(0, self.room(use) - self.hold_below)

    @property
    def hold_below(self) -> int:
        """The room below which hosts wait."""
        least = min(_HOLD_BELOW_LEAST, int(self.working * _HOLD_BELOW_MOST_SHARE))
        return min(_HOLD_BELOW, max(self.working // 2, least))

    @property
    def begin_below(self) -> int:
        """The room below which reclaiming in the background begins, before hosts have to wait."""
        return max(int(self.working * _BEGIN), (self.working + self.hold_below) // 2)

    @property
    def let_go_on(self) -> int:
        """The room from which on hosts that wait may go on."""
        return self.hold_below + min(_HOLD_BELOW, self.working) // 16


@dataclass(frozen=True, slots=True)
class VdUse:
    """A VD's promise (``size`` and ``snapshot_space``), what is written of it, and what it and its snapshots hold."""

    vd: str
    size: int
    snapshot_space: int
    written: int
    held: int

    @property
    def beyond(self) -> int:
        """What is held beyond the live VD: by snapshots, or by nothing that is still used."""
        return max(0, self.held - self.written)

    @property
    def owed(self) -> int:
        """What may still be written to it and its snapshots without another promise."""
        return max(0, self.size - self.written) + max(0, self.snapshot_space - self.beyond)

    @property
    def overdrawn(self) -> int:
        """What its snapshots, and what is held for nothing, take beyond the snapshot space."""
        return max(0, self.beyond - self.snapshot_space)

    @property
    def exceeding(self) -> int:
        """What it and its snapshots hold beyond all that it was promised, so that it is somebody else's."""
        return max(0, self.held - self.size - self.snapshot_space)


def judge(limits: Limits, room: int, vds: Iterable[VdUse]) -> Pressure:
    """Return how pressing it is for an RG with ``vds`` that has ``room`` left to its limit."""
    if room < limits.hold_below:
        return Pressure.HOLD
    if room - sum(vd.owed for vd in vds) < limits.begin_below:
        return Pressure.RECLAIM
    return Pressure.NONE


def slice_budget(limits: Limits, room: int) -> int:
    """Return how many bytes the next slice of reclaiming in the background should rewrite."""
    begin = limits.begin_below
    nearness = min(1.0, max(0.0, (begin - room) / max(1, begin - limits.hold_below)))
    return int(_SLOWEST + nearness * (_FASTEST - _SLOWEST))
