"""What a controller's REST API, peer API and workers are given: its parts, already made."""

import functools
from dataclasses import dataclass
from typing import Protocol

from qreplica.daemon.config import Config
from qreplica.daemon.other_controller import ask_to_reconcile
from qreplica.iscsi.target.driver import TargetDriver
from qreplica.iscsi.target.pause import paused
from qreplica.license.licensing import Licensing
from qreplica.replication.recovery import Recovery
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.state.database import Database
from qreplica.storage.driver import StorageDriver
from qreplica.storage.rolling_back import LetGo
from qreplica.storage.snapshots import Pause


class Wakeable(Protocol):
    """A loop that looks at the database now and then, and at once when woken."""

    def wake(self) -> None:
        """Look soon."""


class Reconciling(Wakeable, Protocol):
    """The loop that brings the target daemon to what the database says."""

    def reconcile_now(self) -> None:
        """Do it now and return when done. Raises the first failure that is new, after everything was tried."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one controller."""

    config: Config
    database: Database
    storage: StorageDriver
    target: TargetDriver
    locks: NodeLocks
    pause: Pause
    recovery: Recovery
    let_go: LetGo
    workers: Wakeable
    reconciler: Reconciling
    licensing: Licensing

    def reconcile_all(self) -> None:
        """Bring this controller's target daemon in line now, and have the other's be brought in line soon.

        Raises what ``Reconciling.reconcile_now`` does.
        """
        ask_to_reconcile(self.config.tgtd_pid_files[2 - self.config.controller])
        self.reconciler.reconcile_now()


def pause_all(config: Config) -> Pause:
    """Return what stops the target daemons of all of the subsystem's controllers: rule 9 wants them all still."""
    return functools.partial(paused, config.tgtd_pid_files)
