"""Two whole subsystems on one machine, in network namespaces: to try things, to test, and for the demo."""
