"""Makes room in an RG: what is held for nothing is given back, and in the end a snapshot is let go of.

Space promised to a VD is never used by snapshots (rule 8), and yet none goes on a guess: its VD and the VD's snapshots
hold more than they were promised, by a settled count; all that the VD holds for nothing was tried, without an error;
and nothing that was deleted is still being freed. One goes at a time, automatic ones and oldest first; pinned ones
never do (rule 5).
"""

import time

from sqlalchemy import select

from qreplica.events import log
from qreplica.state.database import Database
from qreplica.state.models import RaidGroup, Severity, VirtualDisk
from qreplica.storage import overflow
from qreplica.storage.driver import StorageDriver
from qreplica.storage.errors import VdMissing
from qreplica.storage.reclaiming import Reclaiming
from qreplica.storage.space_pressure import NEWS, Limits, VdUse, slice_budget
from qreplica.units import MIB, format_size

#: How long (seconds) room is made in one go, so that it is looked at again what there is to do.
_ROUND, _BETWEEN_LOOKS = 1.0, 0.02
#: How long a slice in the background takes at most.
_SLICE = 0.25
_HELD_BUDGET, _LEAST_ROOM = 128 * MIB, 64 * MIB
#: How long what was deleted may take to be freed before hosts are no longer made to wait for it.
_FREEING = 30.0
#: How long after everything was tried in vain it is tried again, in seconds.
_HOPELESS = 5.0
_ALL_AGAIN = 60.0


