"""The paths of a replication job."""

from qreplica.access.roles import Role
from qreplica.api.access import TheServices, administered
from qreplica.api.job_models import JobAnswer, PathRequest, Port
from qreplica.api.jobs import show_job
from qreplica.api.licensed import LICENSED
from qreplica.api.problems import problems
from qreplica.replication import multipath

router = administered("/jobs/{name}/paths", "replication", changes=Role.OPERATOR)


@router.post("", summary="Add a path", status_code=201, dependencies=LICENSED, responses=problems(403, 404, 409, 502))
def add_path(name: str, request: PathRequest, services: TheServices) -> JobAnswer:
    """Add a path by an iSCSI port's address of the target, best of its other controller: “Create multi-path”.

    It must lead to the job's own backup VD. A running cycle is not disturbed.
    """
    multipath.add(
        services.database,
        name,
        request.address,
        port=request.port,
        peer_port=request.peer_port,
        node=request.node,
        lun=request.lun,
        controller=services.config.controller,
    )
    return show_job(name, services)


@router.delete("/{address}/{port}", summary="Remove a path", status_code=204, responses=problems(404, 409))
def remove_path(name: str, address: str, port: Port, services: TheServices) -> None:
    """Remove a path, though not the last one. A cycle whose data goes over it goes on over another one."""
    multipath.remove(services.database, name, address, port, controller=services.config.controller)
