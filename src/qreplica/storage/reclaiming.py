"""Goes through the VDs of an RG and gets back what they hold for nothing, a slice at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from qreplica.storage.driver import StorageDriver
from qreplica.storage.space_pressure import VdUse
from qreplica.units import MIB

#: What each rewritten byte must give back: first the extents that are cheap to clear, in the end any.
_WORTHS = (1.0, 0.25, 0.05, 0.0)
#: A VD that was gone through in vain is looked at again when it holds so much more.
_NEWS = 4 * MIB


@dataclass(slots=True)
class _Round:
    """Where in a VD reclaiming is: what it demands, from where on, and what this pass has freed."""

    worth: int = 0
    start: int = 0
    freed: int = 0


@dataclass(slots=True)
class Reclaiming:
    """What is remembered between slices for one RG; one thread at a time."""

    driver: StorageDriver
    group: str
    _rounds: dict[str, _Round] = field(default_factory=dict)
    #: By how much each VD was overdrawn when nothing could be got back from it.
    _in_vain: dict[str, int] = field(default_factory=dict)

    def slice(self, vds: Sequence[VdUse], *, budget: int, room: int, seconds: float) -> int | None:
        """Do one slice on the VD that is overdrawn most; return the bytes freed, None if there is none left to try.

        Rewrites about ``budget`` bytes and never more than ``room``, for ``seconds``. Raises what the driver does.
        """
        candidates = [vd for vd in vds if vd.overdrawn > self._in_vain.get(vd.vd, 0) + _NEWS]
        if not candidates:
            return None
        vd = max(candidates, key=lambda vd: vd.overdrawn)
        at = self._rounds.setdefault(vd.vd, _Round())
        done = self.driver.reclaim(
            self.group, vd.vd, start=at.start, budget=budget, room=room, worth=_WORTHS[at.worth], seconds=seconds
        )
        at.freed += done.freed
        if done.next is not None:
            at.start = done.next
        else:
            self._end_pass(vd, at)
        return done.freed

    def _end_pass(self, vd: VdUse, at: _Round) -> None:
        if at.worth + 1 < len(_WORTHS):
            self._rounds[vd.vd] = _Round(worth=at.worth + 1, freed=at.freed)
            return
        del self._rounds[vd.vd]
        if at.freed < _NEWS:
            self._in_vain[vd.vd] = vd.overdrawn
        else:
            self._in_vain.pop(vd.vd, None)

    def forget_failures(self) -> None:
        """Look at every VD again: a snapshot that shared its extents may be gone."""
        self._in_vain.clear()