class MakingRoom:
    """For one open RG. One thread at a time, but for ``is_hopeless``; raises what the driver and the database do."""

    def __init__(self, db: Database, driver: StorageDriver, group: str) -> None:
        self._db = db
        self._driver = driver
        self._group = group
        self._reclaiming = Reclaiming(driver, group)
        self._hopeless_since: float | None = None
        self._freeing_since: float | None = None
        self._all_again = 0.0
        #: What was told of VDs that nothing can be got back from.
        self._told: dict[str, str] = {}

    @property
    def is_hopeless(self) -> bool:
        """Whether all was tried in vain a moment ago, so that it is no use to have hosts wait."""
        since = self._hopeless_since
        return since is not None and time.monotonic() - since < _HOPELESS

    def in_background(self, limits: Limits) -> None:
        """Do a slice of reclaiming, the larger the less room there is."""
        if time.monotonic() - self._all_again > _ALL_AGAIN:
            self._reclaiming.look_at_all_again()
            self._all_again = time.monotonic()
        self._slice(limits, uses(self._db, self._driver, self._group), slice_budget(limits, self._room(limits)), _SLICE)

    def make(self, limits: Limits) -> None:
        """Make room until hosts may go on, for a second or as long as the step of the engine that is under way lasts.

        Lets one snapshot go at most.
        """
        until = time.monotonic() + _ROUND
        self._driver.stop_moving(self._group)
        # What was written already must find its place before it is known how much is held for nothing.
        self._driver.let_go(self._group)
        let_one_go = False
        while (room := self._room(limits)) < limits.let_go_on:
            if (left := until - time.monotonic()) <= 0:
                return
            vds = uses(self._db, self._driver, self._group)
            if self._slice(limits, vds, _HELD_BUDGET, left) is not None:
                continue
            if self._driver.freeing(self._group):
                if self._waited_long():
                    self._give_up_for_now(limits, "what was deleted is not free yet, or a program has it open")
                    return
                self._let_go()
                continue
            self._freeing_since = None
            self._let_go()
            # Also what was freed while there was nothing else to do counts: then the rest may be on its way.
            if self._room(limits) > room:
                continue
            if let_one_go:
                return
            let_one_go = self._let_one_go(vds)
            if not let_one_go:
                self._give_up_for_now(limits, "there is nothing more to let go of")
                return
        self._hopeless_since = self._freeing_since = None

    def _room(self, limits: Limits) -> int:
        return limits.room(self._driver.data_use(self._group))

    def _slice(self, limits: Limits, vds: list[VdUse], budget: int, seconds: float) -> int | None:
        # Beyond the limit lies what metadata has not taken yet: some of it may be used for a moment.
        room = max(self._room(limits), _LEAST_ROOM)
        freed = self._reclaiming.slice(vds, budget=min(budget, room), room=room, seconds=seconds)
        self._tell_failures()
        return freed

    def _waited_long(self) -> bool:
        self._freeing_since = self._freeing_since or time.monotonic()
        return time.monotonic() - self._freeing_since > _FREEING

    def _let_go(self) -> None:
        """Wait a little, and have the engine free what it can."""
        time.sleep(_BETWEEN_LOOKS)
        self._driver.let_go(self._group)

    def _let_one_go(self, vds: list[VdUse]) -> bool:
        """Let the oldest snapshot go of the VD that exceeds its promise most; tell whether one went."""
        for vd in sorted(vds, key=lambda vd: vd.exceeding, reverse=True):
            if vd.exceeding <= NEWS:
                break
            if not self._reclaiming.is_exhausted(vd):
                continue
            try:
                held = self._driver.space_used(self._group, vd.vd).total
            except VdMissing:
                continue
            if overflow.let_oldest_go(self._db, self._driver, vd.vd, held):
                self._reclaiming.look_at_all_again()
                return True
        return False

    def _give_up_for_now(self, limits: Limits, why: str) -> None:
        if self._hopeless_since is None:
            with self._db.session() as session:
                group = session.get(RaidGroup, self._group)
                if group is None:
                    return
                room = format_size(max(0, self._room(limits)))
                told = (
                    f"RAID group {group.name} has {room} of room left for {format_size(limits.working)} that it should "
                    f"have, and {why}: hosts' writes may fail; delete snapshots or jobs that hold them, give their "
                    f"virtual disks more snapshot space, or “qreplica rg grow {group.name} DISK”."
                )
                log.record(session, Severity.ERROR, "space-runs-out", f"rg {group.name}", told)
        self._reclaiming.look_at_all_again()
        self._hopeless_since = time.monotonic()

    def _tell_failures(self) -> None:
        """Write down what went wrong with a VD, once until it goes wrong in another way."""
        failures = {vd: error.sentence for vd, error in self._reclaiming.failed.items()}
        news = {vd: sentence for vd, sentence in failures.items() if self._told.get(vd) != sentence}
        if news:
            with self._db.session() as session:
                for vd in filter(None, (session.get(VirtualDisk, vd_id) for vd_id in news)):
                    told = (
                        f"What virtual disk {vd.name} holds for nothing was not given back, and is tried again later "
                        f"({news[vd.id]}): if blocks of it cannot be read, “qreplica rg scrub start "
                        f"{vd.raid_group.name}” mends those that it can."
                    )
                    log.record(session, Severity.WARNING, "space-not-given-back", f"vd {vd.name}", told)
        self._told = failures


def limits_of(db: Database, group: str) -> Limits | None:
    """Return what the RG may hold; None when it was deleted."""
    with db.session(read_only=True) as session:
        row = session.get(RaidGroup, group)
        return None if row is None else Limits.of(row.usable - row.reserve)


def uses(db: Database, driver: StorageDriver, group: str) -> list[VdUse]:
    """Return what the VDs of the RG hold, by what the engine counted last."""
    with db.session(read_only=True) as session:
        vds = list(
            session.scalars(select(VirtualDisk).where(VirtualDisk.raid_group_id == group, ~VirtualDisk.incomplete))
        )
    return [use for vd in vds if (use := _use(driver, vd)) is not None]


def _use(driver: StorageDriver, vd: VirtualDisk) -> VdUse | None:
    try:
        held = driver.space_used(vd.raid_group_id, vd.id, settled=False).total
        written = driver.allocated(vd.raid_group_id, vd.id)
    except VdMissing:
        return None
    return VdUse(vd.id, vd.size, vd.snapshot_space, written, held)
