"""Network namespaces, their cables and the switch.

Four ports in one subnet answer for each other unless told otherwise: ``arp_ignore=1`` and ``arp_announce=2`` keep each
address to its port, a routing table for each port sends answers out where the question came in, and
``ignore_routes_with_linkdown`` keeps other traffic off a port without a cable (kernel: networking/ip-sysctl).
"""

import json
from pathlib import Path

from qreplica.lab.commands import inside, run
from qreplica.lab.errors import CommandFailed
from qreplica.lab.topology import BRIDGE, HOST_ADDRESS, HOST_INTERFACE, NETWORK, PREFIX_LENGTH, Controller, Lab

NETNS = Path("/run/netns")
_FIRST_TABLE = 100
_SETTINGS = {
    "arp_ignore": 1,
    "arp_announce": 2,
    "rp_filter": 0,
    "ignore_routes_with_linkdown": 1,
}


def build(lab: Lab) -> None:
    """Make the six namespaces with all cables plugged in. Raises CommandFailed."""
    for namespace in lab.namespaces:
        run(["ip", "netns", "add", namespace])
        _configure(namespace, ["link set lo up"])
    _configure(lab.switch, [f"link add {BRIDGE} type bridge stp_state 0 forward_delay 0", f"link set {BRIDGE} up"])
    _plug_in(lab, lab.host, HOST_INTERFACE, HOST_ADDRESS, "host")
    for controller in lab.controllers:
        _wire(controller)


def wire_again(controller: Controller) -> None:
    """Make the namespace of a controller anew that was removed, with its cables plugged in. Raises CommandFailed."""
    run(["ip", "netns", "add", controller.namespace])
    _configure(controller.namespace, ["link set lo up"])
    _wire(controller)


def pull_cable(controller: Controller, port: int) -> None:
    """Take the switch's end of a port's cable down: exactly that port's address is unreachable. Idempotent."""
    _set_plug(controller, port, "down")


def plug_cable(controller: Controller, port: int) -> None:
    """Put a pulled cable back. Idempotent."""
    _set_plug(controller, port, "up")


def has_carrier(controller: Controller, port: int) -> bool:
    """Whether the port's cable is in."""
    return interface_flags(controller.namespace, controller.ports[port - 1].interface) >= {"UP", "LOWER_UP"}


def interface_flags(namespace: str, interface: str) -> set[str]:
    """Return what the kernel says of an interface, such as UP and LOWER_UP (netdevice(7))."""
    (link,) = json.loads(run(["ip", "-json", "-n", namespace, "link", "show", "dev", interface]))
    return set(link["flags"])


def existing(lab: Lab) -> list[str]:
    """Return the names of the lab's namespaces that exist, whichever they are."""
    if not NETNS.is_dir():
        return []
    return sorted(entry.name for entry in NETNS.iterdir() if entry.name.startswith(lab.namespace_prefix))


def remove(namespace: str) -> None:
    """Delete a namespace with its interfaces; another sweep may be faster."""
    try:
        run(["ip", "netns", "delete", namespace])
    except CommandFailed:
        if (NETNS / namespace).exists():
            raise


def _configure(namespace: str, lines: list[str]) -> None:
    run(["ip", "-n", namespace, "-batch", "-"], stdin="\n".join(lines) + "\n")


def _plug_in(lab: Lab, namespace: str, interface: str, address: str, plug: str) -> None:
    _configure(namespace, [f"link add {interface} type veth peer name {plug} netns {lab.switch}"])
    _configure(lab.switch, [f"link set {plug} master {BRIDGE} up"])
    _configure(namespace, [f"address add {address}/{PREFIX_LENGTH} dev {interface}", f"link set {interface} up"])


def _wire(controller: Controller) -> None:
    settings = [
        f"net.ipv4.conf.{place}.{name}={value}" for place in ("all", "default") for name, value in _SETTINGS.items()
    ]
    run(inside(controller.namespace, "sysctl", "-q", "-w", *settings))
    for port in controller.ports:
        _plug_in(controller.lab, controller.namespace, port.interface, port.address, port.plug)
        table = _FIRST_TABLE + port.number
        _configure(
            controller.namespace,
            [
                f"route add {NETWORK} dev {port.interface} src {port.address} table {table}",
                f"rule add from {port.address} table {table}",
            ],
        )


def _set_plug(controller: Controller, port: int, state: str) -> None:
    _configure(controller.lab.switch, [f"link set {controller.ports[port - 1].plug} {state}"])
