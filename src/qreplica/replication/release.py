"""Gives a job's backup VD back to its target."""

from qreplica.errors import QReplicaError
from qreplica.peer import messages
from qreplica.replication.links import Links, Target
from qreplica.state.models import PathState


def release(target: Target, links: Links) -> None:
    """Tell the target that the job is no more; its recovery points stay. Tries each way in turn.

    The epoch is the one that the target knows of: a claim whose answer was lost may have raised it. Idempotent. Raises
    what the last way tried raised.
    """
    failure: QReplicaError | None = None
    for way in sorted(target.ways, key=lambda way: way.state is PathState.FAILED):
        peer = links.peer(target, way)
        try:
            lineage = peer.lineage(target.node, target.lun)
            peer.release(target.node, messages.Release(job=target.job, epoch=lineage.epoch))
        except QReplicaError as error:
            failure = error
        else:
            return
        finally:
            peer.close()
    if failure is not None:
        raise failure
