"""Replication jobs."""

import functools
from typing import Annotated

from fastapi import Query
from pydantic import SecretStr

from qreplica.access.roles import Role
from qreplica.api.access import TheServices, administered
from qreplica.api.fields import revealed
from qreplica.api.job_models import (
    AcceptRequest,
    BackupVdsRequest,
    CycleAnswer,
    Discovered,
    JobAnswer,
    JobEditRequest,
    JobRequest,
    NodesRequest,
    Offered,
    OfferedNode,
    OfferedVd,
)
from qreplica.api.licensed import LICENSED
from qreplica.api.problems import problems
from qreplica.daemon.services import Services
from qreplica.iscsi.initiator import Chap
from qreplica.names import check_chap
from qreplica.replication import editing, jobs, wizard
from qreplica.replication.links import chap_of, qreplica_interface

router = administered("/jobs", "replication", changes=Role.OPERATOR)


@router.post("/discover", summary="Find a target's nodes", dependencies=LICENSED, responses=problems(403, 404, 502))
def discover(request: NodesRequest, services: TheServices) -> Discovered:
    """Ask a target subsystem for its iSCSI nodes that hold backup VDs: the wizard's third step."""
    found = jobs.discover_nodes(request.address, peer_port=request.peer_port, interface=_interface(services))
    with services.database.session(read_only=True) as session:
        reasons = wizard.of_nodes(session, found, request.job)
    nodes = [
        OfferedNode(iqn=node.iqn, chap=node.chap, backup_vds=node.backup_vds, qualifies=reason is None, reason=reason)
        for node, reason in zip(found.nodes, reasons, strict=True)
    ]
    return Discovered(subsystem=found.subsystem, controller=found.controller, nodes=nodes)


@router.post(
    "/backup-vds", summary="List a target node's VDs", dependencies=LICENSED, responses=problems(403, 404, 502)
)
def list_backup_vds(request: BackupVdsRequest, services: TheServices) -> Offered:
    """Ask a target's node for its VDs, proving that the CHAP name and secret are right: the wizard's fifth step."""
    found = jobs.list_backup_vds(
        request.address,
        request.node,
        _chap(request.chap_user, request.chap_secret),
        peer_port=request.peer_port,
        interface=_interface(services),
    )
    with services.database.session(read_only=True) as session:
        reasons = wizard.of_backup_vds(
            session, found, request.node, request.address, source_vd=request.source_vd, job=request.job
        )
        continuing = wizard.continuing(session, found, request.source_vd)
    vds = [
        OfferedVd(
            lun=vd.lun,
            name=vd.name,
            type=vd.type,
            size=vd.size,
            claimed=vd.claimed_by is not None,
            continues=since,
            qualifies=reason is None,
            reason=reason,
        )
        for vd, reason, since in zip(found.vds, reasons, continuing, strict=True)
    ]
    return Offered(subsystem=found.subsystem, vds=vds)


@router.get("", summary="List the jobs", responses=problems())
def list_jobs(services: TheServices) -> list[JobAnswer]:
    """List all jobs by name, each with its present or last cycle."""
    with services.database.session(read_only=True) as session:
        found = jobs.listing(session)
    unlicensed = _obstacle(services)
    return [JobAnswer.of(status, unlicensed) for status in found]


@router.post(
    "", summary="Make a job", status_code=201, dependencies=LICENSED, responses=problems(403, 404, 409, 502, 507)
)
def create_job(request: JobRequest, services: TheServices) -> JobAnswer:
    """Make a job, after every check, and log on to the backup VD once; a failure leaves nothing behind.

    A source VD without snapshot space gets twice its size (or the ratio configured), if its RG has so much free. A
    plain target is another maker's disk; it must be empty, or its identity be given as `overwrite`.
    """
    how = functools.partial(jobs.create_plain, overwrite=request.overwrite) if request.plain else jobs.create
    how(
        services.database,
        services.storage,
        name=request.name,
        source_vd=request.source_vd,
        address=request.address,
        node=request.node,
        lun=request.lun,
        chap=_chap(request.chap_user, request.chap_secret),
        mutual=_chap(request.mutual_user, request.mutual_secret),
        controller=services.config.controller,
        port=request.port,
        peer_port=request.peer_port,
        rpo_minutes=request.rpo_minutes,
        comment=request.comment,
    )
    return show_job(request.name, services)


