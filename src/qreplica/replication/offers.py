"""What a target subsystem offers, as the wizard for a new job asks for it."""

from qreplica.iscsi.initiator import Chap, Portal
from qreplica.iscsi.target.driver import Credentials
from qreplica.names import check_chap, check_iqn
from qreplica.peer.client import PeerClient
from qreplica.peer.messages import BackupVd, BackupVdList, NodeList
from qreplica.replication.errors import BackupVdMissing, ChapRequired, NodeNotOffered
from qreplica.replication.qualifying import vd_obstacle

#: The peer conversation's TCP port, unless the target was configured otherwise.
PEER_PORT = 3261


def discover_nodes(address: str, *, peer_port: int = PEER_PORT, interface: str | None = None) -> NodeList:
    """Return the iSCSI nodes that hold backup VDs behind an iSCSI port's address of the target.

    ``interface`` is that of our QReplica port, None for any. Raises PortalInvalid, PeerUnreachable, PeerAnswersGarbage.
    """
    portal = Portal(address, peer_port)
    with PeerClient(portal.address, portal.port, None, interface=interface) as client:
        return client.nodes()


def list_backup_vds(
    address: str, node: str, chap: Chap | None = None, *, peer_port: int = PEER_PORT, interface: str | None = None
) -> BackupVdList:
    """Return the VDs that the node shows; the request is signed with the CHAP secret, which proves it right.

    Raises what ``discover_nodes`` does, NotAnIqn, ChapSecretInvalid, NodeNotOffered, ChapRequired, WrongChap,
    ChapNotUsed, PairingNeeded, ClockSkew.
    """
    portal = Portal(address, peer_port)
    check_iqn(node)
    check_chap(*((chap.user, chap.secret) if chap else (None, None)))
    credentials = None if chap is None else Credentials(chap.user, chap.secret)
    with PeerClient(portal.address, portal.port, credentials, interface=interface) as client:
        offered = client.nodes()
        entry = next((one for one in offered.nodes if one.iqn == node), None)
        if entry is None:
            names = ", ".join(one.iqn for one in offered.nodes) or "none"
            raise NodeNotOffered(subsystem=offered.subsystem, address=address, node=node, nodes=names)
        if entry.chap and chap is None:
            raise ChapRequired(node=node)
        return client.backup_vds(node)


def fitting(offered: BackupVdList, node: str, lun: int, needed: int) -> BackupVd:
    """Return the backup VD at the LUN, if a new job may replicate a VD of ``needed`` bytes to it.

    Raises BackupVdMissing, TargetNotBackup, BackupVdTooSmall, BackupVdClaimed, BackupVdRefused.
    """
    vd = next((one for one in offered.vds if one.lun == lun), None)
    if vd is None:
        luns = ", ".join(str(one.lun) for one in offered.vds) or "none"
        raise BackupVdMissing(node=node, subsystem=offered.subsystem, lun=lun, luns=luns)
    error = vd_obstacle(offered, vd, node, needed)
    if error is not None:
        raise error
    return vd
