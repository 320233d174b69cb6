"""The state of a subsystem: one database that both controllers share."""
