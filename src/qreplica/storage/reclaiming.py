"""Goes through the VDs of an RG and gets back what they hold for nothing, a slice at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from qreplica.errors import QReplicaError
from qreplica.storage.driver import StorageDriver
from qreplica.storage.errors import GroupFull, GroupLocked, StorageCommandFailed, VdMissing
from qreplica.storage.space_pressure import NEWS, VdUse

#: What each rewritten byte must give back: first the extents that are cheap to clear, in the end any.
_WORTHS = (1.0, 0.25, 0.05, 0.0)


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
    #: Why the last pass over a VD ended before its end; until one goes well.
    failed: dict[str, QReplicaError] = field(default_factory=dict)
    _rounds: dict[str, _Round] = field(default_factory=dict)
    #: By how much each VD was overdrawn when nothing could be got back from it, or a pass failed.
    _in_vain: dict[str, int] = field(default_factory=dict)

    def slice(self, vds: Sequence[VdUse], *, budget: int, room: int, seconds: float) -> int | None:
        """Do one slice on the VD that is overdrawn most; return the bytes freed, None if there is none left to try.

        Rewrites about ``budget`` bytes and never more than ``room``, for ``seconds``. A VD of which a slice fails is
        passed over from then on, and ``failed`` says why. Raises what the driver does when the RG is to blame.
        """
        for vd in sorted(vds, key=lambda vd: vd.overdrawn, reverse=True):
            if vd.overdrawn <= self._in_vain.get(vd.vd, 0) + NEWS:
                continue
            try:
                return self._slice_of(vd, budget, room, seconds)
            except VdMissing:
                self._rounds.pop(vd.vd, None)
            except GroupLocked:
                # Nothing is known of the VD by that: the next slice may do better.
                return 0
            except (GroupFull, StorageCommandFailed) as error:
                self.failed[vd.vd] = error
                self._in_vain[vd.vd] = vd.overdrawn
                del self._rounds[vd.vd]
        return None

    def _slice_of(self, vd: VdUse, budget: int, room: int, seconds: float) -> int:
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
        self.failed.pop(vd.vd, None)
        if at.freed < NEWS:
            self._in_vain[vd.vd] = vd.overdrawn
        else:
            self._in_vain.pop(vd.vd, None)

    def is_exhausted(self, vd: VdUse) -> bool:
        """Tell whether the last pass over the VD went well and got nothing back, and it holds little more since."""
        known = self._in_vain.get(vd.vd)
        return known is not None and vd.vd not in self.failed and vd.overdrawn <= known + NEWS

    def look_at_all_again(self) -> None:
        """Look at every VD again, also where it was in vain: a snapshot that shared its extents may be gone."""
        self._in_vain.clear()
