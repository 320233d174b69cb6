"""A job's snapshots, by way of the QSnap service."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from qreplica.state.database import Database
from qreplica.state.models import Snapshot, SnapshotKind, VirtualDisk
from qreplica.storage import snapshots
from qreplica.storage.driver import StorageDriver
from qreplica.storage.snapshots import Pause


class QSnaps:
    """Takes and deletes snapshots of kind REPLICATION by their ids, for the owner of a job.

    ``confirm`` raises when the job has another owner: one that was overtaken in the middle of taking a snapshot would
    undo what its successor takes under the same id.
    """

    def __init__(
        self, database: Database, storage: StorageDriver, pause: Pause, confirm: Callable[[Session], None]
    ) -> None:
        self._database = database.fenced(confirm)
        self._storage = storage
        self._pause = pause

    def take(self, vd: str, name: str, snapshot: str) -> None:
        """Take a snapshot of that id, or find it taken. Raises what ``confirm`` and ``snapshots.take`` do."""
        snapshots.take(
            self._database,
            self._storage,
            self._pause,
            vd_id=vd,
            name=name,
            kind=SnapshotKind.REPLICATION,
            snapshot_id=snapshot,
        )

    def delete(self, vd: str, snapshot: str) -> None:
        """Delete a snapshot that nothing needs; one that is gone, from the state or the engine, is no error.

        Raises SnapshotPinned, and what ``confirm`` and the engine do.
        """
        delete(self._database, self._storage, vd, snapshot)


def delete(database: Database, storage: StorageDriver, vd: str, snapshot: str) -> None:
    """See ``QSnaps.delete``."""
    with database.session(read_only=True) as session:
        row = session.get(Snapshot, snapshot)
        owner = session.get_one(VirtualDisk, vd)
        group = owner.raid_group_id
        names = None if row is None else (owner.name, row.name)
    if names is not None:
        snapshots.delete(database, storage, *names)
    storage.delete_snapshot(group, vd, snapshot)
