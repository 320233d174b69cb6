"""What a port may have as address, gateway and MTU."""

import pytest

from qreplica.errors import QReplicaError
from qreplica.iscsi.addressing import Addressing, OtherPort, check
from qreplica.iscsi.service_errors import (
    PortAddressInvalid,
    PortAddressTaken,
    PortGatewayInvalid,
    PortMtuInvalid,
    PortSubnetsOverlap,
)

BEFORE = Addressing("192.168.1.1", 24)
PORT = (1, 1)


def other(controller: int, number: int, address: str, prefix_length: int = 24, then: str | None = None) -> OtherPort:
    present = Addressing(address, prefix_length)
    return OtherPort(controller, number, present, present if then is None else Addressing(then, prefix_length))


@pytest.mark.parametrize(
    "wanted",
    [
        Addressing("192.168.1.254", 24),
        Addressing("10.0.0.0", 31),
        Addressing("10.0.0.1", 31, gateway="10.0.0.0"),
        Addressing("10.0.0.0", 32),
        Addressing("10.255.255.254", 8, gateway="10.0.0.1", mtu=1280),
        Addressing("169.254.7.7", 16, mtu=9216),
    ],
)
def test_a_hosts_address_is_taken(wanted: Addressing) -> None:
    check(wanted, PORT, BEFORE, [other(1, 2, "172.16.0.1"), other(2, 1, "192.168.1.5")])


@pytest.mark.parametrize(
    ("address", "prefix_length", "reason"),
    [
        ("192.168.1.0", 24, "it is the network address of 192.168.1.0/24"),
        ("192.168.1.255", 24, "it is the broadcast address of 192.168.1.0/24"),
        ("192.168.1.3", 30, "it is the broadcast address of 192.168.1.0/30"),
        ("255.255.255.255", 32, "it is of a range that is reserved"),
        ("240.0.0.1", 24, "it is of a range that is reserved"),
        ("224.0.0.5", 24, "it is a multicast address"),
        ("10.0.0.1", 0, "a prefix has from 1 to 32 bits"),
        ("0.1.2.3", 8, "an address that begins with 0 is no host's"),
        ("127.0.0.1", 8, "it is a loopback address, which no other machine reaches"),
        ("fe80::1", 32, "it is an IPv6 address, and ports speak IPv4"),
        ("10.0.0.1", 33, "a prefix has from 1 to 32 bits"),
        *(
            (text, 24, "it is not an IP address")
            for text in ("", "10.0.0", "10.0.0.256", "010.0.0.1", "box", "1 ", "٣")
        ),
    ],
)
def test_what_is_no_hosts_address_is_refused(address: str, prefix_length: int, reason: str) -> None:
    with pytest.raises(PortAddressInvalid) as caught:
        check(Addressing(address, prefix_length), PORT, BEFORE, [])
    told = f"{address}/{prefix_length} cannot be the address of port 1 of controller 1 because {reason}: "
    assert str(caught.value).startswith(told)


def test_a_port_that_is_on_loopback_may_stay_there() -> None:
    before, others = Addressing("127.0.0.1", 8), [other(1, 2, "127.0.0.2", 8)]
    check(Addressing("127.0.0.3", 8), PORT, before, others)
    check(Addressing("10.0.0.1", 8), PORT, before, others)
    with pytest.raises(PortAddressTaken):
        check(Addressing("127.0.0.2", 8), PORT, before, others)
    with pytest.raises(PortGatewayInvalid, match="nothing leaves by a loopback address"):
        check(Addressing("127.0.0.3", 8, gateway="127.0.0.9"), PORT, before, others)


@pytest.mark.parametrize("owner", [1, 2])
def test_no_two_ports_have_one_address(owner: int) -> None:
    told = (
        f"10.0.0.7 cannot be the address of port 1 of controller 1 because it is that of port 3 of controller {owner}"
    )
    for there in (other(owner, 3, "10.0.0.7"), other(owner, 3, "10.9.0.1", then="10.0.0.7")):
        with pytest.raises(PortAddressTaken, match=told):
            check(Addressing("10.0.0.7", 24), PORT, BEFORE, [there])


def test_two_ports_of_a_controller_do_not_come_into_one_subnet() -> None:
    with pytest.raises(PortSubnetsOverlap) as caught:
        check(Addressing("10.1.0.1", 16), PORT, BEFORE, [other(1, 2, "10.1.2.1")])
    assert str(caught.value) == (
        "Port 1 of controller 1 cannot be in 10.1.0.0/16 because that overlaps 10.1.2.0/24 of its port 2, and answers "
        "would leave by the wrong port: choose a subnet that no other port is in."
    )
    check(Addressing("10.1.0.1", 16), PORT, BEFORE, [other(2, 2, "10.1.2.1")])
    # What counts is where the other one will be.
    check(Addressing("10.1.0.1", 16), PORT, BEFORE, [other(1, 2, "10.1.2.1", then="10.2.2.1")])
    with pytest.raises(PortSubnetsOverlap):
        check(Addressing("10.1.0.1", 16), PORT, BEFORE, [other(1, 2, "10.2.2.1", then="10.1.2.1")])


def test_the_white_papers_ports_of_one_subnet_may_change_within_it() -> None:
    others = [other(1, 2, "192.168.1.2"), other(1, 3, "172.16.0.1")]
    check(Addressing("192.168.1.21", 24), PORT, BEFORE, others)
    check(Addressing("192.168.1.1", 25), PORT, BEFORE, others)
    with pytest.raises(PortSubnetsOverlap):
        check(Addressing("172.16.0.2", 24), PORT, BEFORE, others)


@pytest.mark.parametrize(
    ("gateway", "reason"),
    [
        ("10.0.1.1", "it is not in the port's subnet 10.0.0.0/24"),
        ("10.0.0.7", "it is the port's own address"),
        ("10.0.0.0", "it is the network address of 10.0.0.0/24"),
        ("10.0.0.255", "it is the broadcast address of 10.0.0.0/24"),
        ("router", "it is not an IPv4 address"),
        ("fe80::1", "it is not an IPv4 address"),
    ],
)
def test_a_gateway_is_a_neighbour(gateway: str, reason: str) -> None:
    with pytest.raises(PortGatewayInvalid) as caught:
        check(Addressing("10.0.0.7", 24, gateway=gateway), PORT, BEFORE, [])
    assert f"{gateway} cannot be the gateway of port 1 of controller 1 because {reason}: " in str(caught.value)


@pytest.mark.parametrize(
    ("mtu", "largest", "most"), [(1279, None, 9216), (9217, 65535, 9216), (9000, 1500, 1500), (0, 0, 9216)]
)
def test_an_mtu_is_within_what_the_interface_can(mtu: int, largest: int | None, most: int) -> None:
    told = f"An MTU of {mtu} bytes is not possible on port 1 of controller 1: choose one from 1280 to {most}."
    with pytest.raises(PortMtuInvalid) as caught:
        check(Addressing("10.0.0.7", 24, mtu=mtu), PORT, BEFORE, [], largest)
    assert str(caught.value) == told


def test_a_refusal_tells_before_anything_else_is_looked_at() -> None:
    with pytest.raises(QReplicaError) as caught:
        check(Addressing("nonsense", 99, gateway="x", mtu=1), PORT, BEFORE, [other(1, 2, "10.0.0.1")])
    assert caught.value.status == 422
