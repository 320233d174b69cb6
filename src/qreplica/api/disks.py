"""Disks: block devices, and image files on loop devices."""

from typing import Annotated, Self

from pydantic import Field

from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Name, Size, SizeIn, Strict, example
from qreplica.api.problems import problems
from qreplica.state.models import Disk
from qreplica.storage import disks, raid_group_disks

router = administered("/disks", "storage")


class DiskRequest(Strict):
    """A disk to make known: a block device, or an image file."""

    model_config = example({"name": "d1", "image": "/srv/qreplica/d1.img", "size": "10GiB"})
    name: Name
    device: Annotated[str | None, Field(description="A block device, such as `/dev/sdb`")] = None
    image: Annotated[str | None, Field(description="An image file; a loop device with direct I/O stands for it")] = None
    size: Annotated[SizeIn | None, Field(description="Make the image file with this size; bytes or `10GiB`")] = None


class DiskChange(Strict):
    """A change of what a free disk is for."""

    model_config = example({"spare": True})
    spare: Annotated[bool, Field(description="Whether it takes the place of a disk that fails, by itself")]


class DiskAnswer(Answer):
    """A disk."""

    model_config = example(
        {
            "id": "6f1c6dba0c4b4f0d8b2f8b8f1c0a9d11",
            "name": "d1",
            "device": "/dev/loop0",
            "image": "/srv/qreplica/d1.img",
            "size": 10737418240,
            "raid_group": "rg1",
            "spare": False,
            "failed": False,
            "errors": 0,
        }
    )
    id: str
    name: str
    device: str | None
    image: str | None
    size: Size
    raid_group: Annotated[str | None, Field(description="The RG that it belongs to")]
    spare: Annotated[bool, Field(description="Whether it takes the place of a disk that fails, by itself")]
    failed: Annotated[bool, Field(description="Whether it is missing, or made too many errors")]
    errors: Annotated[int, Field(description="The errors that it made since it joined its RG")]

    @classmethod
    def of(cls, disk: Disk) -> Self:
        """Return the answer that shows ``disk``."""
        return cls(
            id=disk.id,
            name=disk.name,
            device=disk.device,
            image=disk.image,
            size=disk.size,
            raid_group=disk.raid_group.name if disk.raid_group else None,
            spare=disk.spare,
            failed=disk.failed,
            errors=disk.errors,
        )


@router.get("", summary="List the disks", responses=problems())
def list_disks(services: TheServices) -> list[DiskAnswer]:
    """List all disks by name."""
    with services.database.session(read_only=True) as session:
        return [DiskAnswer.of(disk) for disk in disks.listing(session)]


@router.post("", summary="Add a disk", status_code=201, responses=problems(409))
def create_disk(request: DiskRequest, services: TheServices) -> DiskAnswer:
    """Make a disk known: a block device, or an image file, which is made sparse when it is new and a size is given."""
    disks.add(services.database, name=request.name, device=request.device, image=request.image, size=request.size)
    return show_disk(request.name, services)


@router.get("/{name}", summary="Show a disk", responses=problems(404))
def show_disk(name: str, services: TheServices) -> DiskAnswer:
    """Show one disk, and the RG that it belongs to."""
    with services.database.session(read_only=True) as session:
        return DiskAnswer.of(disks.get(session, name))


@router.patch("/{name}", summary="Set whether a disk is a spare", responses=problems(404, 409))
def change_disk(name: str, request: DiskChange, services: TheServices) -> DiskAnswer:
    """Keep a free disk as a spare, for whichever RAID group loses a disk of at most its size first; or no longer."""
    raid_group_disks.set_spare(services.database, name, spare=request.spare)
    return show_disk(name, services)


@router.delete("/{name}", summary="Remove a disk", status_code=204, responses=problems(404, 409))
def delete_disk(name: str, services: TheServices) -> None:
    """Forget a disk that belongs to no RAID group; an image file stays."""
    disks.remove(services.database, name)
