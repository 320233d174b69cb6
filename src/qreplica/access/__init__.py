"""Who may use this subsystem and what for: users, roles, passwords, logins, tokens, and the audit log."""
