"""What the wizard for a new job asks first: which VDs may be replicated."""

from qreplica.api.access import TheServices, administered
from qreplica.api.job_models import SourceVd
from qreplica.api.licensed import LICENSED
from qreplica.api.problems import problems
from qreplica.replication import qualifying

router = administered("/qreplica", "replication")


@router.get("/source-vds", summary="List the source VDs", dependencies=LICENSED, responses=problems(403))
def list_source_vds(services: TheServices) -> list[SourceVd]:
    """List all VDs by name with whether a new job may replicate each, and why not: the wizard's second step."""
    with services.database.session(read_only=True) as session:
        return [
            SourceVd(
                name=one.vd.name,
                type=one.vd.type,
                size=one.vd.size,
                raid_group=one.vd.raid_group.name,
                snapshot_space=one.vd.snapshot_space,
                space_to_give=one.space,
                qualifies=one.obstacle is None,
                reason=None if one.obstacle is None else one.obstacle.sentence,
            )
            for one in qualifying.sources(session, services.storage)
        ]
