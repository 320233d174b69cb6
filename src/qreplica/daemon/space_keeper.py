"""Watches the room of every RG whose lease this controller holds, more closely than the maintainer could."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy.exc import NoResultFound

from qreplica.cluster.errors import LeaseLost
from qreplica.cluster.leases import Lease, Leases
from qreplica.daemon.background import Background
from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.iscsi.target.errors import PauseBusy, PauseTimedOut
from qreplica.iscsi.target.pause import paused
from qreplica.state.database import Database
from qreplica.state.models import RaidGroup, Severity
from qreplica.storage import raid_groups
from qreplica.storage.driver import GroupHealth, StorageDriver
from qreplica.storage.errors import GroupClosed
from qreplica.storage.space_keeping import Hold, SpaceKeeping

_LOOK_EVERY, _LOOK_OFTEN, _TIDY_EVERY = 0.1, 0.02, 1.0
#: How long (seconds) an RG is left alone after something failed with it, and how long that must not happen again for it
#: to be told of anew.
_REST, _QUIET = 1.0, 60.0
#: How long a pause of the target daemons is waited for; one that is in the midst of a write goes on after it.
_PAUSE_PATIENCE = 0.5
_log = structlog.get_logger(__name__)
_T = TypeVar("_T")


class SpaceKeeper(Background):
    """The thread that does so. One RG's failure is an event, told once until it changes, and holds no other up."""

    def __init__(self, database: Database, storage: StorageDriver, leases: Leases, hold: Hold) -> None:
        super().__init__("space")
        self._database = database
        self._storage = storage
        self._leases = leases
        self._hold = hold
        self._keeping: dict[str, tuple[Lease, SpaceKeeping]] = {}
        #: What was told of an RG last, by what failed, and when that was last so.
        self._told: dict[tuple[str, str], tuple[str, float]] = {}
        self._resting: dict[str, float] = {}
        self._near = False

    def stop(self) -> None:
        """End, after what the engine is asked for just now. Idempotent."""
        super().stop()
        for _, keeping in self._keeping.values():
            keeping.close()

    def _run(self) -> None:
        tidied = 0.0
        while not self._ending.wait(_LOOK_OFTEN if self._near else _LOOK_EVERY):
            if time.monotonic() - tidied >= _TIDY_EVERY:
                tidied = time.monotonic()
                self.tidy()
            self.look()

    def tidy(self) -> None:
        """Find the RGs that are to be kept, and have each tidied."""
        try:
            self._find()
        except QReplicaError as error:
            # The database is busy or its disk is full: those that are known are kept on.
            _log.warning("raid groups not read", reason=error.sentence)
        for group, (_, keeping) in self._keeping.items():
            self._attempt(group, "tidy", keeping.tidy)

    def look(self) -> None:
        """Look at the room of each RG whose lease is still held."""
        near = False
        for group, (lease, keeping) in self._keeping.items():
            if self._leases.held(group) == lease and self._resting.get(group, 0.0) <= time.monotonic():
                near |= self._attempt(group, "look", keeping.look) or False
        self._near = near

    def _attempt(self, group: str, what: str, work: Callable[[], _T]) -> _T | None:
        """Do it for an RG; what goes wrong with it, or with the engine, must not end the controller."""
        try:
            return work()
        except LeaseLost:
            _log.info("space left to the other controller", raid_group=group)
        except GroupClosed:
            # By whom and why is told where it is closed; it is left alone from the next time on that RGs are found.
            _log.info("space of a closed raid group not kept", raid_group=group)
        except QReplicaError as error:
            self._tell(group, what, error.kind, error.sentence)
        except (OSError, NoResultFound) as error:
            self._tell(group, what, "space-not-kept", f"The room of the RAID group was not looked after ({error}).")
        self._resting[group] = time.monotonic() + _REST
        return None

    def _tell(self, group: str, what: str, kind: str, sentence: str) -> None:
        told, last = self._told.get((group, what), ("", 0.0))
        self._told[group, what] = (told, time.monotonic())
        if told == sentence and time.monotonic() - last < _QUIET:
            return
        _log.warning("space not kept", raid_group=group, reason=sentence)
        try:
            with self._database.session() as session:
                row = session.get(RaidGroup, group)
                if row is not None:
                    log.record(session, Severity.ERROR, kind, f"rg {row.name}", sentence)
            self._told[group, what] = (sentence, time.monotonic())
        except QReplicaError as error:
            _log.warning("event not written", reason=error.sentence)

    def _find(self) -> None:
        with self._database.session(read_only=True) as session:
            groups = [group.id for group in raid_groups.listing(session)]
        leases = [lease for group in groups if (lease := self._leases.held(group)) and self._is_open(group)]
        found = {lease.key: self._of(lease) for lease in leases}
        left = [one for one in self._keeping.values() if one not in found.values()]
        self._keeping = found
        for _, keeping in left:
            keeping.close(patiently=False)

    def _of(self, lease: Lease) -> tuple[Lease, SpaceKeeping]:
        known = self._keeping.get(lease.key)
        if known is not None and known[0] == lease:
            return known
        fenced = self._database.fenced(lambda session: self._leases.confirm(session, lease))
        return lease, SpaceKeeping(fenced, self._storage, lease.key, self._hold)

    def _is_open(self, group: str) -> bool:
        status = self._attempt(group, "status", lambda: self._storage.group_status(group))
        return status is not None and status.health not in {GroupHealth.CLOSED, GroupHealth.FAILED}


def hold_hosts(pid_files: Sequence[Path]) -> Hold:
    """Return what makes hosts wait by stopping the target daemons, or does not when that takes too long."""
    return functools.partial(_held, pid_files)


@contextmanager
def _held(pid_files: Sequence[Path]) -> Iterator[None]:
    with ExitStack() as stack:
        # A write that waits for room keeps its daemon from standing still: then it is as good as held.
        with suppress(PauseBusy, PauseTimedOut):
            stack.enter_context(paused(pid_files, _PAUSE_PATIENCE))
        yield