@router.get("/{name}", summary="Show a job", responses=problems(404))
def show_job(name: str, services: TheServices) -> JobAnswer:
    """Show one job: its state, the step and progress of its cycle, its last recovery point and error."""
    with services.database.session(read_only=True) as session:
        status = jobs.status_of(session, name)
    return JobAnswer.of(status, _obstacle(services))


@router.patch("/{name}", summary="Edit a job", dependencies=LICENSED, responses=problems(401, 403, 404, 409, 502))
def edit_job(name: str, request: JobEditRequest, services: TheServices) -> JobAnswer:
    """Change a job's name and comment at any time; its CHAP names and secrets, and where its paths lead, at rest only.

    The new way to the target must lead to the very backup VD of the job, or nothing is changed.
    """
    given = request.model_fields_set
    log_on = {
        "chap_user": request.chap_user,
        "chap_secret": revealed(request.chap_secret),
        "mutual_user": request.mutual_user,
        "mutual_secret": revealed(request.mutual_secret),
    }
    changes = editing.Changes(
        name=request.name,
        comment=request.comment,
        log_on={column: value for column, value in log_on.items() if column in given},
        paths=[editing.PathChange(**path.model_dump()) for path in request.paths],
    )
    editing.edit(services.database, name, changes, controller=services.config.controller)
    return show_job(request.name or name, services)


@router.get("/{name}/cycles", summary="List a job's cycles", responses=problems(404))
def list_cycles(
    name: str, services: TheServices, limit: Annotated[int, Query(ge=1, le=1000, description="How many at most")] = 100
) -> list[CycleAnswer]:
    """List a job's latest runs, newest first."""
    with services.database.session(read_only=True) as session:
        return [CycleAnswer.model_validate(cycle) for cycle in jobs.cycles(session, name, limit)]


@router.post(
    "/{name}/start", summary="Run a job", status_code=202, dependencies=LICENSED, responses=problems(403, 404, 409)
)
def start_job(name: str, services: TheServices) -> JobAnswer:
    """Run a job: a full copy first, then what changed. One that was stopped or failed goes on from its checkpoint."""
    jobs.start(services.database, name)
    services.workers.wake()
    return show_job(name, services)


@router.post("/{name}/stop", summary="Stop a job", status_code=202, responses=problems(404))
def stop_job(name: str, services: TheServices) -> JobAnswer:
    """Stop a job; what was sent is kept. Stopping one that does not run does nothing."""
    jobs.stop(services.database, name)
    services.workers.wake()
    return show_job(name, services)


@router.post(
    "/{name}/accept-disk",
    summary="Accept a plain target's disk",
    dependencies=LICENSED,
    responses=problems(403, 404, 409),
)
def accept_disk(name: str, request: AcceptRequest, services: TheServices) -> JobAnswer:
    """Have the next cycle overwrite all of a plain target's disk, though its reservation was lost or taken.

    What the disk holds is lost then; the job still has to be started.
    """
    jobs.accept_disk(services.database, name, request.disk)
    return show_job(name, services)


@router.delete("/{name}", summary="Delete a job", status_code=204, responses=problems(404, 409))
def delete_job(name: str, services: TheServices) -> None:
    """Delete a job that does not run, with its snapshots. The backup VD keeps its recovery points."""
    jobs.delete(services.database, services.storage, name, controller=services.config.controller)


def _obstacle(services: Services) -> str | None:
    """Return why no job begins another cycle, if that is so."""
    obstacle = services.licensing.obstacle()
    return None if obstacle is None else obstacle.sentence


def _interface(services: Services) -> str | None:
    """Return our QReplica port's interface, by which a target is asked; None for any."""
    with services.database.session(read_only=True) as session:
        return qreplica_interface(session, services.config.controller)


def _chap(user: str | None, secret: SecretStr | None) -> Chap | None:
    """Return the CHAP name and secret. Raises ChapIncomplete for one without the other, and for unusable ones."""
    text = revealed(secret)
    check_chap(user, text)
    return chap_of(user, text)
