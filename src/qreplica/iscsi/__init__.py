"""iSCSI: the initiator that a replication job writes with, and the target that serves virtual disks."""
