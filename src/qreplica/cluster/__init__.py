"""What the two controllers of a subsystem settle between them."""
