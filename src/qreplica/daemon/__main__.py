"""``python -m qreplica.daemon``: the same as ``qreplicad``."""

from qreplica.daemon.main import main

main()
