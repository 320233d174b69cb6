"""Listening sockets, inherited or made, and serving until a signal."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from qreplica.daemon import servers
from qreplica.daemon.config import Config, PortConfig
from qreplica.daemon.servers import AddressUnusable

from ..ports import free_port  # noqa: TID252


@pytest.fixture
def config(tmp_path: Path) -> Config:
    management, peer = free_port(), free_port()
    return Config(
        subsystem="source",
        controller=1,
        state_dir=tmp_path,
        runtime_dir=tmp_path,
        tgt_control_port=1,
        management=f"127.0.0.1:{management}",
        peer_port=peer,
        ports=tuple(PortConfig(number=number, interface="lo", address=f"127.0.0.{number}") for number in range(1, 5)),
    )


@pytest.fixture
def inherit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Let sockets be inherited: their descriptors are where the first inherited ones would be."""

    def give(first: int, count: str, pid: str | None = None) -> None:
        monkeypatch.setattr(servers, "FIRST_INHERITED", first)
        monkeypatch.setenv("LISTEN_FDS", count)
        if pid is not None:
            monkeypatch.setenv("LISTEN_PID", pid)

    yield give
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    monkeypatch.delenv("LISTEN_PID", raising=False)


def test_the_configured_address_is_listened_on(config: Config) -> None:
    (listening,) = servers.management_sockets(config, servers.inherited_sockets())
    with listening:
        assert listening.getsockname() == config.management_address
        assert not listening.get_inheritable()
        assert listening.proto == socket.IPPROTO_TCP  # else asyncio leaves Nagle's algorithm on
        socket.create_connection(config.management_address).close()


@pytest.mark.parametrize("pid", [None, str(os.getpid())], ids=["nobody", "us"])
def test_an_inherited_socket_is_taken_and_told_to_nobody_else(
    config: Config, inherit: Callable[..., int], pid: str | None
) -> None:
    given = socket.create_server(("127.0.0.1", 0))
    address = given.getsockname()
    inherit(given.detach(), "1", pid)
    (listening,) = servers.management_sockets(config, servers.inherited_sockets())
    with listening:
        assert listening.getsockname() == address
        assert listening.proto == socket.IPPROTO_TCP
        assert not listening.get_inheritable()
        assert "LISTEN_FDS" not in os.environ
        assert "LISTEN_PID" not in os.environ


def test_what_another_process_was_to_inherit_is_left(config: Config, inherit: Callable[..., int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        inherit(given.fileno(), "1", str(os.getpid() + 1))
        (listening,) = servers.management_sockets(config, servers.inherited_sockets())
        with listening:
            assert listening.getsockname() == config.management_address


def test_inherited_descriptors_that_are_no_listening_sockets_are_told_of(
    config: Config, inherit: Callable[..., int], tmp_path: Path
) -> None:
    with (tmp_path / "file").open("w") as file:
        inherit(file.fileno(), "1")
        with pytest.raises(AddressUnusable, match=r"inherited descriptor \d+ cannot be listened on because Socket op"):
            servers.management_sockets(config, servers.inherited_sockets())
    with socket.socket() as deaf:
        inherit(os.dup(deaf.fileno()), "1")
        with pytest.raises(AddressUnusable, match="it is no listening socket"):
            servers.management_sockets(config, servers.inherited_sockets())
    inherit(1000, "1")
    with pytest.raises(AddressUnusable, match="Bad file descriptor"):
        servers.management_sockets(config, servers.inherited_sockets())
    inherit(3, "many")
    with pytest.raises(AddressUnusable, match="LISTEN_FDS is 'many'"):
        servers.management_sockets(config, servers.inherited_sockets())


def test_an_address_in_use_is_told_of(config: Config) -> None:
    told = r"127\.0\.0\.1:\d+ cannot be listened on because Address already in use"
    with socket.create_server(config.management_address), pytest.raises(AddressUnusable, match=told):
        servers.management_sockets(config, servers.inherited_sockets())


def test_without_tls_only_loopback_is_listened_on(config: Config, inherit: Callable[..., int]) -> None:
    plain = config.model_copy(update={"tls": False})
    (listening,) = servers.management_sockets(plain, servers.inherited_sockets())
    listening.close()
    told = r"0\.0\.0\.0 cannot be listened on because tls is false"
    with pytest.raises(AddressUnusable, match=told):
        servers.management_sockets(plain.model_copy(update={"management": "0.0.0.0:0"}), [])
    inherit(socket.create_server(("0.0.0.0", 0)).detach(), "1")  # noqa: S104 - closed at once
    with pytest.raises(AddressUnusable, match=told):
        servers.management_sockets(plain, servers.inherited_sockets())


def test_every_port_has_a_peer_socket_also_while_it_is_down(config: Config) -> None:
    down = PortConfig(number=1, interface="p1", address="192.0.2.1")
    made = servers.peer_sockets(config.model_copy(update={"ports": (down, *config.ports[1:])}))
    try:
        assert {one.proto for one in made} == {socket.IPPROTO_TCP}
        assert [one.getsockname()[0] for one in made] == ["192.0.2.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]
    finally:
        for one in made:
            one.close()


def answering(text: str) -> FastAPI:
    app = FastAPI()
    app.get("/")(lambda: text)
    return app


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_are_served_until_a_signal(number: signal.Signals) -> None:
    """Signals arrive in the main thread, where the servers are, so that the client has another."""
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    urls = [f"http://127.0.0.1:{one.getsockname()[1]}/" for one in listening]
    answers: list[object] = []
    others = threading.Event()
    ready = threading.Event()

    def ask() -> None:
        answers.extend(httpx.get(url, trust_env=False).json() for url in urls)
        answers.append(ready.is_set())
        others.set()
        answers.append(ready.wait(30))
        os.kill(os.getpid(), number)

    client = threading.Thread(target=ask)
    client.start()
    apps = [servers.Served(answering(text), [one]) for text, one in zip(("management", "peer"), listening, strict=True)]
    servers.serve(apps, others.is_set, lambda _: ready.set())
    client.join()
    assert answers == ["management", "peer", False, True]
    for url in urls:
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, trust_env=False)


def test_a_request_under_way_is_answered_before_the_end() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    begun, go_on = threading.Event(), threading.Event()
    app = FastAPI()

    @app.get("/")
    def slow() -> str:
        begun.set()
        go_on.wait(30)
        return "done"

    answers: list[str] = []

    def ask() -> None:
        answers.append(httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=30).json())

    def end() -> None:
        begun.wait(30)
        os.kill(os.getpid(), signal.SIGTERM)
        # The server takes no new connection as soon as it has noticed.
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            except OSError:
                break
        go_on.set()

    threads = [threading.Thread(target=one) for one in (ask, end)]
    for thread in threads:
        thread.start()
    servers.serve([servers.Served(app, [listening])], lambda: True, lambda _: None)
    for thread in threads:
        thread.join()
    assert answers == ["done"]


def test_a_signal_ends_it_also_before_all_is_ready() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/"

    def ask() -> None:
        assert httpx.get(url, trust_env=False).json() == "here"
        os.kill(os.getpid(), signal.SIGTERM)

    client = threading.Thread(target=ask)
    client.start()
    told: list[bool] = []
    servers.serve([servers.Served(answering("here"), [listening])], lambda: False, lambda _: told.append(True))
    client.join()
    assert told == []
