"""The event log: what happened, for the administrator."""
