"""The lab's network: who reaches whom, and what a pulled cable does."""

import subprocess

import pytest

from qreplica.lab import namespaces
from qreplica.lab.commands import inside
from qreplica.lab.topology import HOST_ADDRESS, HOST_INTERFACE, Lab, Side

pytestmark = pytest.mark.root


def reaches(namespace: str, address: str, interface: str | None = None) -> bool:
    """Whether a TCP connection attempt is answered: refused is an answer."""
    program = f"""
import errno, socket, sys
connection = socket.socket()
connection.settimeout(2)
if {interface!r}:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, {interface!r}.encode())
sys.exit(connection.connect_ex(({address!r}, 9)) != errno.ECONNREFUSED)
"""
    return subprocess.run(inside(namespace, "/usr/bin/env", "python3", "-c", program), check=False).returncode == 0


def test_every_port_reaches_every_other(network: Lab) -> None:
    source, target = network.controller(Side.SOURCE), network.controller(Side.TARGET, 2)
    for mine, theirs in zip(source.ports, target.ports, strict=True):
        assert reaches(source.namespace, theirs.address, mine.interface)
        assert reaches(target.namespace, mine.address, theirs.interface)
        assert reaches(network.host, theirs.address)
    assert reaches(source.namespace, HOST_ADDRESS)
    assert "LOWER_UP" in namespaces.interface_flags(network.host, HOST_INTERFACE)


def test_a_pulled_cable_takes_away_just_its_address(network: Lab) -> None:
    target = network.controller(Side.TARGET)
    assert all(reaches(network.host, port.address) for port in target.ports)
    namespaces.pull_cable(target, 1)
    namespaces.pull_cable(target, 1)
    assert [namespaces.has_carrier(target, port.number) for port in target.ports] == [False, True, True, True]
    assert not reaches(network.host, target.ports[0].address)
    assert all(reaches(network.host, port.address) for port in target.ports[1:])
    namespaces.plug_cable(target, 1)
    assert reaches(network.host, target.ports[0].address)


def test_a_controller_without_one_cable_still_reaches_others_by_the_rest(network: Lab) -> None:
    source = network.controller(Side.SOURCE)
    there = network.controller(Side.TARGET).ports[0].address
    assert reaches(source.namespace, there)
    namespaces.pull_cable(source, 1)
    assert reaches(source.namespace, there)
    assert not reaches(source.namespace, there, "port1")


def test_the_labs_network_leads_nowhere_else(network: Lab) -> None:
    links = subprocess.run(
        ["ip", "-br", "-n", network.switch, "link"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert len(links) == 19  # loopback, bridge, the host's plug and sixteen ports'
    for namespace in network.namespaces:
        routes = ["ip", "-n", namespace, "route", "show", "default", "table", "all"]
        assert subprocess.run(routes, check=True, capture_output=True, text=True).stdout == ""
