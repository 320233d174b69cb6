"""Virtual disks."""

from typing import Annotated, Self

from fastapi import Query
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.access.roles import Role
from qreplica.api.access import TheCaller, TheServices, administered
from qreplica.api.fields import Answer, Name, Size, SizeIn, Strict, Time, example
from qreplica.api.operations import needs
from qreplica.api.problems import problems
from qreplica.replication import plans
from qreplica.state.models import Job, VdType, VirtualDisk
from qreplica.storage import automatic_snapshots, extending, raid_group_status, virtual_disks
from qreplica.storage.driver import StorageDriver

router = administered("/virtual-disks", "storage")

Settled = Annotated[
    bool,
    Query(
        description="Whether the engine counts anew what snapshots use, for which it writes out all that is dirty. For "
        "whoever asks again and again: false, what it counted last, usually some seconds ago at most"
    ),
]


class VirtualDiskRequest(Strict):
    """A VD to make."""

    model_config = example({"name": "payroll", "raid_group": "rg1", "size": "2GiB", "type": "RAID"})
    name: Name
    raid_group: Annotated[str, Field(description="The name of the RG that holds it")]
    size: Annotated[SizeIn, Field(description="A multiple of 4 KiB; bytes or `10GiB`")]
    type: Annotated[VdType, Field(description="RAID: hosts use it. BACKUP: a job replicates to it")] = VdType.RAID


class VirtualDiskChange(Strict):
    """What to change of a VD."""

    model_config = example({"snapshot_space": "8GiB"})
    snapshot_space: Annotated[SizeIn, Field(description="What its snapshots may use; bytes or `10GiB`")]


class ExtensionRequest(Strict):
    """How large a VD is to become."""

    model_config = example({"size": "4GiB"})
    size: Annotated[SizeIn, Field(description="The new size, larger than before; a multiple of 4 KiB")]


class RenamingRequest(Strict):
    """Another name for a VD."""

    model_config = example({"name": "payroll-2026"})
    name: Name


class ScheduleRequest(Strict):
    """When snapshots are taken by themselves."""

    model_config = example({"every_minutes": 60, "keep": 8})
    every_minutes: Annotated[int | None, Field(description="Minutes between two; null for none")]
    keep: Annotated[int, Field(description="How many of them are kept, the newest")] = 8


class WriteProtectionRequest(Strict):
    """Whether hosts can only read it."""

    model_config = example({"protected": True})
    protected: bool


class Attachment(Answer):
    """Where a VD is attached."""

    node: str
    number: Annotated[int, Field(description="The LUN")]
    snapshot: Annotated[str | None, Field(description="The snapshot shown in its place, read-only")]


class VirtualDiskAnswer(Answer):
    """A VD."""

    model_config = example(
        {
            "id": "1b1c6dba0c4b4f0d8b2f8b8f1c0a9d11",
            "name": "payroll",
            "type": "RAID",
            "size": 2147483648,
            "raid_group": "rg1",
            "owner": 1,
            "serial": "QR1b1c6dba0c4b4f0d",
            "snapshots": 2,
            "snapshot_space": 4294967296,
            "snapshot_used": 104857600,
            "snapshot_threshold": 2147483648,
            "snapshot_minutes": 60,
            "snapshots_kept": 8,
            "write_protected": False,
            "luns": [{"node": "hosts", "number": 1, "snapshot": None}],
            "created_at": "2026-11-24T09:00:00.000Z",
        }
    )
    id: str
    name: str
    type: VdType
    size: Size
    raid_group: str
    owner: Annotated[
        int | None, Field(description="The controller that takes its automatic snapshots; hosts use it by either")
    ]
    serial: Annotated[str, Field(description="The serial number that initiators see (VPD page 0x80)")]
    snapshots: Annotated[int, Field(description="How many snapshots it has")]
    snapshot_space: Annotated[Size, Field(description="Bytes that its snapshots may use")]
    snapshot_used: Annotated[int | None, Field(description="Bytes that they use; null while its RG is not open")]
    snapshot_threshold: Annotated[
        int | None, Field(description="Bytes of use from which its job runs by itself; null: it has none by schedule")
    ]
    snapshot_minutes: Annotated[int | None, Field(description="Minutes between automatic snapshots; null for none")]
    snapshots_kept: Annotated[int, Field(description="How many automatic snapshots are kept")]
    write_protected: Annotated[bool, Field(description="Hosts can only read it")]
    luns: list[Attachment]
    created_at: Time

    @classmethod
    def of(cls, session: Session, driver: StorageDriver, vd: VirtualDisk, *, settled: bool) -> Self:
        """Return the answer that shows ``vd``."""
        return cls(
            id=vd.id,
            name=vd.name,
            type=vd.type,
            size=vd.size,
            raid_group=vd.raid_group.name,
            owner=raid_group_status.maintainer_of(session, vd.raid_group_id),
            serial=vd.serial,
            snapshots=sum(snapshot.taken_at is not None for snapshot in vd.snapshots),
            snapshot_space=vd.snapshot_space,
            snapshot_used=virtual_disks.used_by_snapshots(driver, vd, settled=settled),
            snapshot_threshold=_threshold(session, vd),
            snapshot_minutes=vd.snapshot_minutes,
            snapshots_kept=vd.snapshots_kept,
            write_protected=vd.write_protected,
            luns=[
                Attachment(node=lun.node.name, number=lun.number, snapshot=lun.snapshot.name if lun.snapshot else None)
                for lun in vd.luns
            ],
            created_at=vd.created_at,
        )


