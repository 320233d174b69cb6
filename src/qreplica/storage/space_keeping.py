"""Keeps an RG able to take the writes that it promised: what is held for nothing is got back before room runs out.

Hosts are made to wait only when the background did not keep up, and for a second at most at a time (four when hardly
any room is left), whatever the engine does meanwhile: a thread of its own asks it for what may take long.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager

from qreplica.state.database import Database
from qreplica.storage.driver import StorageDriver
from qreplica.storage.making_room import MakingRoom, limits_of, uses
from qreplica.storage.space_pressure import Limits, Pressure, judge

#: In seconds; the second where less than a quarter of the room is left below which hosts wait. A target daemon that
#: stands still for five is woken by its supervisor.
_LONGEST_HOLD, _LONGEST_IN_NEED = 1.0, 4.0

#: Makes hosts wait as long as the context lasts, as far as that can be done.
Hold = Callable[[], AbstractContextManager[object]]


class SpaceKeeping:
    """For one open RG, whose maintenance lease the caller holds. One thread at a time, which ends it with ``close``.

    Its methods raise what the driver and the database do, also what those did meanwhile in its own thread.
    """

    def __init__(self, db: Database, driver: StorageDriver, group: str, hold: Hold) -> None:
        self._db = db
        self._driver = driver
        self._group = group
        self._hold = hold
        self._making = MakingRoom(db, driver, group)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="room")
        self._work: dict[str, Future[None]] = {}
        self._limits: Limits | None = None

    def look(self) -> bool:
        """See whether room runs out, and if so have some made while hosts wait.

        To be called ten times a second, and more often when it returns True: hosts may soon have to wait.
        """
        self._collect()
        limits = self._limits or self._read_limits()
        if limits is None:
            return False
        room = self._room(limits)
        if room < limits.hold_below and not self._making.is_hopeless:
            making = self._begin("make", self._making.make, limits)
            with self._hold():
                wait([making], timeout=_LONGEST_HOLD)
                if not making.done() and self._room(limits) < limits.hold_below // 4:
                    wait([making], timeout=_LONGEST_IN_NEED - _LONGEST_HOLD)
            self._collect()
        return room < 2 * limits.hold_below

    def tidy(self) -> Pressure:
        """Begin a slice of reclaiming in the background if there is need; to be called every second or so."""
        self._collect()
        limits = self._read_limits()
        if limits is None:
            return Pressure.NONE
        pressure = judge(limits, self._room(limits), uses(self._db, self._driver, self._group))
        if pressure is not Pressure.NONE and not self._work:
            self._begin("tidy", self._making.in_background, limits)
        return pressure

    def close(self, *, patiently: bool = True) -> None:
        """End its thread; wait for what it is at if ``patiently``. Idempotent."""
        self._worker.shutdown(wait=patiently, cancel_futures=True)

    def _begin(self, name: str, work: Callable[[Limits], None], limits: Limits) -> Future[None]:
        """Have the thread do it next, unless it is at it already."""
        if name not in self._work:
            self._work[name] = self._worker.submit(work, limits)
        return self._work[name]

    def _collect(self) -> None:
        """Raise what work that has ended failed with."""
        ended = [name for name, work in self._work.items() if work.done()]
        for work in [self._work.pop(name) for name in ended]:
            work.result()

    def _room(self, limits: Limits) -> int:
        return limits.room(self._driver.data_use(self._group))

    def _read_limits(self) -> Limits | None:
        self._limits = limits_of(self._db, self._group)
        return self._limits
