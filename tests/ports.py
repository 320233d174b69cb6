"""Ports for the servers of tests: no two calls in a run return the same."""

import itertools
import os
import socket

from qreplica.iscsi.target.mgmt import SOCKET_DIRECTORY

#: Below those that Linux takes for outgoing connections (ip_local_port_range in ip-sysctl), which is where port 0 comes
#: from too: a port from there that is only bound later may have become somebody else's by then.
_TCP = range(20_000, 32_000)
#: Labs of a test draw theirs from the same range, and pass over those that have a socket.
_CONTROL = range(1_024, 32_768)
#: Two processes of one run begin far from each other.
_FIRST = 6_000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) + os.getpid() % 5_000
_turns, _control_turns = itertools.count(_FIRST), itertools.count(_FIRST)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody has."""
    for turn in itertools.islice(_turns, len(_TCP)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", _TCP[turn % len(_TCP)]))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AssertionError(f"none of {len(_TCP)} ports is free")


def control_port() -> int:
    """Return a control port (``tgtd -C``) that no tgtd has."""
    ports = (_CONTROL[turn % len(_CONTROL)] for turn in _control_turns)
    return next(port for port in ports if not (SOCKET_DIRECTORY / f"socket.{port}").exists())
