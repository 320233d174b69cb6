"""The controller's daemon: configuration, start, supervision, reconciliation."""
