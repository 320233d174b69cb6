"""QSnap snapshots."""

from typing import Annotated, Self

from fastapi import Query
from pydantic import Field
from sqlalchemy.orm import Session

from qreplica.access.roles import Role
from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Name, Size, Strict, Time, example
from qreplica.api.operations import needs
from qreplica.api.problems import problems
from qreplica.state.models import Snapshot, SnapshotKind
from qreplica.storage import rolling_back, snapshots, virtual_disks

router = administered("/snapshots", "storage", changes=Role.OPERATOR)


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


class LossAnswer(Answer):
    """What rolling a VD back would lose."""

    model_config = example(
        {
            "vd": "payroll",
            "snapshot": "before-upgrade",
            "since": "2026-11-24T09:30:00.000Z",
            "changed": 104857600,
            "sentence": "everything written since 2026-11-24 09:30:00 UTC (2 h 10 min ago), 100 MiB",
        }
    )
    vd: str
    snapshot: str
    since: Time
    changed: Annotated[Size, Field(description="Bytes that have changed since, in whole blocks")]
    sentence: str


class RollBackRequest(Strict):
    """The word that stands for having read what will be lost."""

    model_config = example({"confirm": "payroll", "keep_present": None})
    confirm: Annotated[str | None, Field(description="The VD's name once more")] = None
    keep_present: Annotated[
        bool | None,
        Field(description="Take a snapshot before; null does so if there is snapshot space, true else refuses"),
    ] = None


class RollBackAnswer(Answer):
    """A VD that was rolled back."""

    model_config = example(
        {
            "vd": "payroll",
            "snapshot": "before-upgrade",
            "kept": "before-rollback-20261124-114000-250113",
            "problems": [],
        }
    )
    vd: str
    snapshot: str
    kept: Annotated[str | None, Field(description="The snapshot that has what was there before, if one was taken")]
    problems: Annotated[list[str], Field(description="What keeps it from being served again yet; it is tried again")]


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


@router.get("/{vd}/{name}/roll-back", summary="Show what a roll-back would lose", responses=problems(404))
def show_loss(vd: str, name: str, services: TheServices) -> LossAnswer:
    """Tell how much has changed in the VD since the snapshot, which rolling it back would lose."""
    loss = rolling_back.loss(services.database, services.storage, vd, name)
    return LossAnswer(vd=vd, snapshot=name, since=loss.since, changed=loss.changed, sentence=loss.sentence)


@router.post("/{vd}/{name}/roll-back", summary="Roll a virtual disk back", responses=problems(404, 409, 507))
@needs(Role.ADMIN)
def roll_back(vd: str, name: str, request: RollBackRequest, services: TheServices) -> RollBackAnswer:
    """Give the VD the content that it had when the snapshot was taken. All snapshots stay, and so does the VD's size.

    Without the word “confirm” it is refused, and told what would be lost. Refused too while hosts are logged in to a
    node that shows the VD, while a job sends it, and for a backup VD that a job holds. Nobody is served the VD
    meanwhile.
    """
    done = rolling_back.roll_back(
        services.database,
        services.storage,
        services.pause,
        services.let_go,
        vd=vd,
        snapshot=name,
        confirmed=request.confirm,
        keep_present=request.keep_present,
    )
    told = [problem.sentence for problem in done.problems]
    return RollBackAnswer(vd=vd, snapshot=name, kept=done.kept, problems=told)


@router.delete("/{vd}/{name}", summary="Delete a snapshot", status_code=204, responses=problems(404, 409))
def delete_snapshot(vd: str, name: str, services: TheServices) -> None:
    """Delete a snapshot that nothing needs; its space comes back in the background."""
    snapshots.delete(services.database, services.storage, vd, name)
