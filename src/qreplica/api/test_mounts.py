"""Test mounts: recovery points as writable disks, for a rehearsal that disturbs nothing."""

from typing import Annotated, Self

from pydantic import Field

from qreplica.access.roles import Role
from qreplica.api.access import TheCaller, TheServices, administered
from qreplica.api.fields import Answer, Name, Size, Strict, Time, example
from qreplica.api.problems import problems
from qreplica.replication import test_mounting
from qreplica.state.test_mount_models import TestMount
from qreplica.storage import virtual_disks

router = administered("/test-mounts", "replication", changes=Role.OPERATOR)


class TestMountRequest(Strict):
    """What is to be tried, and where."""

    __test__ = False
    model_config = example({"vd": "payroll-copy", "point": "7", "node": "rehearsal"})
    vd: Annotated[Name, Field(description="The backup VD")]
    point: Annotated[str, Field(max_length=64, description="The recovery point's generation, or its name")]
    name: Annotated[Name | None, Field(description="Null: named after both")] = None
    node: Annotated[Name | None, Field(description="The iSCSI node that it is attached to; null: none yet")] = None
    number: Annotated[int | None, Field(ge=1, le=255, description="The LUN; null: the next free")] = None


class TestMountAnswer(Answer):
    """A test mount."""

    __test__ = False
    model_config = example(
        {
            "name": "payroll-copy-test-7",
            "vd": "payroll-copy",
            "generation": 7,
            "size": 2147483648,
            "used": 104857600,
            "made_at": "2026-12-01T09:30:00.000Z",
            "made_by": "olaf",
            "luns": ["rehearsal/1"],
        }
    )
    name: Annotated[str, Field(description="The virtual disk that it is")]
    vd: Annotated[str, Field(description="The backup VD")]
    generation: Annotated[int, Field(description="That of the recovery point")]
    size: Annotated[Size, Field(description="Bytes, all of which are promised to it")]
    used: Annotated[int | None, Field(description="Bytes that it uses, as counted last; null: its RG is not open")]
    made_at: Time
    made_by: str
    luns: Annotated[list[str], Field(description="Where hosts find it: node and LUN")]

    @classmethod
    def of(cls, row: TestMount, services: TheServices) -> Self:
        """Make the answer."""
        vd = row.vd
        used = virtual_disks.used_if_open(services.storage, vd, settled=False)
        return cls(
            name=vd.name,
            vd=row.snapshot.vd.name,
            generation=row.generation,
            size=vd.size,
            used=None if used is None else used.total,
            made_at=row.made_at,
            made_by=row.made_by,
            luns=[f"{lun.node.name}/{lun.number}" for lun in vd.luns],
        )


@router.get("", summary="List the test mounts", responses=problems())
def list_test_mounts(services: TheServices) -> list[TestMountAnswer]:
    """List all test mounts by name."""
    with services.database.session(read_only=True) as session:
        return [TestMountAnswer.of(row, services) for row in test_mounting.listing(session)]


@router.post("", summary="Make a test mount", status_code=201, responses=problems(404, 409, 507))
def create_test_mount(request: TestMountRequest, services: TheServices, caller: TheCaller) -> TestMountAnswer:
    """Make a writable disk of a recovery point, while replication into its backup VD goes on.

    What is written to it is never seen in the recovery point, nor in the backup VD. The point stays as long as the test
    mount does, whose whole size is promised to it: refused where the RAID group has no room for that.
    """
    name = test_mounting.make(
        services.database,
        services.storage,
        request.vd,
        request.point,
        by=caller.user,
        name=request.name,
        node=request.node,
        lun=request.number,
    )
    if request.node is not None:
        services.reconcile()
    return show_test_mount(name, services)


@router.get("/{name}", summary="Show a test mount", responses=problems(404, 409))
def show_test_mount(name: str, services: TheServices) -> TestMountAnswer:
    """Show one test mount."""
    with services.database.session(read_only=True) as session:
        return TestMountAnswer.of(test_mounting.get(session, name), services)


@router.delete("/{name}", summary="End a test mount", status_code=204, responses=problems(404, 409))
def end_test_mount(name: str, services: TheServices) -> None:
    """Take a test mount from its hosts and delete it, with all that was written to it."""
    test_mounting.end(services.database, services.storage, name, services.reconcile)
