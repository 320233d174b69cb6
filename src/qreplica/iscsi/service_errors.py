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


class NoSuchPort(NotFound):
    """A controller has no such port."""

    kind = "no-such-port"
    template = "Controller {controller} has no iSCSI port {port}: list them with “qreplica port list”."


class NotTheLastPort(Invalid):
    """Another port than the last was to be the QReplica port."""

    kind = "not-the-last-port"
    template = "Port {port} cannot be the QReplica port, which is always the last one: choose port {last}."


class JobRunsMeanwhile(Conflict):
    """The QReplica port cannot be changed while a job runs."""

    kind = "job-runs-meanwhile"
    template = "QReplica cannot be {what} on the port while a job runs ({jobs}): stop it, or wait until its cycle ends."


class HostsOnPort(Conflict):
    """Hosts use the port that is to be the QReplica port."""

    kind = "hosts-on-port"
    template = (
        "Port {port} cannot become the QReplica port while {count} host session(s) use it ({hosts}): log these out, or "
        "have them dropped (“--drop-hosts”), which breaks what has no other path."
    )


class PortAddressInvalid(Invalid):
    """No host can have the address."""

    kind = "port-address-invalid"
    template = (
        "{address}/{prefix_length} cannot be the address of port {port} of controller {controller} because {reason}: "
        "give a host's IPv4 address and the length of its subnet's prefix, such as 192.168.1.1/24."
    )


class PortAddressTaken(Conflict):
    """Another port has the address."""

    kind = "port-address-taken"
    template = (
        "{address} cannot be the address of port {port} of controller {controller} because it is that of port "
        "{other_port} of controller {other_controller}: choose another one, or change that port first."
    )


class PortSubnetsOverlap(Conflict):
    """Two ports of one controller would be in the same subnet."""

    kind = "port-subnets-overlap"
    template = (
        "Port {port} of controller {controller} cannot be in {subnet} because that overlaps {other} of its port "
        "{other_port}, and answers would leave by the wrong port: choose a subnet that no other port is in."
    )


class PortGatewayInvalid(Invalid):
    """The router cannot be reached by the port."""

    kind = "port-gateway-invalid"
    template = (
        "{gateway} cannot be the gateway of port {port} of controller {controller} because {reason}: give a router's "
        "address in {subnet}, or none."
    )


class PortMtuInvalid(Invalid):
    """An MTU that the interface cannot have."""

    kind = "port-mtu-invalid"
    template = (
        "An MTU of {mtu} bytes is not possible on port {port} of controller {controller}: choose one from {least} to "
        "{most}."
    )


class NothingToSet(Invalid):
    """A change that says nothing."""

    kind = "nothing-to-set"
    template = "Nothing is said about port {port} of controller {controller}: give its address, gateway or MTU."


class JobsUsePort(Conflict):
    """The QReplica port cannot be given another address while a job runs."""

    kind = "jobs-use-port"
    template = (
        "Port {port} of controller {controller} cannot be changed because it is the QReplica port and a job runs "
        "({jobs}): stop it, or wait until its cycle ends."
    )


class HostsUsePort(Conflict):
    """Hosts are logged in by the port that is to be changed."""

    kind = "hosts-use-port"
    template = (
        "Port {port} of controller {controller} cannot be changed while {count} host session(s) use it ({hosts}): log "
        "these out, or have them dropped (“--drop-hosts”), which breaks what has no other path."
    )
