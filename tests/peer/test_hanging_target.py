"""A target's daemon that hangs, or dies, while it works on an answer."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from qreplica.iscsi.target.driver import Credentials
from qreplica.peer.client import PeerClient
from qreplica.peer.errors import PeerUnreachable
from qreplica.peer.messages import Release

IQN = "iqn.2026-11.org.qreplica:tank"
CHAP = Credentials("user", "a secret of some length")
MESSAGE = Release(job="0" * 32, epoch=1)

# Says its port; then of each long request that it has begun with it, which it answers after SECONDS.
SERVER = """
import sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        print("asked", flush=True)

    def do_POST(self):
        print("begun", flush=True)
        time.sleep(float(sys.argv[1]))
        self.do_GET()

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
"""


class Target:
    """The server, as another process."""

    def __init__(self, seconds: float) -> None:
        argv = [sys.executable, "-c", SERVER, str(seconds)]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self.port = int(self.line())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def make_target() -> Iterator[type[Target]]:
    made: list[Target] = []

    class Made(Target):
        def __init__(self, seconds: float) -> None:
            super().__init__(seconds)
            made.append(self)

    yield Made
    for one in made:
        one.close()


def hit(target: Target, number: signal.Signals, silence: float) -> None:
    """Send a request, and the signal while it is under way; raises what the client does."""
    with PeerClient("127.0.0.1", target.port, CHAP, silence=silence) as peer, ThreadPoolExecutor(1) as pool:
        request = pool.submit(peer.release, IQN, MESSAGE)
        assert target.line() == "begun"
        os.kill(target.process.pid, number)
        request.result()


def test_one_that_hangs_in_the_middle_of_an_answer_is_given_up(make_target: type[Target]) -> None:
    with pytest.raises(PeerUnreachable, match="no sign of life for 1 s"):
        hit(make_target(3600), signal.SIGSTOP, silence=1)


def test_one_that_dies_in_the_middle_is_given_up_at_once(make_target: type[Target]) -> None:
    with pytest.raises(PeerUnreachable, match="closed the connection"):
        hit(make_target(3600), signal.SIGKILL, silence=3600)
