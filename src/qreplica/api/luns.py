"""LUNs: virtual disks attached to iSCSI nodes."""

from typing import Annotated, Self

from fastapi import Path
from pydantic import Field

from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Size, Strict, example
from qreplica.api.problems import problems
from qreplica.iscsi import nodes
from qreplica.iscsi.service_errors import NoSuchLun
from qreplica.state.models import Lun, VdType

router = administered("/luns", "iscsi")

Number = Annotated[int, Path(ge=1, le=255, description="The LUN")]


class LunRequest(Strict):
    """A VD, or a snapshot of it, to attach."""

    model_config = example({"node": "backups", "vd": "payroll-copy", "number": 1})
    node: Annotated[str, Field(description="The node's name")]
    vd: Annotated[str, Field(description="The VD's name")]
    number: Annotated[int | None, Field(ge=1, le=255, description="The LUN; the first free one if not given")] = None
    snapshot: Annotated[str | None, Field(description="Attach this snapshot of the VD, read-only")] = None


class LunAnswer(Answer):
    """A LUN."""

    model_config = example(
        {
            "node": "backups",
            "number": 1,
            "vd": "payroll-copy",
            "type": "BACKUP",
            "size": 2147483648,
            "snapshot": None,
        }
    )
    node: str
    number: int
    vd: str
    type: VdType
    size: Size
    snapshot: Annotated[str | None, Field(description="The snapshot of the VD that is shown, read-only")]

    @classmethod
    def of(cls, lun: Lun) -> Self:
        """Return the answer that shows ``lun``."""
        return cls(
            node=lun.node.name,
            number=lun.number,
            vd=lun.vd.name,
            type=lun.vd.type,
            size=lun.snapshot.size if lun.snapshot else lun.vd.size,
            snapshot=lun.snapshot.name if lun.snapshot else None,
        )


@router.get("", summary="List the LUNs", responses=problems())
def list_luns(services: TheServices) -> list[LunAnswer]:
    """List all LUNs by node and number."""
    with services.database.session(read_only=True) as session:
        return [LunAnswer.of(lun) for lun in nodes.luns(session)]


@router.post("", summary="Attach a virtual disk", status_code=201, responses=problems(404, 409))
def create_lun(request: LunRequest, services: TheServices) -> LunAnswer:
    """Attach a VD, or read-only one of its snapshots, to a node; initiators see it when the answer comes."""
    with services.database.session() as session:
        lun = nodes.attach(session, node=request.node, vd=request.vd, lun=request.number, snapshot=request.snapshot)
        answer = LunAnswer.of(lun)
    services.reconcile()
    return answer


@router.get("/{node}/{number}", summary="Show a LUN", responses=problems(404))
def show_lun(node: str, number: Number, services: TheServices) -> LunAnswer:
    """Show one LUN of a node."""
    with services.database.session(read_only=True) as session:
        for lun in nodes.get(session, node).luns:
            if lun.number == number:
                return LunAnswer.of(lun)
    raise NoSuchLun(node=node, lun=number)


@router.delete("/{node}/{number}", summary="Detach a LUN", status_code=204, responses=problems(404, 409))
def delete_lun(node: str, number: Number, services: TheServices) -> None:
    """Take a LUN away from its node; the VD keeps its data. Refused while a replication job holds it."""
    with services.database.session() as session:
        nodes.detach(session, node=node, lun=number)
    services.reconcile()
