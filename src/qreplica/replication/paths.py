"""Which of a job's paths carries the data: one at a time, the others stand by (fail-over).

A cycle stays on the path that it is on while that works, also when a preferred one is back.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import select

from qreplica.errors import QReplicaError
from qreplica.replication.errors import PathRemoved
from qreplica.replication.links import Target, Way
from qreplica.replication.path_states import fail
from qreplica.replication.retry import blames_path, passes
from qreplica.replication.store import JobStore
from qreplica.state.database import Database
from qreplica.state.models import Path, PathState, Severity


def choose(ways: Sequence[Way], turn: Sequence[str] = ()) -> Way:
    """Return the way to go: the active path, else the first of those that stand by, in order of preference.

    When all have failed, it is the first that is in ``turn``: paths that are to be tried again.
    """
    for state in (PathState.ACTIVE, PathState.STANDBY):
        for way in ways:
            if way.state is state:
                return way
    by_path = {way.path: way for way in ways}
    return next((by_path[path] for path in turn if path in by_path), ways[0])


class Paths:
    """A job's paths during one run of its cycle, which goes over one and then another.

    ``tell`` puts an event about the job in the event log. Raises StaleOwner as JobStore does.
    """

    def __init__(self, database: Database, store: JobStore, tell: Callable[[Severity, str, str], None]) -> None:
        self._database = database
        self._store = store
        self._tell = tell
        self._ways: tuple[Way, ...] = ()
        self._way: Way | None = None
        self._blamed = False
        #: Once all have failed: those that have yet to be tried before the next wait.
        self._turn: list[str] = []
        #: Paths on which the last failure was one that does not pass by itself.
        self._hopeless: set[str] = set()

    def next(self, target: Target) -> Way:
        """Return the way to go now."""
        self._ways = target.ways
        self._turn = [path for path in self._turn if path in {way.path for way in self._ways}]
        if not self._turn:
            # The one tried last comes first: it may just be starting, and another be slow to tell that it is dead.
            last = "" if self._way is None else self._way.path
            self._turn = sorted((way.path for way in self._ways), key=lambda path: path != last)
        self._way = choose(self._ways, self._turn)
        self._turn = [path for path in self._turn if path != self._way.path]
        return self._way

    def leave(self, error: QReplicaError) -> bool:
        """Note that the present path failed, if that explains the error; return whether to try another one at once.

        That is one that is not known to have failed, or, after a wait, one that has not been tried since.
        """
        self._blamed = self._way is not None and blames_path(error)
        if self._way is None or not self._blamed:
            return False
        path = self._way.path
        self._hopeless = self._hopeless - {path} if passes(error) else self._hopeless | {path}
        news = self._note_failed(path, error)
        if not self.one_is_back():
            return bool(self._turn)
        if news:
            sentence = f"Path {self._way.portal} failed, and the cycle goes on over another one: {error.sentence}"
            self._tell(Severity.WARNING, "path-failed", sentence)
        return True

    @property
    def another_may_come_back(self) -> bool:
        """Whether a path failed just now, and what is wrong with another one may pass by itself."""
        return self._blamed and not self._hopeless.issuperset(way.path for way in self._ways)

    def one_is_back(self) -> bool:
        """Tell whether a path failed just now, and there is one that is not known to have failed."""
        if not self._blamed:
            return False
        with self._database.session(read_only=True) as session:
            left = select(Path.id).where(Path.job_id == self._store.job, Path.state != PathState.FAILED)
            return session.scalar(left.limit(1)) is not None

    def check_there(self, way: Way) -> None:
        """Raise PathRemoved when the administrator has removed the path."""
        with self._database.session(read_only=True) as session:
            if session.get(Path, way.path) is None:
                raise PathRemoved(path=way.portal)

    def _note_failed(self, path: str, error: QReplicaError) -> bool:
        """Return whether it is news."""
        with self._store.owned() as (_, job):
            row = next((one for one in job.paths if one.id == path), None)
            return row is not None and fail(row, error.sentence)
