"""RAID groups, virtual disks, QSnap snapshots and deltas: the driver contract, its drivers, and the services above."""
