"""Tells a job what one of its recovery points holds, so that it can be verified against the source's snapshot."""

from qreplica.peer import messages
from qreplica.replication import digests
from qreplica.replication import recovery_claims as claims
from qreplica.replication.recovery_errors import BeyondBackupVd, NoSuchPoint, NotClaimed
from qreplica.replication.recovery_points import points_of_job
from qreplica.state.database import Database
from qreplica.state.models import VirtualDisk
from qreplica.storage.driver import StorageDriver
from qreplica.storage.errors import SnapshotMissing, StorageCommandFailed


def compare(
    database: Database, storage: StorageDriver, iqn: str, message: messages.ComparePoint
) -> messages.PointDigests:
    """Return digests of what a recovery point of the job holds, as the disks have it.

    It takes no lock: a point never changes, and one that is let go meanwhile is read to the end. Raises NoSuchNode,
    NotClaimed, NoSuchPoint, BeyondBackupVd, StorageCommandFailed.
    """
    with database.session(read_only=True) as session:
        node = claims.node_by_iqn(session, iqn)
        holder = claims.holder_of_node(session, node.id)
        if holder is None or holder.job_id != message.job:
            raise NotClaimed(job=message.job, node=iqn)
        vd = session.get_one(VirtualDisk, holder.vd_id)
        points = points_of_job(session, vd.id, message.job)
        wanted = (message.generation, message.source_snapshot)
        point = next((one for one in points if (one.generation, one.source_snapshot) == wanted), None)
        if point is None:
            raise NoSuchPoint(vd=vd.name, generation=message.generation)
        if message.end > point.size:
            raise BeyondBackupVd(vd=vd.name, size=point.size, end=message.end)
    try:
        file = storage.snapshot_path(vd.raid_group_id, vd.id, point.snapshot_id)
        with file.open("rb", buffering=0) as content:
            found = digests.look(content.fileno(), message.offset, message.end, message.chunk, of=digests.quick_digest)
    except (SnapshotMissing, FileNotFoundError) as error:
        raise NoSuchPoint(vd=vd.name, generation=message.generation) from error
    except OSError as error:
        raise StorageCommandFailed(command=f"reading a recovery point of {vd.name}", reason=error) from error
    return messages.PointDigests(end=found.end, digests=found.digests)
