"""Keeps an RG able to take every write that it promised: what is held for nothing is got back before room runs out.

Hosts are made to wait only when the background did not keep up, and for a second at most at a time. When there is
nothing left to get back, snapshots beyond their VD's snapshot space are let go of, oldest and automatic ones first, for
space promised to a VD is never used by snapshots (rule 8); pinned ones never are (rule 5).
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import select

from qreplica.events import log
from qreplica.state.database import Database
from qreplica.state.models import RaidGroup, Severity, VirtualDisk
from qreplica.storage import overflow
from qreplica.storage.driver import StorageDriver
from qreplica.storage.errors import GroupFull, VdMissing
from qreplica.storage.reclaiming import Reclaiming
from qreplica.storage.space_pressure import Limits, Pressure, VdUse, judge, slice_budget
from qreplica.units import MIB, format_size

_LONGEST_HOLD, _BETWEEN_LOOKS = 1.0, 0.02
#: How long a slice in the background takes at most, so that room is looked at between slices.
_SLICE = 0.25
_HELD_BUDGET, _LEAST_ROOM = 128 * MIB, 64 * MIB
#: How long after everything was tried in vain it is tried again, in seconds.
_HOPELESS = 5.0
_ALL_AGAIN = 60.0

#: Makes hosts wait as long as the context lasts, as far as that can be done.
Hold = Callable[[], AbstractContextManager[object]]


class SpaceKeeping:
    """For one open RG, whose maintenance lease the caller holds. One thread at a time; raises what the driver does."""

    def __init__(self, db: Database, driver: StorageDriver, group: str, hold: Hold) -> None:
        self._db = db
        self._driver = driver
        self._group = group
        self._hold = hold
        self._reclaiming = Reclaiming(driver, group)
        self._limits: Limits | None = None
        self._hopeless_since: float | None = None
        self._all_again = 0.0

    def look(self) -> None:
        """See whether room runs out, and if so make some while hosts wait.

        To be called ten times a second, and more often while ``is_near``.
        """
        limits = self._limits or self._read_limits()
        if self._room(limits) >= limits.hold_below or self._is_hopeless():
            return
        with self._hold():
            # What was written already must find its place before it is known how much is held for nothing.
            self._driver.let_go(self._group)
            self._make_room(limits)

    @property
    def is_near(self) -> bool:
        """Whether hosts may soon have to wait."""
        limits = self._limits or self._read_limits()
        return self._room(limits) < 2 * limits.hold_below

    def tidy(self) -> Pressure:
        """Do a slice of reclaiming in the background if there is need; to be called every second or so."""
        limits = self._read_limits()
        room = self._room(limits)
        vds = self._uses()
        pressure = judge(limits, room, vds)
        if pressure is not Pressure.NONE:
            if time.monotonic() - self._all_again > _ALL_AGAIN:
                self._reclaiming.forget_failures()
                self._all_again = time.monotonic()
            self._slice(limits, vds, slice_budget(limits, room), _SLICE)
        return pressure

    def _make_room(self, limits: Limits) -> None:
        deadline = time.monotonic() + _LONGEST_HOLD
        while self._room(limits) < limits.let_go_on and time.monotonic() < deadline:
            vds = self._uses()
            if self._slice(limits, vds, _HELD_BUDGET, deadline - time.monotonic()) is not None:
                continue
            overdrawn = [vd.vd for vd in vds if vd.overdrawn]
            if overflow.let_oldest_go(self._db, self._driver, overdrawn):
                self._reclaiming.forget_failures()
            elif not self._freed_meanwhile(limits):
                self._give_up_for_now(limits)
                return
        self._hopeless_since = None

    def _slice(self, limits: Limits, vds: list[VdUse], budget: int, seconds: float) -> int | None:
        # Beyond the limit lies what metadata has not taken yet: some of it may be used for a moment.
        room = max(self._room(limits), _LEAST_ROOM)
        try:
            return self._reclaiming.slice(vds, budget=min(budget, room), room=room, seconds=seconds)
        except (GroupFull, VdMissing):
            return None

    def _freed_meanwhile(self, limits: Limits) -> bool:
        """Wait a little for what the engine frees in the background, such as deleted snapshots."""
        before = self._room(limits)
        time.sleep(_BETWEEN_LOOKS)
        self._driver.let_go(self._group)
        return self._room(limits) > before

    def _is_hopeless(self) -> bool:
        return self._hopeless_since is not None and time.monotonic() - self._hopeless_since < _HOPELESS

    def _give_up_for_now(self, limits: Limits) -> None:
        if self._hopeless_since is None:
            with self._db.session() as session:
                group = session.get_one(RaidGroup, self._group)
                room = format_size(max(0, self._room(limits)))
                told = (
                    f"RAID group {group.name} has {room} of room left for {format_size(limits.working)} that it should "
                    "have, and nothing more to let go of: hosts' writes may fail; delete snapshots or jobs that hold "
                    f"them, give their virtual disks more snapshot space, or “qreplica rg grow {group.name} DISK”."
                )
                log.record(session, Severity.ERROR, "space-runs-out", f"rg {group.name}", told)
        self._reclaiming.forget_failures()
        self._hopeless_since = time.monotonic()

    def _room(self, limits: Limits) -> int:
        use = self._driver.data_use(self._group)
        return limits.limit - use.held - use.coming

    def _read_limits(self) -> Limits:
        with self._db.session(read_only=True) as session:
            group = session.get_one(RaidGroup, self._group)
            self._limits = Limits.of(group.usable - group.reserve)
        return self._limits

    def _uses(self) -> list[VdUse]:
        with self._db.session(read_only=True) as session:
            chosen = select(VirtualDisk).where(VirtualDisk.raid_group_id == self._group, ~VirtualDisk.incomplete)
            vds = list(session.scalars(chosen))
        return [use for vd in vds if (use := self._use(vd)) is not None]

    def _use(self, vd: VirtualDisk) -> VdUse | None:
        try:
            held = self._driver.space_used(self._group, vd.id, settled=False).total
            written = self._driver.allocated(self._group, vd.id)
        except VdMissing:
            return None
        return VdUse(vd.id, vd.size, vd.snapshot_space, written, held)
