"""Tells the owner of a backup VD what its live state holds, so that a full copy sends only what differs.

The claim has ended all sessions of older owners on every controller, so nobody but the asking owner can have written
since. Who owns it is confirmed before the file is opened and again when it was read: an answer that comes so late that
another owner has rolled the VD back meanwhile, or has written to it, is refused.
"""

from qreplica.peer import messages
from qreplica.replication import digests
from qreplica.replication import recovery_claims as claims
from qreplica.replication.recovery_errors import BeyondBackupVd
from qreplica.replication.recovery_progress import check_begun
from qreplica.state.database import Database
from qreplica.storage.driver import StorageDriver
from qreplica.storage.errors import StorageCommandFailed


def compare(database: Database, storage: StorageDriver, iqn: str, message: messages.Compare) -> messages.Digests:
    """Return digests of what the live VD holds, after whatever the target daemons have acknowledged.

    It takes no lock: nothing changes, and a disk that does not answer must not keep the next claim waiting. Raises
    NoSuchNode, NotClaimed, StaleEpoch, NotBegun, ManifestMismatch, BeyondBackupVd,
    StorageCommandFailed.
    """
    group, vd = _confirmed(database, iqn, message)
    try:
        # The target daemons write by the page cache too, so that what they have acknowledged is seen here.
        with storage.vd_path(group, vd).open("rb", buffering=0) as live:
            found = digests.look(live.fileno(), message.offset, message.end, message.chunk)
    except OSError as error:
        raise StorageCommandFailed(command=f"reading the virtual disk {vd}", reason=error) from error
    _confirmed(database, iqn, message)
    return messages.Digests(end=found.end, digests=found.digests)


def _confirmed(database: Database, iqn: str, message: messages.Compare) -> tuple[str, str]:
    """Return the RG and the VD whose generation in progress is the message's."""
    with database.session(read_only=True) as session:
        row, vd = claims.owned(session, claims.node_by_iqn(session, iqn), message.job, message.epoch)
        check_begun(row, vd, message)
        if message.end > vd.size:
            raise BeyondBackupVd(vd=vd.name, size=vd.size, end=message.end)
        return vd.raid_group_id, vd.id
