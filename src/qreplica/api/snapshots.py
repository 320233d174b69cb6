"""QSnap snapshots."""

from typing import Annotated, Self

from fastapi import Query
from pydantic import Field
from sqlalchemy.orm import Session

from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Name, Size, Strict, Time, example
from qreplica.api.problems import problems
from qreplica.state.models import Snapshot, SnapshotKind
from qreplica.storage import snapshots, virtual_disks

router = administered("/snapshots", "storage")


class SnapshotRequest(Strict):
    """A snapshot to take."""

    model_config = example({"vd": "payroll", "name": "before-upgrade"})
    vd: Annotated[str, Field(description="The VD's name")]
    name: Annotated[Name, Field(description="Unique among the VD's snapshots")]


class SnapshotAnswer(Answer):
    """A snapshot."""

    model_config = example(
        {
            "id": "2b1c6dba0c4b4f0d8b2f8b8f1c0a9d11",
            "vd": "payroll",
            "name": "before-upgrade",
            "kind": "manual",
            "size": 2147483648,
            "taken_at": "2026-11-24T09:30:00.000Z",
            "pinned_by": None,
        }
    )
    id: str
    vd: str
    name: str
    kind: SnapshotKind
    size: Annotated[Size, Field(description="The VD's size at that time, in bytes")]
    taken_at: Time | None
    pinned_by: Annotated[str | None, Field(description="Who needs it, so that it cannot be deleted")]

    @classmethod
    def of(cls, session: Session, snapshot: Snapshot) -> Self:
        """Return the answer that shows ``snapshot``."""
        return cls(
            id=snapshot.id,
            vd=snapshot.vd.name,
            name=snapshot.name,
            kind=snapshot.kind,
            size=snapshot.size,
            taken_at=snapshot.taken_at,
            pinned_by=" and ".join(snapshots.pins(session, snapshot.id)) or None,
        )


@router.get("", summary="List the snapshots", responses=problems(404))
def list_snapshots(
    services: TheServices, vd: Annotated[str | None, Query(description="Only those of this VD")] = None
) -> list[SnapshotAnswer]:
    """List the snapshots of one VD, or of all, oldest first."""
    with services.database.session(read_only=True) as session:
        if vd is not None:
            virtual_disks.get(session, vd)
        return [SnapshotAnswer.of(session, snapshot) for snapshot in snapshots.listing(session, vd)]


@router.post("", summary="Take a snapshot", status_code=201, responses=problems(404, 409, 507))
def create_snapshot(request: SnapshotRequest, services: TheServices) -> SnapshotAnswer:
    """Take a snapshot of a VD: it holds every write acknowledged before it, and none acknowledged after."""
    with services.database.session(read_only=True) as session:
        vd = virtual_disks.get(session, request.vd)
    snapshots.take(
        services.database,
        services.storage,
        services.pause,
        vd_id=vd.id,
        name=request.name,
        kind=SnapshotKind.MANUAL,
    )
    return show_snapshot(request.vd, request.name, services)


@router.get("/{vd}/{name}", summary="Show a snapshot", responses=problems(404))
def show_snapshot(vd: str, name: str, services: TheServices) -> SnapshotAnswer:
    """Show one snapshot of a VD."""
    with services.database.session(read_only=True) as session:
        return SnapshotAnswer.of(session, snapshots.get(session, vd, name))


@router.delete("/{vd}/{name}", summary="Delete a snapshot", status_code=204, responses=problems(404, 409))
def delete_snapshot(vd: str, name: str, services: TheServices) -> None:
    """Delete a snapshot that nothing needs; its space comes back in the background."""
    snapshots.delete(services.database, services.storage, vd, name)
