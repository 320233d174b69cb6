"""A port's interface is brought to what is wanted, in a network of the test's own with a machine at the other end."""

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qreplica.iscsi import arp
from qreplica.iscsi.addressing import Addressing
from qreplica.iscsi.interfaces import InterfaceNotSet, KernelInterfaces

from ..faults.networks import neighbour, own_network, run  # noqa: TID252

pytestmark = pytest.mark.root
FIRST, SECOND = Addressing("10.0.0.1", 24), Addressing("10.0.0.2", 24)
There = Callable[..., Any]


@pytest.fixture
def there() -> Iterator[There]:
    """The machine at the other end of port1; it has 10.0.0.100, and 10.9.9.9 behind the router that it is."""
    with own_network(), neighbour("port1", "far") as call:
        for address in ("10.0.0.100/24", "10.0.0.254/24", "10.9.9.9/32"):
            call(run, "ip", "address", "add", address, "dev", "far")
        call(run, "ip", "link", "set", "far", "up")
        yield call


@pytest.fixture
def interfaces() -> KernelInterfaces:
    return KernelInterfaces()


def shown(*words: str) -> Any:
    done = subprocess.run(["ip", "-4", "-json", *words], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def rules() -> set[tuple[str, str]]:
    """Return what our rules go by."""
    ours = [one for one in shown("rule", "show") if one["table"].isdecimal()]
    return {("oif", one["oif"]) if "oif" in one else ("from", one["src"]) for one in ours}


def routes() -> dict[str, str | None]:
    """Return the routes of our table, which is one, with their gateways."""
    (table,) = {one["table"] for one in shown("rule", "show") if one["table"].isdecimal()}
    return {one["dst"]: one.get("gateway") for one in shown("route", "show", "table", table)}


def addresses(interfaces: KernelInterfaces) -> set[tuple[str, int]]:
    found = interfaces.look("port1")
    assert found is not None
    return set(found.addresses)


def connects(address: str, listening: socket.socket) -> bool:
    """Try to reach a socket that listens on all addresses."""
    try:
        socket.create_connection((address, listening.getsockname()[1]), 1).close()
    except OSError:
        return False
    return True


def test_an_interface_gets_what_is_wanted_and_loses_the_old(there: There, interfaces: KernelInterfaces) -> None:
    run("ip", "address", "add", "10.0.0.1/24", "dev", "port1")
    run("ip", "address", "add", "10.0.0.77/24", "dev", "port1")  # no business of ours
    with socket.create_server(("", 0)) as listening:
        wanted = Addressing("10.0.0.2", 24, gateway="10.0.0.254", mtu=9000)
        interfaces.bring("port1", wanted, {"10.0.0.1"})
        assert addresses(interfaces) == {("10.0.0.2", 24), ("10.0.0.77", 24)}
        assert (rules(), routes()) == (
            {("from", "10.0.0.2"), ("oif", "port1")},
            {"10.0.0.0/24": None, "default": "10.0.0.254"},
        )
        assert shown("address", "show", "dev", "port1")[0]["mtu"] == 9000
        assert there(connects, "10.0.0.2", listening)
        assert not there(connects, "10.0.0.1", listening)
        state = shown("address", "show"), shown("rule", "show"), shown("route", "show", "table", "all")
        interfaces.bring("port1", wanted, {"10.0.0.1"})
        assert state == (shown("address", "show"), shown("rule", "show"), shown("route", "show", "table", "all"))


def test_what_leaves_the_address_or_is_bound_to_the_interface_takes_the_gateway(
    there: There, interfaces: KernelInterfaces
) -> None:
    interfaces.bring("port1", Addressing("10.0.0.2", 24, gateway="10.0.0.254"), set())
    listening = there(socket.create_server, ("10.9.9.9", 0))
    where = listening.getsockname()
    with listening:
        with socket.create_connection(where, 2, source_address=("10.0.0.2", 0)):
            pass
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"port1")
        bound.settimeout(2)
        with bound:
            bound.connect(where)
            assert bound.getsockname()[0] == "10.0.0.2"
        with pytest.raises(OSError, match="unreachable"):
            socket.create_connection(where, 2)  # nothing else of the machine goes that way
    interfaces.bring("port1", Addressing("10.0.0.2", 24), set())
    assert routes() == {"10.0.0.0/24": None}
    interfaces.bring("port1", Addressing("10.0.1.3", 24), {"10.0.0.2"})
    assert (rules(), routes()) == ({("from", "10.0.1.3"), ("oif", "port1")}, {"10.0.1.0/24": None})


@pytest.mark.usefixtures("there")
def test_another_prefix_of_the_same_address(interfaces: KernelInterfaces) -> None:
    interfaces.bring("port1", FIRST, set())
    interfaces.bring("port1", Addressing("10.0.0.1", 25), {"10.0.0.1"})
    assert addresses(interfaces) == {("10.0.0.1", 25)}
    assert routes() == {"10.0.0.0/25": None}
    interfaces.bring("port1", Addressing("10.0.0.1", 32), set())
    assert addresses(interfaces) == {("10.0.0.1", 32)}


@pytest.mark.usefixtures("there")
def test_an_address_that_a_neighbour_has_is_not_taken(interfaces: KernelInterfaces) -> None:
    interfaces.bring("port1", FIRST, set())
    before = shown("address", "show"), shown("rule", "show")
    with pytest.raises(InterfaceNotSet, match=r"because (..:){5}.. on its network has that address"):
        interfaces.bring("port1", Addressing("10.0.0.100", 24), {"10.0.0.1"})
    assert before == (shown("address", "show"), shown("rule", "show"))
    assert arp.holder("port1", "10.0.0.254") is not None
    assert arp.holder("port1", "10.0.0.3") is None


def test_neighbours_learn_who_has_the_address_now(there: There, interfaces: KernelInterfaces) -> None:
    with neighbour("port2", "far2") as other:
        there(
            run, "ip", "neigh", "replace", "10.0.0.2", "lladdr", "02:00:00:00:00:01", "dev", "far", "nud", "reachable"
        )
        other(run, "ip", "link", "set", "far2", "up")
        interfaces.bring("port1", SECOND, set())
        own = shown("link", "show", "dev", "port1")[0]["address"]
        (known,) = there(shown, "neigh", "show", "10.0.0.2")
        assert known["lladdr"] == own


@pytest.mark.usefixtures("there")
def test_what_cannot_be_set_is_told(interfaces: KernelInterfaces) -> None:
    with pytest.raises(
        InterfaceNotSet, match=r"Interface nowhere cannot be given 10.0.0.1/24 because there is no such"
    ):
        interfaces.bring("nowhere", FIRST, set())
    with pytest.raises(InterfaceNotSet, match="mtu greater than device maximum"):
        interfaces.bring("port1", Addressing("10.0.0.1", 24, mtu=70_000), set())
    assert interfaces.look("nowhere") is None
    found = interfaces.look("port1")
    assert found is not None
    assert (found.mtu, found.largest_mtu) == (1500, 65535)


@pytest.mark.usefixtures("there")
def test_loopback_is_left_alone(interfaces: KernelInterfaces) -> None:
    before = shown("address", "show"), shown("rule", "show")
    interfaces.bring("lo", Addressing("127.0.0.5", 8), {"127.0.0.1"})
    assert before == (shown("address", "show"), shown("rule", "show"))
    interfaces.bring("lo", FIRST, {"127.0.0.1"})
    assert ("127.0.0.1", 8) in (interfaces.look("lo") or pytest.fail("no lo")).addresses
