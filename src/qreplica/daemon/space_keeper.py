"""Watches the room of every RG whose lease this controller holds, more closely than the maintainer could."""

import functools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import structlog

from qreplica.cluster.errors import LeaseLost
from qreplica.cluster.leases import Lease, Leases
from qreplica.errors import QReplicaError
from qreplica.iscsi.target.errors import PauseBusy, PauseTimedOut
from qreplica.iscsi.target.pause import paused
from qreplica.state.database import Database
from qreplica.storage import raid_groups
from qreplica.storage.driver import GroupHealth, StorageDriver
from qreplica.storage.space_keeping import Hold, SpaceKeeping

_LOOK_EVERY, _LOOK_OFTEN, _TIDY_EVERY = 0.1, 0.02, 1.0
#: How long a pause of the target daemons is waited for; one that is in the midst of a write goes on after it.
_PAUSE_PATIENCE = 0.5
_log = structlog.get_logger(__name__)


class SpaceKeeper:
    """The thread that does so. What fails is logged and tried again: the maintainer tells of an RG that is ill."""

    def __init__(self, database: Database, storage: StorageDriver, leases: Leases, hold: Hold) -> None:
        self._database = database
        self._storage = storage
        self._leases = leases
        self._hold = hold
        self._keeping: dict[str, tuple[Lease, SpaceKeeping]] = {}
        self._near = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="space", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End. Idempotent."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        tidied = 0.0
        while not self._ending.wait(_LOOK_OFTEN if self._near else _LOOK_EVERY):
            try:
                if time.monotonic() - tidied >= _TIDY_EVERY:
                    self._tidy()
                    tidied = time.monotonic()
                for lease, keeping in self._keeping.values():
                    if self._leases.held(lease.key) == lease:
                        keeping.look()
                self._near = any(keeping.is_near for _, keeping in self._keeping.values())
            except LeaseLost:
                _log.info("space left to the other controller")
            except QReplicaError as error:
                _log.warning("space not kept", reason=error.sentence)

    def _tidy(self) -> None:
        with self._database.session(read_only=True) as session:
            groups = [group.id for group in raid_groups.listing(session)]
        held = {group: lease for group in groups if (lease := self._leases.held(group)) and self._is_open(group)}
        self._keeping = {group: self._of(lease) for group, lease in held.items()}
        for _, keeping in self._keeping.values():
            keeping.tidy()

    def _of(self, lease: Lease) -> tuple[Lease, SpaceKeeping]:
        known = self._keeping.get(lease.key)
        if known is not None and known[0] == lease:
            return known
        fenced = self._database.fenced(lambda session: self._leases.confirm(session, lease))
        return lease, SpaceKeeping(fenced, self._storage, lease.key, self._hold)

    def _is_open(self, group: str) -> bool:
        return self._storage.group_status(group).health not in {GroupHealth.CLOSED, GroupHealth.FAILED}


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
