"""Network namespaces of a test's own, with a neighbour, and in which packets can be dropped without a word."""

import contextlib
import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of unshare(2)
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """Have this thread, and all processes that it starts, in a network namespace with nothing but loopback."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(_NEW_NETWORK))
        try:
            run("ip", "link", "set", "lo", "up")
            yield
        finally:
            _check(_libc.setns(before, _NEW_NETWORK))
    finally:
        os.close(before)


@contextlib.contextmanager
def black_hole(*ports: int) -> Iterator[None]:
    """Drop what is sent to the TCP ports, and from them: nobody is told."""
    numbers = ", ".join(map(str, ports))
    rules = "".join(f"tcp {end} {{ {numbers} }} drop; " for end in ("sport", "dport"))
    chain = f"chain input {{ type filter hook input priority 0; {rules}}}"
    run("nft", "-f", "-", stdin=f"table inet hole {{ {chain}; }}\n")
    try:
        yield
    finally:
        run("nft", "delete", "table", "inet", "hole")


@contextlib.contextmanager
def neighbour(mine: str, theirs: str) -> Iterator[Callable[..., Any]]:
    """Give what calls a function on another machine, at the other end of a cable: a thread in a namespace of its own.

    The cable's ends are the interfaces ``mine``, in this thread's namespace, and ``theirs``; neither is up yet.
    """
    with ThreadPoolExecutor(1) as thread:

        def there(function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
            return thread.submit(function, *arguments, **more).result()

        there(lambda: _check(_libc.unshare(_NEW_NETWORK)))
        namespace = f"/proc/{os.getpid()}/task/{there(threading.get_native_id)}/ns/net"
        run("ip", "link", "add", mine, "type", "veth", "peer", "name", theirs, "netns", namespace)
        there(run, "ip", "link", "set", "lo", "up")
        yield there


def run(*command: str, stdin: str | None = None) -> None:
    done = subprocess.run(command, check=False, input=stdin, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
