"""A path on which packets vanish without a word: silence is all there is to notice."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qreplica.peer import wire
from qreplica.peer.client import PeerClient
from qreplica.peer.errors import PeerUnreachable

from .conftest import SIZE, Replication
from .networks import black_hole, own_network
from .two_targets import TwoTargets

pytestmark = pytest.mark.root


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[TwoTargets]:
    with own_network():
        replication = Replication(tmp_path)
        try:
            replication.set_up()
            made = TwoTargets(replication)
            try:
                yield made
            finally:
                made.close()
        finally:
            replication.close()


def test_a_path_that_swallows_everything_is_left_and_its_packets_come_too_late(targets: TwoTargets) -> None:
    replication, first = targets.replication, targets.first
    targets.add_path()
    replication.host_writes((0, SIZE >> 20))
    replication.start()
    replication.under_way()
    with black_hole(first.iscsi_port, first.peer_port):
        began = time.monotonic()
        targets.until_on_the_second()
        print(f"it went on {time.monotonic() - began:.1f} s after the path fell silent")
        job = replication.until("idle")
        assert job["cycle"]["outcome"] == "committed"
        assert job["cycle"]["resumes"] >= 1
        assert targets.paths() == ["failed", "standby"]
        assert job["paths"][0]["reason"]
        replication.check_copy()
    # Whatever the kernels had kept for later has its chance now.
    targets.until_paths("standby", "standby")
    replication.check_copy()
    replication.check_live()


def test_a_target_that_vanishes_while_it_works_on_an_answer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim may take minutes, so that nobody answering is no sign; a kernel that does not acknowledge is one."""
    monkeypatch.setattr(wire, "KERNEL_SILENCE", 1)
    monkeypatch.setattr(wire, "_ASK_AFTER", 1)
    monkeypatch.setattr(wire, "_ASK_EVERY", 1)
    with own_network(), socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as stack:
        port = listener.getsockname()[1]

        def listen() -> None:
            connection, _ = listener.accept()
            stack.callback(connection.close)
            connection.recv(65536)
            stack.enter_context(black_hole(port))

        thread = threading.Thread(target=listen)
        thread.start()
        with (
            PeerClient("127.0.0.1", port, None, timeout=600) as client,
            pytest.raises(PeerUnreachable, match="the connection failed"),
        ):
            client.nodes()
        thread.join()
