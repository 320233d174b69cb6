"""QReplica: a dual-controller iSCSI storage subsystem with snapshot-based block replication."""
