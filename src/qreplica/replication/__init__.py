"""Replication: cycles on the source, recovery points on the target."""
