"""License keys: signed documents that let one subsystem replicate (white paper: “Activate the license key”)."""
