"""iSCSI ports of the controllers."""

from typing import Annotated, Self

from fastapi import Path, Query
from pydantic import Field

from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Strict, example
from qreplica.api.licensed import LICENSED
from qreplica.api.problems import problems
from qreplica.iscsi import port_settings, ports, qreplica_port
from qreplica.iscsi.addressing import LARGEST_MTU, LEAST_MTU, Addressing
from qreplica.state.models import Port

router = administered("/ports", "iscsi")
Owner = Annotated[int, Path(ge=1, le=2, description="The controller's number")]
Number = Annotated[int, Path(ge=1, le=4, description="The port's number")]


_SETTING = {"address": "192.168.1.21", "prefix_length": 24, "gateway": "192.168.1.254", "mtu": 9000}

Gateway = Annotated[
    str | None, Field(description="The router to other networks, for what comes from the port's address; null for none")
]


class PortSettingAnswer(Answer):
    """What was set for a port, and is in force when its controller was restarted."""

    model_config = example(_SETTING)
    address: str
    prefix_length: int
    gateway: Gateway
    mtu: Annotated[int | None, Field(description="Bytes; null: the interface's is left alone")]


class PortAnswer(Answer):
    """An iSCSI port."""

    model_config = example(
        {
            "controller": 1,
            "number": 1,
            "interface": "p1",
            "address": "192.168.1.11",
            "prefix_length": 24,
            "gateway": None,
            "mtu": 1500,
            "largest_mtu": 9216,
            "pending": _SETTING,
            "qreplica": False,
            "hosts": ["iqn.2026-11.org.example:host (192.168.1.100)"],
        }
    )
    controller: int
    number: int
    interface: Annotated[str, Field(description="The network interface")]
    address: str
    prefix_length: int
    gateway: Gateway
    mtu: Annotated[int | None, Field(description="Bytes; null when the interface was not there at the start")]
    largest_mtu: Annotated[int | None, Field(description="The largest that the interface can have; null: not known")]
    pending: Annotated[
        PortSettingAnswer | None,
        Field(description="What takes effect when the port's controller is restarted; null when all is in force"),
    ]
    qreplica: Annotated[bool, Field(description="Whether it is the QReplica port, not open to hosts")]
    hosts: Annotated[list[str], Field(description="Who is logged in by it, a moment ago: initiator and address")]

    @classmethod
    def of(cls, port: Port, pending: Addressing | None) -> Self:
        """Return the answer that shows a port."""
        own = {name: getattr(port, name) for name in cls.model_fields if name != "pending"}
        setting = None if pending is None else PortSettingAnswer.model_validate(pending)
        return cls(**own, pending=setting)


class PortRequest(Strict):
    """What to change of a port; what is not given stays."""

    model_config = example(_SETTING)
    address: Annotated[str, Field(max_length=64, description="The IPv4 address of a host")] = ""
    prefix_length: Annotated[int, Field(ge=1, le=32, description="Bits of the subnet's prefix")] = 24
    gateway: Annotated[str | None, Field(max_length=64, description="A router in the subnet; null for none")] = None
    mtu: Annotated[
        int | None,
        Field(
            ge=0,
            le=65535,
            description=f"Bytes, from {LEAST_MTU} to {LARGEST_MTU} or what the interface can; null: left alone",
        ),
    ] = None


@router.get("", summary="List the iSCSI ports", responses=problems())
def list_ports(services: TheServices) -> list[PortAnswer]:
    """List the iSCSI ports of all controllers."""
    with services.database.session(read_only=True) as session:
        return [PortAnswer.of(port, port_settings.pending(session, port)) for port in ports.listing(session)]


@router.patch("/{controller}/{number}", summary="Set a port's address", responses=problems(404, 409))
def set_port(
    controller: Owner,
    number: Number,
    request: PortRequest,
    services: TheServices,
    *,
    drop_hosts: Annotated[bool, Query(description="Change it though hosts are logged in by it")] = False,
) -> PortAnswer:
    """Set address, prefix, gateway and MTU of a port. It takes effect when the port's controller is restarted.

    Until then the answer has it as `pending`. Refused while the port is the QReplica port and a job runs, or while
    hosts are logged in by it unless they are to be dropped. Jobs of other subsystems that replicate to the old address
    note that path as failed: give them the new one.
    """
    changes = {name: getattr(request, name) for name in request.model_fields_set}
    with services.database.session() as session:
        port_settings.put(
            session, (controller, number), changes, drop_hosts=drop_hosts, controller=services.config.controller
        )
    return next(one for one in list_ports(services) if (one.controller, one.number) == (controller, number))


@router.put(
    "/{controller}/{number}/qreplica",
    summary="Enable QReplica on a port",
    dependencies=LICENSED,
    responses=problems(403, 404, 409, 422),
)
def enable_qreplica(
    controller: Owner,
    number: Number,
    services: TheServices,
    *,
    drop_hosts: Annotated[bool, Query(description="Cut off hosts that use the port")] = False,
) -> list[PortAnswer]:
    """Make the last port of both controllers the QReplica port: not open to hosts, the only way out for jobs.

    Refused while a job runs, or while hosts use the port unless they are to be dropped.
    """
    with services.database.session() as session:
        qreplica_port.enable(
            session, (controller, number), drop_hosts=drop_hosts, controller=services.config.controller
        )
    services.reconcile()
    return list_ports(services)


@router.delete(
    "/{controller}/{number}/qreplica", summary="Disable QReplica on a port", responses=problems(404, 409, 422)
)
def disable_qreplica(controller: Owner, number: Number, services: TheServices) -> list[PortAnswer]:
    """Give the last port of both controllers back to hosts. Refused while a job runs."""
    with services.database.session() as session:
        qreplica_port.disable(session, (controller, number), controller=services.config.controller)
    services.reconcile()
    return list_ports(services)
