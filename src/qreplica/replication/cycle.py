"""Runs a job's cycle: attempt after attempt, over one path and then another, until it is done or given up."""

from collections.abc import Callable
from typing import Protocol

from qreplica.errors import QReplicaError
from qreplica.replication.attempt import Attempt, Parts
from qreplica.replication.errors import StaleOwner
from qreplica.replication.links import target_of
from qreplica.replication.paths import Paths
from qreplica.replication.recovery_errors import StaleEpoch
from qreplica.replication.retry import LONGEST, delays, passes
from qreplica.replication.store import JobStore
from qreplica.replication.transfer import Stop
from qreplica.state.database import Database
from qreplica.state.models import Severity

_LOOK_EVERY = 1.0


class StopEvent(Stop, Protocol):
    """What ``threading.Event`` offers."""

    def wait(self, timeout: float) -> bool:
        """Wait for the event; return whether it is set."""


def run(database: Database, parts: Parts, store: JobStore, stop: StopEvent) -> None:
    """Return when the cycle is committed, stopped, or failed so that somebody must act; the job's state says which.

    When a path fails it goes on at once over another one. When none is left, what passes by itself is waited for (state
    WAITING), though only for a while where other jobs are queued: those must not wait for what may never come.
    Raises StaleOwner when another worker has taken over: then nothing more may be done.
    """
    paths = Paths(database, store, parts.tell)
    waits, above = delays(), 0
    while not stop.is_set():
        before = _checkpoint(store)
        try:
            store.raise_epoch(above)
            target = target_of(database, store.job, store.controller)
            if Attempt(parts, store, paths, target, paths.next(target), stop).run():
                what = "is a recovery point on the target" if target.plain is None else "is what its plain target holds"
                parts.tell(Severity.INFO, "cycle-committed", f"Its generation {what} now.")
                return
        except StaleOwner:
            raise
        except QReplicaError as error:
            above = _epoch_to_exceed(error)
            if _checkpoint(store) > before:
                waits = delays()
            if paths.leave(error):
                continue
            if not passes(error) and not paths.another_may_come_back:
                store.failed(error)
                parts.tell(Severity.ERROR, "job-failed", error.sentence)
                return
            if store.waiting(error):
                parts.tell(Severity.WARNING, "job-waiting", f"It waits for a way to the target: {error.sentence}")
            seconds = next(waits)
            if seconds >= LONGEST and store.gave_way():
                parts.tell(Severity.INFO, "job-queued", "It leaves its place to a job that is queued, and comes last.")
                return
            _wait(stop, seconds, paths.one_is_back)
    store.stopped()


def _wait(stop: StopEvent, seconds: float, may_go_on: Callable[[], bool]) -> None:
    """Wait, though no longer than until there is a reason to go on or to stop."""
    while seconds > 0 and not stop.is_set() and not may_go_on():
        stop.wait(min(seconds, _LOOK_EVERY))
        seconds -= _LOOK_EVERY


def _epoch_to_exceed(error: QReplicaError) -> int:
    """Return the target's epoch if that was why it refused: this subsystem's own database decides who the owner is."""
    current = error.fields.get("current", 0) if isinstance(error, StaleEpoch) else 0
    return current if isinstance(current, int) else 0


def _checkpoint(store: JobStore) -> int:
    begun = store.facts().begun
    return 0 if begun is None else begun.checkpoint
