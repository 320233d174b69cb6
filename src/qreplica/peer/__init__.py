"""The conversation between the source and the target subsystem; it never carries data."""
