"""Gives a job's backup VD back to its target."""

from qreplica.peer import messages
from qreplica.replication.links import Links, Peer, Target, ask_by_any


def release(target: Target, links: Links) -> None:
    """Tell the target that the job is no more; its recovery points stay. Tries each way in turn.

    The epoch is the one that the target knows of: a claim whose answer was lost may have raised it. Idempotent. Raises
    what the last way tried raised.
    """

    def tell(peer: Peer) -> None:
        lineage = peer.lineage(target.node, target.lun)
        peer.release(target.node, messages.Release(job=target.job, epoch=lineage.epoch))

    if target.ways:
        ask_by_any(target, links.peer, tell)
