"""iSCSI ports of the controllers."""

from typing import Annotated

from pydantic import Field

from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, example
from qreplica.api.problems import problems
from qreplica.iscsi import ports

router = administered("/ports", "iscsi")


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
        }
    )
    controller: int
    number: int
    interface: Annotated[str, Field(description="The network interface")]
    address: str
    prefix_length: int
    qreplica: Annotated[bool, Field(description="Whether it is the QReplica port, not open to hosts")]


@router.get("", summary="List the iSCSI ports", responses=problems())
def list_ports(services: TheServices) -> list[PortAnswer]:
    """List the iSCSI ports of all controllers."""
    with services.database.session(read_only=True) as session:
        return [PortAnswer.model_validate(port) for port in ports.listing(session)]
