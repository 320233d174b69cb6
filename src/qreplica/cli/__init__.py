"""The command line: one noun a file. Nothing slow is imported before a command runs."""
