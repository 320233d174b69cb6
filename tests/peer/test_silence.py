"""A target daemon that takes long is waited for as long as it lives, and no longer."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import anyio.to_thread
import httpx
import pytest

from qreplica.iscsi.target.driver import Credentials
from qreplica.iscsi.target.pause import stopped
from qreplica.peer import life
from qreplica.peer.client import PeerClient
from qreplica.peer.errors import PeerUnreachable
from qreplica.peer.messages import Release
from qreplica.peer.server import peer_app

Start = Callable[..., tuple["subprocess.Popen[str]", int]]
Ask = Callable[[PeerClient], object]
#: What no test comes near (seconds).
LONG = 600.0
CHAP = Credentials("user", "a secret of some length")
IQN, MESSAGE = "iqn.2026-11.org.qreplica:tank", Release(job="0" * 32, epoch=1)
QUESTIONS: dict[str, Ask] = {"a list": PeerClient.nodes, "an order": lambda peer: peer.release(IQN, MESSAGE)}


@pytest.fixture
def slow_target() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> tuple["subprocess.Popen[str]", int]:
        program = str(Path(__file__).with_name("slow_target.py"))
        process = subprocess.Popen([sys.executable, program, *arguments], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_one_that_hangs_in_the_middle_of_its_answer_is_given_up(slow_target: Start, ask: Ask) -> None:
    process, port = slow_target("hangs", "0")
    with (
        PeerClient("127.0.0.1", port, CHAP, timeout=LONG, silence=1.5) as peer,
        pytest.raises(PeerUnreachable, match=r"its daemon has shown no sign of life for 1\.5 s: check"),
    ):
        ask(peer)
    assert stopped(process.pid)
    # It still accepts connections: only an answer is a sign of life.
    socket.create_connection(("127.0.0.1", port), 30).close()
    assert not life.lives("127.0.0.1", port, (), 0.3)


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_one_that_dies_before_its_answer_is_given_up_at_once(slow_target: Start, ask: Ask) -> None:
    _, port = slow_target("dies", "0")
    with (
        PeerClient("127.0.0.1", port, CHAP, timeout=LONG, silence=LONG) as peer,
        pytest.raises(PeerUnreachable, match="closed the connection"),
    ):
        ask(peer)


def test_one_that_lives_is_waited_for(slow_target: Start) -> None:
    """For longer than it may be silent: it is asked three times in that time, and answers after the fourth."""
    process, port = slow_target("works", "4")
    with PeerClient("127.0.0.1", port, None, timeout=LONG, silence=4.5) as peer:
        assert peer.nodes().subsystem == "target"
    assert process.stdout is not None
    assert process.stdout.readline() == "answered\n"
    assert life.lives("127.0.0.1", port, (), 30)


def test_one_that_lives_is_given_up_when_its_time_is_over(slow_target: Start) -> None:
    _, port = slow_target("works", "1000000")
    with (
        PeerClient("127.0.0.1", port, None, timeout=1.5, silence=3) as peer,
        pytest.raises(PeerUnreachable, match=r"its answer was not complete after 1\.5 s"),
    ):
        peer.nodes()


def test_nobody_there_is_no_sign_of_life() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert not life.lives("127.0.0.1", port, (), 30)


@pytest.mark.parametrize("path", [life.PATH, "/peer/v1/nodes"])
def test_a_sign_of_life_needs_neither_thread_nor_signature_nor_state(path: str) -> None:
    app = peer_app(cast("Any", None), 1, cast("Any", None), cast("Any", None))
    release = threading.Event()

    async def ask() -> int | None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1
        busy = asyncio.create_task(anyio.to_thread.run_sync(release.wait))
        await asyncio.sleep(0)
        try:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://target") as client:
                question = asyncio.create_task(client.get(path))
                patience = 60 if path == life.PATH else 0.5
                done, _ = await asyncio.wait({question}, timeout=patience)
                question.cancel()
                return question.result().status_code if question in done else None
        finally:
            release.set()
            await busy

    assert asyncio.run(ask()) == (204 if path == life.PATH else None)
