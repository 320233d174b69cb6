"""What administrators see of recovery points and say of them: which are kept and why, the retention, and locks."""

from dataclasses import astuple, dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from qreplica.events import log
from qreplica.replication import configuration, retention
from qreplica.replication.recovery_points import facts_of, policy_of
from qreplica.replication.retention_errors import GenerationAmbiguous, NoSuchRecoveryPoint, RetentionOfRaid
from qreplica.state.database import Database
from qreplica.state.models import Claim, RecoveryPoint, Severity, VdType, VirtualDisk, now
from qreplica.state.retention_models import RetentionPolicy
from qreplica.storage import virtual_disks


@dataclass(frozen=True, slots=True)
class KeptPoint:
    """A recovery point, the name of its snapshot, and the rules that keep it; none: the next cycle's begin drops it."""

    point: RecoveryPoint
    name: str
    kept_by: list[str]


def listing(session: Session, vd_name: str, policy: retention.Policy | None = None) -> list[KeptPoint]:
    """Return the backup VD's points, oldest first, as its retention judges them, or as ``policy`` would.

    Raises NotFound, RetentionOfRaid.
    """
    vd = _backup_vd(session, vd_name)
    job = session.scalar(select(Claim.job_id).where(Claim.vd_id == vd.id))
    facts = facts_of(session, vd.id, job or "")
    rules = retention.kept_by(
        facts, policy or policy_of(session, vd.id, retention.DEFAULT), configuration.time_zone(session)
    )
    found = {point.id: point for point in session.scalars(select(RecoveryPoint).where(RecoveryPoint.vd_id == vd.id))}
    return [KeptPoint(found[one.id], found[one.id].snapshot.name, rules[one.id]) for one in facts]


def get(session: Session, vd_name: str, point: str) -> KeptPoint:
    """Return the point of that name or generation.

    Raises NotFound, RetentionOfRaid, NoSuchRecoveryPoint, GenerationAmbiguous.
    """
    points = listing(session, vd_name)
    # No name of a point is a number.
    found = [one for one in points if point in {one.name, str(one.point.generation)}]
    if not found:
        raise NoSuchRecoveryPoint(vd=vd_name, point=point)
    if len(found) > 1:
        raise GenerationAmbiguous(vd=vd_name, generation=point, names=" or ".join(one.name for one in found))
    return found[0]


def lock(database: Database, vd_name: str, point: str, *, by: str, note: str) -> None:
    """Have nothing automatic let the point go until it is unlocked; ``note`` says why, at most 256 characters.

    One that is locked already stays so, since when and by whom it was; its note becomes ``note``. Raises what ``get``
    does.
    """
    with database.session() as session:
        one = get(session, vd_name, point).point
        values: dict[str, object] = {"lock_note": note}
        if one.locked_at is None:
            values |= {"locked_at": now(), "locked_by": by}
            log.record(session, Severity.INFO, "recovery-point-locked", f"vd {vd_name}", _told(one, "locked", by))
        _change(session, vd_name, one, values)


def unlock(database: Database, vd_name: str, point: str, *, by: str) -> None:
    """Have the retention judge the point as any other again, from the next cycle on. Idempotent.

    Raises what ``get`` does.
    """
    with database.session() as session:
        one = get(session, vd_name, point).point
        if one.locked_at is not None:
            log.record(session, Severity.INFO, "recovery-point-unlocked", f"vd {vd_name}", _told(one, "unlocked", by))
            _change(session, vd_name, one, {"locked_at": None, "locked_by": None, "lock_note": ""})


def policy(session: Session, vd_name: str) -> retention.Policy:
    """Return the backup VD's retention, the default unless it was set. Raises NotFound, RetentionOfRaid."""
    return policy_of(session, _backup_vd(session, vd_name).id, retention.DEFAULT)


def is_set(session: Session, vd_name: str) -> bool:
    """Tell whether the backup VD has a retention of its own. Raises NotFound, RetentionOfRaid."""
    return session.get(RetentionPolicy, _backup_vd(session, vd_name).id) is not None


def set_policy(database: Database, vd_name: str, policy: retention.Policy | None) -> None:
    """Give the backup VD another retention, by which its next cycle lets points go; None: the default. Idempotent.

    Raises NotFound, RetentionOfRaid.
    """
    with database.session() as session:
        vd = _backup_vd(session, vd_name)
        row = session.get(RetentionPolicy, vd.id)
        before = policy_of(session, vd.id, retention.DEFAULT)
        if row is not None:
            session.delete(row)
            session.flush()
        if policy is not None:
            last, hourly, daily, weekly, monthly = astuple(policy)
            session.add(
                RetentionPolicy(vd_id=vd.id, last=last, hourly=hourly, daily=daily, weekly=weekly, monthly=monthly)
            )
        after = policy or retention.DEFAULT
        if after != before:
            told = (
                f"Of its recovery points are kept: the last {after.last}, and {after.hourly} hourly, {after.daily} "
                f"daily, {after.weekly} weekly and {after.monthly} monthly ones."
            )
            log.record(session, Severity.INFO, "retention-set", f"vd {vd_name}", told)


def _backup_vd(session: Session, vd_name: str) -> VirtualDisk:
    vd = virtual_disks.get(session, vd_name)
    if vd.type is not VdType.BACKUP:
        raise RetentionOfRaid(vd=vd_name)
    return vd


def _told(point: RecoveryPoint, what: str, by: str) -> str:
    return f"Recovery point {point.snapshot.name} (generation {point.generation}) was {what} by {by}."


def _change(session: Session, vd_name: str, point: RecoveryPoint, values: dict[str, object]) -> None:
    """Change the point. Raises NoSuchRecoveryPoint when it is being let go at this very moment (PostgreSQL)."""
    statement = update(RecoveryPoint).where(RecoveryPoint.id == point.id).values(**values)
    if session.execute(statement).rowcount != 1:  # type: ignore[attr-defined] # every UPDATE's result has it
        raise NoSuchRecoveryPoint(vd=vd_name, point=point.snapshot.name)
