"""RAID groups."""

from qreplica.api.access import TheServices, administered
from qreplica.api.problems import problems
from qreplica.api.raid_group_models import (
    GrowthRequest,
    RaidGroupAnswer,
    RaidGroupChange,
    RaidGroupRequest,
    ReplacementRequest,
    ScrubAnswer,
)
from qreplica.storage import raid_group_disks, raid_groups, scrubs

router = administered("/raid-groups", "storage")


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


@router.patch("/{name}", summary="Set the scrub schedule", responses=problems(404))
def change_raid_group(name: str, request: RaidGroupChange, services: TheServices) -> RaidGroupAnswer:
    """Set how often the RG is scrubbed; null is only when asked for."""
    scrubs.schedule(services.database, name, request.scrub_days)
    return show_raid_group(name, services)


@router.post("/{name}/replace", summary="Replace a disk", responses=problems(404, 409))
def replace_disk(name: str, request: ReplacementRequest, services: TheServices) -> RaidGroupAnswer:
    """Begin to put a free disk in the place of one of the RG's; `rebuilt_percent` tells how far it is."""
    raid_group_disks.replace(services.database, services.storage, group=name, old=request.old, new=request.new)
    return show_raid_group(name, services)


@router.post("/{name}/grow", summary="Add a disk", responses=problems(404, 409))
def grow_raid_group(name: str, request: GrowthRequest, services: TheServices) -> RaidGroupAnswer:
    """Begin to add a free disk; its space is there to promise when everything is spread over all disks."""
    raid_group_disks.grow(services.database, services.storage, group=name, disk=request.disk)
    return show_raid_group(name, services)


@router.post("/{name}/scrub/start", summary="Start a scrub", responses=problems(404, 409))
def start_scrub(name: str, services: TheServices) -> RaidGroupAnswer:
    """Begin to read all copies of everything and mend what is wrong; one that runs goes on."""
    scrubs.start(services.database, services.storage, name)
    return show_raid_group(name, services)


@router.post("/{name}/scrub/stop", summary="Stop a scrub", responses=problems(404, 409))
def stop_scrub(name: str, services: TheServices) -> RaidGroupAnswer:
    """End a running scrub; by the schedule it is tried again in a day."""
    scrubs.stop(services.database, services.storage, name)
    return show_raid_group(name, services)


@router.get("/{name}/scrubs", summary="List the scrubs", responses=problems(404))
def list_scrubs(name: str, services: TheServices) -> list[ScrubAnswer]:
    """List the RG's scrubs and what they found, the latest first."""
    with services.database.session(read_only=True) as session:
        group = raid_groups.get(session, name)
        return [ScrubAnswer.of(run) for run in scrubs.listing(session, services.storage, group.id)]


@router.delete("/{name}", summary="Delete a RAID group", status_code=204, responses=problems(404, 409))
def delete_raid_group(name: str, services: TheServices) -> None:
    """Delete an RG that holds no VDs; its disks are wiped and free again."""
    raid_groups.delete(services.database, services.storage, name)
