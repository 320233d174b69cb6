"""Runs a job's cycle: attempt after attempt, over one way and then the next, until it is done or given up."""

import itertools
from typing import Protocol

from qreplica.errors import QReplicaError
from qreplica.replication.attempt import Attempt, Parts
from qreplica.replication.errors import StaleOwner
from qreplica.replication.links import target_of
from qreplica.replication.recovery_errors import StaleEpoch
from qreplica.replication.retry import delays, passes
from qreplica.replication.store import JobStore
from qreplica.replication.transfer import Stop
from qreplica.state.database import Database
from qreplica.state.models import Severity


class StopEvent(Stop, Protocol):
    """What ``threading.Event`` offers."""

    def wait(self, timeout: float) -> bool:
        """Wait for the event; return whether it is set."""


def run(database: Database, parts: Parts, store: JobStore, stop: StopEvent) -> None:
    """Return when the cycle is committed, stopped, or failed so that somebody must act; the job's state says which.

    What passes by itself is waited for (state WAITING), on another way each time. Raises StaleOwner when another worker
    has taken over: then nothing more may be done.
    """
    waits = delays()
    above = 0
    for number in itertools.count():
        if stop.is_set():
            store.stopped()
            return
        before = _checkpoint(store)
        try:
            store.raise_epoch(above)
            target = target_of(database, store.job, store.controller)
            if Attempt(parts, store, target, target.ways[number % len(target.ways)], stop).run():
                parts.tell(Severity.INFO, "cycle-committed", "Its generation is a recovery point on the target now.")
                return
        except StaleOwner:
            raise
        except QReplicaError as error:
            if not passes(error):
                store.failed(error)
                parts.tell(Severity.ERROR, "job-failed", error.sentence)
                return
            above = _epoch_to_exceed(error)
            if store.waiting(error):
                parts.tell(Severity.WARNING, "job-waiting", f"It waits for a way to the target: {error.sentence}")
            if _checkpoint(store) > before:
                waits = delays()
            stop.wait(next(waits))


def _epoch_to_exceed(error: QReplicaError) -> int:
    """Return the target's epoch if that was why it refused: this subsystem's own database decides who the owner is."""
    current = error.fields.get("current", 0) if isinstance(error, StaleEpoch) else 0
    return current if isinstance(current, int) else 0


def _checkpoint(store: JobStore) -> int:
    begun = store.facts().begun
    return 0 if begun is None else begun.checkpoint
