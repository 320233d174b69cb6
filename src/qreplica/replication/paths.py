"""Which of a job's paths carries the data: one at a time, the others stand by (fail-over).

A cycle stays on the path that it is on while that works, also when a preferred one is back.
"""

from collections.abc import Sequence

from sqlalchemy import select

from qreplica.errors import QReplicaError
from qreplica.replication.errors import PathRemoved
from qreplica.replication.links import Way
from qreplica.replication.path_states import fail
from qreplica.replication.store import JobStore
from qreplica.state.database import Database
from qreplica.state.models import Path, PathState


def choose(ways: Sequence[Way], after: str | None = None) -> Way:
    """Return the way to go: the active path, else the first of those that stand by, in order of preference.

    When all have failed, it is the one that follows the path ``after``, tried last, so that each has its turn.
    """
    for state in (PathState.ACTIVE, PathState.STANDBY):
        for way in ways:
            if way.state is state:
                return way
    tried = next((number for number, way in enumerate(ways) if way.path == after), -1)
    return ways[(tried + 1) % len(ways)]


class Paths:
    """A job's paths as its owner changes them. Raises StaleOwner as JobStore does."""

    def __init__(self, database: Database, store: JobStore) -> None:
        self._database = database
        self._store = store

    def failed(self, path: str, error: QReplicaError) -> bool:
        """Note that a path failed, and why; return whether that is news."""
        with self._store.owned() as (_, job):
            row = next((one for one in job.paths if one.id == path), None)
            return row is not None and fail(row, error.sentence)

    def any_left(self) -> bool:
        """Tell whether there is a path that is not known to have failed."""
        with self._database.session(read_only=True) as session:
            left = select(Path.id).where(Path.job_id == self._store.job, Path.state != PathState.FAILED)
            return session.scalar(left.limit(1)) is not None

    def check_there(self, way: Way) -> None:
        """Raise PathRemoved when the administrator has removed the path."""
        with self._database.session(read_only=True) as session:
            if session.get(Path, way.path) is None:
                raise PathRemoved(path=way.portal)
