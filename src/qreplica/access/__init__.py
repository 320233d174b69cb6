"""Who may use this subsystem: administrators, their passwords and their logins."""
