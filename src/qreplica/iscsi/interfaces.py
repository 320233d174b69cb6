"""Sets a port's network interface by iproute2: address, MTU, and a routing table of its own.

The table makes what is sent from the port's address, or is bound to the interface as jobs' sessions on the QReplica
port are, leave by this interface and by its gateway, whatever the machine's other routes say (ip-rule(8)).
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from qreplica.errors import EngineFailed
from qreplica.iscsi import arp
from qreplica.iscsi.addressing import LONGEST_WITH_BROADCAST, Addressing

_PATIENCE = 30.0
#: The tables of interfaces: this, and the interface's number. Nobody else's are as high.
_FIRST_TABLE, _TABLES = 3_260_000, 1_000_000
#: Before the main table's rule, 32766, and those that people add without saying where.
_BY_ADDRESS, _BY_INTERFACE = 20_000, 20_001


class InterfaceNotSet(EngineFailed):
    """The network interface of a port cannot be brought to what was set."""

    kind = "interface-not-set"
    template = (
        "Interface {interface} cannot be given {addressing} because {reason}: put that right, or set the port anew by "
        "“qreplica port set”, and restart the controller."
    )


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface: its number, MTU and the largest that it can have (bytes), and its addresses with their prefixes."""

    number: int
    is_up: bool
    mtu: int
    largest_mtu: int | None
    addresses: frozenset[tuple[str, int]]


class Interfaces(Protocol):
    """The network interfaces of this controller's machine."""

    def look(self, name: str) -> Interface | None:
        """Return the interface, None when there is none of that name that can be asked."""

    def bring(self, name: str, wanted: Addressing, leave: Container[str]) -> None:
        """Bring the interface to ``wanted``, and take the addresses in ``leave`` from it; idempotent.

        All its other addresses stay, and so do those of loopback, which the kernel has all by itself. Raises
        InterfaceNotSet, when a part of it may have been done.
        """


class KernelInterfaces:
    """The real ones."""

    def look(self, name: str) -> Interface | None:
        """See Interfaces."""
        try:
            return _look(name)
        except _Failed:
            return None

    def bring(self, name: str, wanted: Addressing, leave: Container[str]) -> None:
        """See Interfaces."""
        if wanted.is_loopback:
            return
        try:
            self._bring(name, wanted, leave)
        except (_Failed, OSError) as error:
            raise InterfaceNotSet(interface=name, addressing=wanted, reason=error) from error

    def _bring(self, name: str, wanted: Addressing, leave: Container[str]) -> None:
        found = _look(name)
        if wanted.mtu is not None and wanted.mtu != found.mtu:
            _ip("link", "set", "dev", name, "mtu", str(wanted.mtu))
        if not found.is_up:
            _ip("link", "set", "dev", name, "up")
        ours = (wanted.address, wanted.prefix_length)
        if all(address != wanted.address for address, _ in found.addresses):
            other = arp.holder(name, wanted.address)
            if other is not None:
                raise _Failed(f"{other} on its network has that address")
        if ours not in found.addresses:
            broadcast = ["broadcast", "+"] if wanted.prefix_length <= LONGEST_WITH_BROADCAST else []
            _ip("address", "add", f"{wanted.address}/{wanted.prefix_length}", *broadcast, "dev", name)
        _route(name, wanted, _FIRST_TABLE + found.number % _TABLES, leave)
        for address, length in sorted(found.addresses - {ours}):
            if address == wanted.address or (address in leave and not Addressing(address, length).is_loopback):
                # Else the kernel would take the newer addresses of the same subnet away with the older.
                Path("/proc/sys/net/ipv4/conf", name, "promote_secondaries").write_text("1\n")
                _ip("address", "del", f"{address}/{length}", "dev", name)
        # A courtesy: neighbours that do not hear it learn by themselves.
        with contextlib.suppress(OSError):
            arp.announce(name, wanted.address)


class _Failed(Exception):
    """Why something could not be done, as part of a sentence."""


def _look(name: str) -> Interface:
    # Not by /sys, which may show those of another network namespace.
    found = next((one for one in _listed("-details", "address", "show") if one["ifname"] == name), None)
    if found is None:
        raise _Failed("there is no such interface")
    return Interface(
        number=found["ifindex"],
        is_up="UP" in found["flags"],
        mtu=found["mtu"],
        largest_mtu=found.get("max_mtu") or None,
        addresses=frozenset((one["local"], one["prefixlen"]) for one in found["addr_info"] if one["family"] == "inet"),
    )


def _route(name: str, wanted: Addressing, table: int, leave: Container[str]) -> None:
    """Have the table, and the rules that lead to it, say what is wanted and nothing else."""
    for rule in _listed("rule", "show"):
        number = rule.get("table", "")
        is_ours = number.isdecimal() and _FIRST_TABLE <= int(number) < _FIRST_TABLE + _TABLES
        source = rule.get("src", "")
        if is_ours and (int(number) == table or source == wanted.address or source in leave):
            _ip("rule", "del", "priority", str(rule["priority"]), *_selector(rule), "table", number)
    subnet = ["route", "replace", str(wanted.subnet), "dev", name, "src", wanted.address, "table", str(table)]
    _ip(*subnet)  # a table that holds nothing cannot be flushed
    _ip("route", "flush", "table", str(table))
    _ip(*subnet)
    if wanted.gateway is not None:
        _ip("route", "add", "default", "via", wanted.gateway, "dev", name, "src", wanted.address, "table", str(table))
    _ip("rule", "add", "priority", str(_BY_ADDRESS), "from", wanted.address, "table", str(table))
    _ip("rule", "add", "priority", str(_BY_INTERFACE), "oif", name, "table", str(table))


def _selector(rule: dict[str, Any]) -> list[str]:
    """Return what a rule goes by, as ``ip rule`` takes it."""
    if "oif" in rule:
        return ["oif", rule["oif"]]
    length = f"/{rule['srclen']}" if "srclen" in rule else ""
    return ["from", f"{rule['src']}{length}"]


def _listed(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_ip("-json", *arguments))
    return [one for one in found if one]


def _ip(*arguments: str) -> str:
    """Run ``ip`` and return what it said. Raises _Failed."""
    environment = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["ip", *arguments], capture_output=True, text=True, timeout=_PATIENCE, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Failed(f"“ip {' '.join(arguments)}” did not work ({error})") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise _Failed(f"“ip {' '.join(arguments)}” failed ({said})")
    return done.stdout
