"""The names and addresses of a lab."""

import ipaddress
from pathlib import Path

import pytest

from qreplica.lab.errors import LabIdInvalid
from qreplica.lab.topology import NETWORK, Controller, Lab, Side


def addresses(controller: Controller) -> list[str]:
    return [port.address.removeprefix("192.168.1.") for port in controller.ports]


def test_the_addresses_are_the_white_papers() -> None:
    lab = Lab("lab")
    assert addresses(lab.controller(Side.SOURCE, 1)) == ["1", "2", "3", "4"]
    assert addresses(lab.controller(Side.SOURCE, 2)) == ["5", "6", "7", "8"]
    assert addresses(lab.controller(Side.TARGET, 1)) == ["11", "12", "13", "14"]
    assert addresses(lab.controller(Side.TARGET, 2)) == ["15", "16", "17", "18"]


def test_there_are_six_namespaces_and_no_name_or_address_twice() -> None:
    lab = Lab("lab")
    ports = [port for controller in lab.controllers for port in controller.ports]
    assert len(set(lab.namespaces)) == 6
    assert len({port.address for port in ports}) == len({port.plug for port in ports}) == 16
    assert all(ipaddress.ip_address(port.address) in ipaddress.ip_network(NETWORK) for port in ports)


def test_names_fit_the_kernel() -> None:
    lab = Lab("a" * 24)
    for controller in lab.controllers:
        assert all(len(name) <= 15 for port in controller.ports for name in (port.interface, port.plug))


def test_no_lab_takes_anothers_namespaces_for_its_own() -> None:
    longer = Lab("t12").namespaces
    assert not any(name.startswith(Lab("t1").namespace_prefix) for name in longer)


@pytest.mark.parametrize("text", ["", "-", "a-b", "A", "a" * 25, "../x", "a b", "a\n"])
def test_an_id_that_could_reach_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(LabIdInvalid):
        Lab(text)


def test_both_controllers_share_the_state_and_nothing_else() -> None:
    one, two = (Lab("lab", Path("/labs")).controller(Side.SOURCE, number) for number in (1, 2))
    assert one.state_dir == two.state_dir == Path("/labs/lab/source/state")
    assert {one.config_file, one.runtime_dir, one.log}.isdisjoint({two.config_file, two.runtime_dir, two.log})
