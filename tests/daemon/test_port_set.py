"""A port of a whole controller gets another address: hosts reach it there after the restart, and nowhere else."""

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from qreplica.errors import RemoteFailed
from qreplica.iscsi.initiator import Portal, Session

from ..faults.networks import neighbour, own_network, run  # noqa: TID252
from .running import HOST, Controller, eventually, provision

pytestmark = pytest.mark.root
OLD, NEW, ROUTER = "10.0.0.1", "10.0.0.2", "10.0.0.254"


@pytest.fixture
def there() -> Iterator[Callable[..., Any]]:
    """The machine of a host at the other end of port1, which has the old address."""
    with own_network(), neighbour("port1", "far") as call:
        run("ip", "address", "add", f"{OLD}/24", "dev", "port1")
        run("ip", "link", "set", "port1", "up")
        call(run, "ip", "address", "add", f"{ROUTER}/24", "dev", "far")
        call(run, "ip", "link", "set", "far", "up", "mtu", "9000")
        yield call


@pytest.fixture
def controller(there: Callable[..., Any], tmp_path: Path) -> Iterator[Controller]:  # noqa: ARG001 - its network
    made = Controller(tmp_path)
    text = made.text().replace("interface = 'lo'", "interface = 'port1'").replace("'127.0.0.1'", f"'{OLD}'")
    made.config.write_text(text)
    try:
        yield made
    finally:
        made.close()


def restart(controller: Controller) -> dict[str, Any]:
    """Restart the controller, and return its port as it has it then."""
    controller.call("POST", "/controllers/1/restart", expect=202)

    def look() -> bool:
        try:
            return not controller.call("GET", "/controllers")[0]["restarting"]
        except httpx.TransportError:
            return False

    eventually(look)
    (port,) = controller.call("GET", "/ports")
    return dict(port)


def test_hosts_reach_the_new_address_and_the_old_one_no_more(there: Callable[..., Any], controller: Controller) -> None:
    controller.start()
    iqn = provision(controller)

    def log_in(address: str) -> Session:
        return Session.connect(Portal(address, controller.iscsi_port), iqn, HOST, timeout=2)

    def write_by(address: str) -> None:
        with log_in(address) as session:
            session.write(1, 0, address.encode().ljust(512, b"."))
            session.flush(1)

    def read_by(address: str) -> bytes:
        with log_in(address) as session:
            return bytes(session.read(1, 0, 512))

    there(write_by, OLD)
    assert there(largest_segment, OLD, controller.peer_port) < 1500
    with pytest.raises(RemoteFailed):
        there(log_in, NEW)
    before = controller.call("GET", "/ports")
    refused = controller.call("PATCH", "/ports/1/1", {"gateway": "10.0.1.1"}, expect=422)
    assert "it is not in the port's subnet 10.0.0.0/24" in refused["detail"]
    assert controller.call("GET", "/ports") == before

    # What a neighbour has is not taken, and the daemon starts all the same.
    controller.call("PATCH", "/ports/1/1", {"address": ROUTER})
    port = restart(controller)
    assert (port["address"], port["pending"]["address"]) == (OLD, ROUTER)
    (event,) = [one for one in controller.call("GET", "/events") if one["kind"] == "port-not-set"]
    assert "on its network has that address" in event["message"]
    there(write_by, OLD)

    setting = {"address": NEW, "prefix_length": 24, "gateway": ROUTER, "mtu": 9000}
    assert controller.call("PATCH", "/ports/1/1", setting)["pending"] == setting
    port = restart(controller)
    assert {name: port[name] for name in setting} == setting
    assert port["pending"] is None
    there(write_by, NEW)
    with pytest.raises(RemoteFailed):
        there(log_in, OLD)
    assert there(read_by, NEW) == NEW.encode().ljust(512, b".")
    # Segments of 9000 bytes less their headers; those of before were of 1500.
    assert there(largest_segment, NEW, controller.peer_port) > 8900
    assert there(largest_segment, OLD, controller.peer_port) is None
    shown = subprocess.run(["ip", "-json", "rule", "show"], check=True, capture_output=True, text=True)
    (table,) = [one["table"] for one in json.loads(shown.stdout) if one.get("src") == NEW]
    route = subprocess.run(["ip", "route", "show", "table", table], check=True, capture_output=True, text=True)
    assert f"default via {ROUTER} dev port1" in route.stdout
    assert controller.terminate() == 0


def largest_segment(address: str, port: int) -> int | None:
    """Return how large TCP's segments to the peer conversation are, None when nobody answers there."""
    try:
        with socket.create_connection((address, port), 2) as connection:
            return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    except OSError:
        return None
