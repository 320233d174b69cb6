"""What keeps a subsystem in order: its users, certificate, alerts, time zone, restarts and logs."""