def _threshold(session: Session, vd: VirtualDisk) -> int | None:
    job = session.scalar(select(Job).where(Job.source_vd_id == vd.id).limit(1))
    if job is None or plans.of(session, job.id).in_force is None:
        return None
    return plans.threshold_of(session, job)


@router.get("", summary="List the virtual disks", responses=problems())
def list_virtual_disks(services: TheServices, *, settled: Settled = True) -> list[VirtualDiskAnswer]:
    """List all VDs by name."""
    with services.database.session(read_only=True) as session:
        return [
            VirtualDiskAnswer.of(session, services.storage, vd, settled=settled)
            for vd in virtual_disks.listing(session)
        ]


@router.post("", summary="Make a virtual disk", status_code=201, responses=problems(404, 409, 507))
def create_virtual_disk(request: VirtualDiskRequest, services: TheServices) -> VirtualDiskAnswer:
    """Make a VD. Its whole size is promised to it; a BACKUP VD also gets as much snapshot space."""
    virtual_disks.create(
        services.database,
        services.storage,
        name=request.name,
        raid_group=request.raid_group,
        size=request.size,
        type_=request.type,
    )
    return show_virtual_disk(request.name, services)


@router.get("/{name}", summary="Show a virtual disk", responses=problems(404))
def show_virtual_disk(name: str, services: TheServices, *, settled: Settled = True) -> VirtualDiskAnswer:
    """Show one VD, where it is attached, and how much its snapshots use."""
    with services.database.session(read_only=True) as session:
        return VirtualDiskAnswer.of(session, services.storage, virtual_disks.get(session, name), settled=settled)


@router.patch("/{name}", summary="Set the snapshot space", responses=problems(404, 409, 507))
@needs(Role.OPERATOR)
def change_virtual_disk(name: str, request: VirtualDiskChange, services: TheServices) -> VirtualDiskAnswer:
    """Set how much the VD's snapshots may use; refused when they use more already, or the RG has not so much free."""
    virtual_disks.set_snapshot_space(services.database, services.storage, name, request.snapshot_space)
    return show_virtual_disk(name, services)


@router.put("/{name}/automatic-snapshots", summary="Schedule automatic snapshots", responses=problems(404, 507))
@needs(Role.OPERATOR)
def schedule_snapshots(name: str, request: ScheduleRequest, services: TheServices) -> VirtualDiskAnswer:
    """Have snapshots taken every so often, and the newest of them kept; none that something needs is let go.

    The first is taken within seconds. Times missed while no controller ran make one snapshot. When the snapshot space
    is used up, the oldest automatic snapshots are let go of, and no further one is taken once only the newest is left.
    """
    automatic_snapshots.schedule(services.database, name, minutes=request.every_minutes, keep=request.keep)
    return show_virtual_disk(name, services)


@router.put("/{name}/write-protection", summary="Write-protect a virtual disk", responses=problems(404, 409, 503))
@needs(Role.ADMIN)
def protect_virtual_disk(
    name: str, request: WriteProtectionRequest, services: TheServices, caller: TheCaller
) -> VirtualDiskAnswer:
    """Have hosts only read a VD, or write to it again. Their sessions are cut off once, and come back by themselves."""
    services.write_protection.put(name, protected=request.protected, by=caller.user)
    return show_virtual_disk(name, services)


@router.post("/{name}/extend", summary="Extend a virtual disk", responses=problems(404, 507))
def extend_virtual_disk(name: str, request: ExtensionRequest, services: TheServices) -> VirtualDiskAnswer:
    """Let a VD grow, attached or not; what is new reads as zeros. The snapshot space of a BACKUP VD grows by as much.

    Sessions go on; a host sees the new size when it looks again (rescan). A job's backup VD follows in its next cycle.
    """
    extending.extend(services.database, services.storage, name, request.size)
    services.reconcile()
    return show_virtual_disk(name, services)


@router.post("/{name}/rename", summary="Rename a virtual disk", responses=problems(404, 409))
def rename_virtual_disk(name: str, request: RenamingRequest, services: TheServices) -> VirtualDiskAnswer:
    """Give a VD another name. Hosts see no change: its serial number stays."""
    virtual_disks.rename(services.database, name, request.name)
    return show_virtual_disk(request.name, services)


@router.delete("/{name}", summary="Delete a virtual disk", status_code=204, responses=problems(404, 409))
def delete_virtual_disk(name: str, services: TheServices) -> None:
    """Delete a VD with all its snapshots and recovery points. Refused while it is attached or replicated."""
    virtual_disks.delete(services.database, services.storage, name)
