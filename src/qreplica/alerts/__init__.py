"""Alerts: events that are told to people by e-mail, syslog or a webhook."""
