"""The demo's QReplica port: enabled, and shown to be the only one that a cycle's data leaves by."""

import json
from dataclasses import dataclass
from typing import Any

from qreplica.iscsi.qreplica_port import NUMBER
from qreplica.lab.administration import CommandLine
from qreplica.lab.commands import run
from qreplica.lab.errors import TrafficElsewhere
from qreplica.lab.topology import Lab, Side
from qreplica.units import KIB

#: What another port sends of itself, for neighbours to know it.
_NOISE = 64 * KIB


def enable(qreplica: CommandLine) -> None:
    """Make the last port of both controllers the QReplica port."""
    qreplica("port", "enable-qreplica", str(NUMBER))


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the source's ports have sent so far, in bytes, by controller and number."""

    sent: dict[tuple[int, int], int]

    @classmethod
    def now(cls, lab: Lab) -> "Traffic":
        """Ask the kernel. Raises CommandFailed."""
        sent = {}
        for controller in (one for one in lab.controllers if one.subsystem is Side.SOURCE):
            links = json.loads(run(["ip", "-json", "-stats", "-n", controller.namespace, "link", "show"]))
            counts = {link["ifname"]: int(link["stats64"]["tx"]["bytes"]) for link in links}
            sent.update({(controller.number, port.number): counts[port.interface] for port in controller.ports})
        return cls(sent)

    def check_since(self, before: "Traffic", carried: int) -> dict[str, Any]:
        """Return what the QReplica ports and all others have sent since. Raises TrafficElsewhere.

        The former must have sent ``carried`` bytes at least, the latter hardly anything.
        """
        more = {port: count - before.sent[port] for port, count in self.sent.items()}
        ours = sum(count for (_, number), count in more.items() if number == NUMBER)
        others = sum(more.values()) - ours
        if ours < carried or others > _NOISE:
            raise TrafficElsewhere(carried=carried, ours=ours, others=others)
        return {"sent_by_qreplica_ports": ours, "sent_by_other_ports": others}
