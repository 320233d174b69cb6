"""RAID groups."""

from typing import Annotated, Self

from pydantic import Field
from sqlalchemy.orm import Session

from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Name, Size, Strict, Time, example
from qreplica.api.problems import problems
from qreplica.state.models import RaidGroup
from qreplica.storage import raid_groups
from qreplica.storage.driver import GroupHealth, RaidLevel, StorageDriver

router = administered("/raid-groups", "storage")


class RaidGroupRequest(Strict):
    """An RG to make of disks."""

    model_config = example({"name": "rg1", "level": "raid1", "disks": ["d1", "d2"]})
    name: Name
    level: RaidLevel
    disks: Annotated[list[str], Field(min_length=1, max_length=64, description="The names of its disks")]


class RaidGroupAnswer(Answer):
    """An RG, and how its space is shared out: `usable` less `reserve`, `vd_space` and `snapshot_space` is `free`."""

    model_config = example(
        {
            "id": "0b1c6dba0c4b4f0d8b2f8b8f1c0a9d11",
            "name": "rg1",
            "level": "raid1",
            "disks": ["d1", "d2"],
            "health": "online",
            "missing_disks": 0,
            "usable": 10737418240,
            "reserve": 536870912,
            "vd_space": 2147483648,
            "snapshot_space": 4294967296,
            "free": 3758096384,
            "allocated": 1073741824,
            "created_at": "2026-11-24T09:00:00.000Z",
        }
    )
    id: str
    name: str
    level: RaidLevel
    disks: list[str]
    health: GroupHealth
    missing_disks: int
    usable: Annotated[Size, Field(description="Bytes that its disks and level give")]
    reserve: Annotated[Size, Field(description="Bytes kept for metadata")]
    vd_space: Annotated[Size, Field(description="Bytes promised to VDs")]
    snapshot_space: Annotated[Size, Field(description="Bytes promised to snapshots")]
    free: Annotated[Size, Field(description="Bytes not promised")]
    allocated: Annotated[Size, Field(description="Bytes that the file system has given out for data")]
    created_at: Time

    @classmethod
    def of(cls, session: Session, driver: StorageDriver, group: RaidGroup) -> Self:
        """Return the answer that shows ``group``."""
        space = raid_groups.space(session, group)
        status = driver.group_status(group.id)
        return cls(
            id=group.id,
            name=group.name,
            level=group.level,
            disks=[disk.name for disk in group.disks],
            health=status.health,
            missing_disks=status.missing_disks,
            usable=space.usable,
            reserve=space.reserve,
            vd_space=space.virtual_disks,
            snapshot_space=space.snapshot_space,
            free=max(0, space.free),
            allocated=status.allocated,
            created_at=group.created_at,
        )


@router.get("", summary="List the RAID groups", responses=problems())
def list_raid_groups(services: TheServices) -> list[RaidGroupAnswer]:
    """List all RGs by name."""
    with services.database.session(read_only=True) as session:
        groups = raid_groups.listing(session)
        return [RaidGroupAnswer.of(session, services.storage, group) for group in groups]


@router.post("", summary="Make a RAID group", status_code=201, responses=problems(404, 409))
def create_raid_group(request: RaidGroupRequest, services: TheServices) -> RaidGroupAnswer:
    """Make an RG of free disks, which must carry no signature of anything else."""
    raid_groups.create(services.database, services.storage, name=request.name, level=request.level, disks=request.disks)
    return show_raid_group(request.name, services)


@router.get("/{name}", summary="Show a RAID group", responses=problems(404))
def show_raid_group(name: str, services: TheServices) -> RaidGroupAnswer:
    """Show one RG and how its space is shared out."""
    with services.database.session(read_only=True) as session:
        return RaidGroupAnswer.of(session, services.storage, raid_groups.get(session, name))


@router.delete("/{name}", summary="Delete a RAID group", status_code=204, responses=problems(404, 409))
def delete_raid_group(name: str, services: TheServices) -> None:
    """Delete an RG that holds no VDs; its disks are wiped and free again."""
    raid_groups.delete(services.database, services.storage, name)
