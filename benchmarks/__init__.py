"""How fast QReplica is on this machine, against what one would use in its place: ``./run bench``."""
