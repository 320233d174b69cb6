"""Serves the REST API and the peer API until a signal ends them."""

import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import uvicorn
from starlette.types import ASGIApp

from qreplica.daemon.certificate import Identity
from qreplica.daemon.config import Config
from qreplica.errors import Invalid

#: The first descriptor that a launcher hands over (SD_LISTEN_FDS_START of sd_listen_fds(3)).
FIRST_INHERITED = 3
#: IP_FREEBIND of linux/in.h: an address may be bound while its port is down.
_IP_FREEBIND = 15
_BACKLOG = 128
_GRACE = 5
_POLL = 0.02


class Served(NamedTuple):
    """An application, the sockets that it answers on, and what it proves itself by: None is plain HTTP."""

    app: ASGIApp
    sockets: list[socket.socket]
    identity: Identity | None = None


class AddressUnusable(Invalid):
    """An address cannot be listened on."""

    kind = "address-unusable"
    template = "{address} cannot be listened on because {reason}: correct the configuration, or end what listens there."


def management_sockets(config: Config, inherited: list[socket.socket]) -> list[socket.socket]:
    """Return the ``inherited`` listening sockets, or one on the configured address.

    Raises AddressUnusable, also without TLS for an address that others than this machine reach: tokens and passwords
    would be there for all to read.
    """
    listening = inherited or [_listen(*config.management_address)]
    for one in listening:
        address = one.getsockname()[0]
        if not config.tls and not ipaddress.ip_address(address).is_loopback:
            for each in listening:
                each.close()
            raise AddressUnusable(address=address, reason="tls is false, and it is not a loopback address")
    return listening


def inherited_sockets() -> list[socket.socket]:
    """Return the listening sockets that the launcher has handed over (LISTEN_FDS of sd_listen_fds(3)), once.

    LISTEN_PID is honoured when set; a launcher that cannot know the pid leaves it out. Call it before other files are
    opened, which could take an inherited descriptor's place. Raises AddressUnusable.
    """
    count = os.environ.pop("LISTEN_FDS", "0")
    for_us = os.environ.pop("LISTEN_PID", str(os.getpid())) == str(os.getpid())
    if for_us and count != "0":
        if not count.isdecimal():
            raise AddressUnusable(address="An inherited socket", reason=f"LISTEN_FDS is {count!r} and no number")
        return [_inherited(fd) for fd in range(FIRST_INHERITED, FIRST_INHERITED + int(count))]
    return []


def url_of(listening: socket.socket, *, tls: bool) -> str | None:
    """Return where a client finds the socket; None for one on all addresses, which of them is not known."""
    address, port = listening.getsockname()[:2]
    scheme = "https" if tls else "http"
    return None if ipaddress.ip_address(address).is_unspecified else f"{scheme}://{address}:{port}"


def _inherited(fd: int) -> socket.socket:
    try:
        listening = socket.socket(fileno=fd)
        accepts = listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise AddressUnusable(address=f"The inherited descriptor {fd}", reason=error.strerror) from error
    if not accepts:
        listening.close()
        raise AddressUnusable(address=f"The inherited descriptor {fd}", reason="it is no listening socket")
    listening.set_inheritable(False)
    return listening


def peer_sockets(config: Config) -> list[socket.socket]:
    """Return a listening socket on each iSCSI port's address. Raises AddressUnusable."""
    return [_listen(port.address, config.peer_port) for port in config.ports]


def check_free(address: str, port: int) -> None:
    """Raise AddressUnusable when the address could not be listened on."""
    _listen(address, port).close()


def _listen(address: str, port: int) -> socket.socket:
    # asyncio turns Nagle's algorithm off only where the protocol is named: each answer would wait 40 ms for an ACK.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
    try:
        listening.bind((address, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise AddressUnusable(address=f"{address}:{port}", reason=error.strerror) from error
    return listening


class _Server(uvicorn.Server):
    """A server that leaves signals to ``serve``, which has several of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Catch none."""
        yield


def serve(
    apps: Sequence[Served], others_ready: Callable[[], bool], on_ready: Callable[[Callable[[], None]], None]
) -> bool:
    """Serve each application on its sockets until SIGTERM or SIGINT, or until told to end; return whether by a signal.

    ``on_ready`` is called once, when all of them answer and ``others_ready`` says that everything else does; with what
    ends the serving, which any thread may call.
    """
    return asyncio.run(_serve(apps, others_ready, on_ready))


async def _serve(
    apps: Sequence[Served], others_ready: Callable[[], bool], on_ready: Callable[[Callable[[], None]], None]
) -> bool:
    servers = [_Server(_settings(one)) for one in apps]
    loop = asyncio.get_running_loop()
    signals: list[int] = []

    def end() -> None:
        for server in servers:
            server.should_exit = True

    def end_by(number: int) -> None:
        signals.append(number)
        end()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end_by, number)
    async with asyncio.TaskGroup() as tasks:
        for server, one in zip(servers, apps, strict=True):
            tasks.create_task(server.serve(sockets=one.sockets))
        # uvicorn tells nobody when it has started.
        while not (all(server.started for server in servers) and others_ready()):
            if any(server.should_exit for server in servers):
                return bool(signals)
            await asyncio.sleep(_POLL)
        on_ready(lambda: _call_soon(loop, end))
    return bool(signals)


def _call_soon(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    """Have the loop call it, from any thread; one that has ended needs no more."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(what)


def _settings(served: Served) -> uvicorn.Config:
    return uvicorn.Config(
        served.app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the audit log has where a request really came from
        timeout_graceful_shutdown=_GRACE,
        lifespan="on",
        http="h11",  # refuses what is not quite HTTP, which faster ones let pass
        ssl_certfile=served.identity.certificate if served.identity else None,
        ssl_keyfile=served.identity.key if served.identity else None,
    )
