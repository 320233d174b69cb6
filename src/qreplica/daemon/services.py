"""What a controller's REST API, peer API and workers are given: its parts, already made."""

import functools
from dataclasses import dataclass
from typing import Protocol

import structlog

from qreplica.daemon import asking
from qreplica.daemon.config import Config
from qreplica.iscsi.target.driver import TargetDriver
from qreplica.iscsi.target.pause import paused
from qreplica.license.licensing import Licensing
from qreplica.replication.failing_over import FailingOver
from qreplica.replication.giving_way import GivingWay
from qreplica.replication.promotion import Promoter
from qreplica.replication.recovery import Recovery
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.replication.write_protection import WriteProtection
from qreplica.state.database import Database
from qreplica.storage.driver import StorageDriver
from qreplica.storage.rolling_back import LetGo
from qreplica.storage.snapshots import Pause

_log = structlog.get_logger(__name__)
#: How long the other controller may take to follow a change; one that is well does so in a tenth of that.
_OTHER_SECONDS = 5.0


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
    promoter: Promoter
    giving_way: GivingWay
    failing_over: FailingOver
    write_protection: WriteProtection
    let_go: LetGo
    workers: Wakeable
    reconciler: Reconciling
    licensing: Licensing

    def reconcile(self) -> None:
        """Bring the target daemons of both controllers in line with the database; return when hosts find the news.

        A controller that hangs is not waited for long: it follows when it wakes. Raises what
        ``Reconciling.reconcile_now`` does.
        """
        others = self.config.tgtd_pid_files[2 - self.config.controller]
        request = asking.ask(others)
        self.reconciler.reconcile_now()
        if not asking.answered(others, request, _OTHER_SECONDS):
            _log.warning("the other controller is not in line", seconds=_OTHER_SECONDS)


def pause_all(config: Config) -> Pause:
    """Return what stops the target daemons of all of the subsystem's controllers: rule 9 wants them all still."""
    return functools.partial(paused, config.tgtd_pid_files)
