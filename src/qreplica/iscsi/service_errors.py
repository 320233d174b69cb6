"""Errors of the node services: what the administrator asked for and cannot have."""

from qreplica.errors import Conflict, Invalid, NotFound


class NodeHasLuns(Conflict):
    """A node still has LUNs."""

    kind = "node-has-luns"
    template = "Node {node} still has {count} LUN(s): detach them first."


class LunTaken(Conflict):
    """A LUN number is in use."""

    kind = "lun-taken"
    template = "LUN {lun} of node {node} is already {vd}: choose another number."


class LunNumberInvalid(Invalid):
    """A LUN number out of range, or none left."""

    kind = "lun-number-invalid"
    template = "{lun} cannot be a LUN of node {node}: choose a free number from 1 to 255."


class NoSuchLun(NotFound):
    """A node has no such LUN."""

    kind = "no-such-lun"
    template = "Node {node} has no LUN {lun}: list them with “qreplica lun list”."


class BackupVdAttached(Conflict):
    """A backup VD is attached elsewhere."""

    kind = "backup-vd-attached"
    template = (
        "Backup VD {vd} is already LUN {lun} of node {node}, and can be attached to one node only: detach it there."
    )


class NodeMixed(Conflict):
    """Backup VDs and disks of hosts cannot share a node."""

    kind = "node-mixed"
    template = (
        "{vd} cannot be attached to node {node} because a node shows either backup VDs, which only a replication job "
        "may write, or disks for hosts: use another node."
    )


class LunClaimed(Conflict):
    """A replication job holds the backup VD."""

    kind = "lun-claimed"
    template = (
        "LUN {lun} of node {node} cannot be detached because replication job {job} holds it: delete that job first."
    )


class ChapNameTaken(Conflict):
    """A CHAP name has one secret on a subsystem."""

    kind = "chap-name-taken"
    template = "CHAP name {user} is used by node {node} with another secret: choose another name, or the same secret."
