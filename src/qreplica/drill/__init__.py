"""Drills: faults injected into a lab while it replicates, and judged by bytes."""
