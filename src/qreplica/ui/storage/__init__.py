"""What can be done with disks, RAID groups, virtual disks, snapshots, iSCSI nodes and LUNs."""
