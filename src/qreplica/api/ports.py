"""iSCSI ports of the controllers."""

from typing import Annotated

from fastapi import Path, Query
from pydantic import Field

from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, example
from qreplica.api.licensed import LICENSED
from qreplica.api.problems import problems
from qreplica.iscsi import ports, qreplica_port

router = administered("/ports", "iscsi")
Owner = Annotated[int, Path(ge=1, le=2, description="The controller's number")]
Number = Annotated[int, Path(ge=1, le=4, description="The port's number")]


class PortAnswer(Answer):
    """An iSCSI port."""

    model_config = example(
        {
            "controller": 1,
            "number": 1,
            "interface": "p1",
            "address": "192.168.1.11",
            "prefix_length": 24,
            "qreplica": False,
            "hosts": ["iqn.2026-11.org.example:host (192.168.1.100)"],
        }
    )
    controller: int
    number: int
    interface: Annotated[str, Field(description="The network interface")]
    address: str
    prefix_length: int
    qreplica: Annotated[bool, Field(description="Whether it is the QReplica port, not open to hosts")]
    hosts: Annotated[list[str], Field(description="Who is logged in by it, a moment ago: initiator and address")]


@router.get("", summary="List the iSCSI ports", responses=problems())
def list_ports(services: TheServices) -> list[PortAnswer]:
    """List the iSCSI ports of all controllers."""
    with services.database.session(read_only=True) as session:
        return [PortAnswer.model_validate(port) for port in ports.listing(session)]


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
    services.reconcile_all()
    return list_ports(services)


@router.delete(
    "/{controller}/{number}/qreplica", summary="Disable QReplica on a port", responses=problems(404, 409, 422)
)
def disable_qreplica(controller: Owner, number: Number, services: TheServices) -> list[PortAnswer]:
    """Give the last port of both controllers back to hosts. Refused while a job runs."""
    with services.database.session() as session:
        qreplica_port.disable(session, (controller, number), controller=services.config.controller)
    services.reconcile_all()
    return list_ports(services)
