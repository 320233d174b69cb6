"""Scrubs of RGs: begun, ended, due by a schedule, and what each found.

The engine knows only its last scrub; ``note`` copies what it says into that scrub's row, which ``started_at`` tells
from others. So a scrub whose starter died, or that another controller began, has its row all the same.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.state.database import Database
from qreplica.state.models import RaidGroup, ScrubOutcome, ScrubRun, Severity, now
from qreplica.storage import raid_groups
from qreplica.storage.driver import GroupHealth, Scrub, StorageDriver
from qreplica.storage.errors import GroupClosed, RebuildRunning
from qreplica.storage.service_errors import GroupNotWhole, ScrubDaysInvalid
from qreplica.storage.upkeep import next_scrub
from qreplica.units import format_size

#: The longest interval between scrubs that can be set, in days.
MOST_DAYS = 365
#: How many scrubs of an RG are remembered.
_KEEP = 50
#: For so many seconds the engine is asked again when it says that a scrub was cut off.
_PATIENCE, _POLL = 5.0, 0.1
#: Engines round the end of a scrub; only what is further in the future than this is a clock's doing.
_ROUNDED = timedelta(hours=1)


def start(db: Database, driver: StorageDriver, group: str) -> None:
    """Begin a scrub; one that runs goes on. Raises NotFound, GroupClosed, RebuildRunning, GroupNotWhole."""
    with db.session(read_only=True) as session:
        group_id = raid_groups.get(session, group).id
    health = driver.group_status(group_id).health
    if health is GroupHealth.CLOSED:
        raise GroupClosed(group=group)
    if health is GroupHealth.REBUILDING:
        raise RebuildRunning(group=group)
    if health is GroupHealth.FAILED:
        raise GroupNotWhole(group=group, wanted="scrubbed", health=health)
    driver.start_scrub(group_id)
    _bring_up_to_date(db, group_id, _steady(driver, group_id))


def stop(db: Database, driver: StorageDriver, group: str) -> None:
    """End a running scrub; idempotent. Raises NotFound, GroupClosed."""
    with db.session(read_only=True) as session:
        group_id = raid_groups.get(session, group).id
    driver.stop_scrub(group_id)
    _bring_up_to_date(db, group_id, driver.scrub_status(group_id))


def schedule(db: Database, group: str, days: int | None) -> None:
    """Have an RG scrubbed every so many days, or only when asked for (None). Raises NotFound, ScrubDaysInvalid."""
    if days is not None and not 1 <= days <= MOST_DAYS:
        raise ScrubDaysInvalid(days=days, most=MOST_DAYS)
    with db.session() as session:
        raid_groups.get(session, group).scrub_days = days


def start_if_due(db: Database, driver: StorageDriver, group_id: str, at: datetime) -> None:
    """Begin the scrub of an RG whose time has come by its schedule. What fails is noted as a scrub that failed."""
    with db.session(read_only=True) as session:
        group = session.get(RaidGroup, group_id)
        due = None if group is None else next_due(session, group)
        running = any(run.finished_at is None for run in runs_of(session, group_id))
    if due is None or at < due or running:
        return
    try:
        driver.start_scrub(group_id)
    except QReplicaError as error:
        with db.session() as session:
            failed = ScrubRun(raid_group_id=group_id, started_at=at, finished_at=at, outcome=ScrubOutcome.FAILED)
            failed.error = error.sentence
            session.add(failed)
            _tell(session, session.get_one(RaidGroup, group_id), failed)
    else:
        note(db, driver, group_id)


def next_due(session: Session, group: RaidGroup) -> datetime | None:
    """Return when the next scrub is due by the schedule, which may be past; None without one."""
    complete = cut_off = None
    for run in runs_of(session, group.id):
        if run.finished_at is not None and run.finished_at > now() + _ROUNDED:
            # From before a clock was set back: it would hold all others up until then.
            continue
        if run.outcome in {ScrubOutcome.CLEAN, ScrubOutcome.DAMAGED}:
            complete = run.finished_at
            break
        cut_off = cut_off or run.finished_at
    return next_scrub(group.scrub_days, group.created_at, complete, cut_off)


def runs_of(session: Session, group_id: str) -> list[ScrubRun]:
    """Return the RG's scrubs, the latest first."""
    chosen = select(ScrubRun).where(ScrubRun.raid_group_id == group_id)
    return list(session.scalars(chosen.order_by(ScrubRun.started_at.desc())))


def note(db: Database, driver: StorageDriver, group_id: str) -> None:
    """Bring the rows to what the engine says of its last scrub, and tell how one ended. Idempotent.

    A row that has not ended and is not the engine's last scrub is of one that was cut off.
    """
    scrub = driver.scrub_status(group_id)
    with db.session(read_only=True) as session:
        runs = runs_of(session, group_id)
    is_known = scrub is None or any(run.started_at == scrub.started_at for run in runs)
    if is_known and all(run.finished_at is not None for run in runs):
        return
    _bring_up_to_date(db, group_id, _steady(driver, group_id))


def _steady(driver: StorageDriver, group_id: str) -> Scrub | None:
    """Return what the engine says of its last scrub, once it is no matter of the moment any more.

    While a scrub begins or ends, btrfs for a moment says that it was cut off, or nothing at all.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        scrub = driver.scrub_status(group_id)
        if (scrub is not None and not scrub.interrupted) or time.monotonic() >= deadline:
            return scrub
        time.sleep(_POLL)


def _bring_up_to_date(db: Database, group_id: str, scrub: Scrub | None) -> None:
    with db.session() as session:
        group = session.get(RaidGroup, group_id)
        if group is None:
            return
        runs = runs_of(session, group_id)
        if scrub is not None and all(run.started_at != scrub.started_at for run in runs):
            runs.insert(0, ScrubRun(raid_group_id=group_id, started_at=scrub.started_at))
            session.add(runs[0])
        for run in runs:
            if run.finished_at is None and _update(run, scrub):
                _tell(session, group, run)
        for forgotten in runs[_KEEP:]:
            session.delete(forgotten)


def _update(run: ScrubRun, scrub: Scrub | None) -> bool:
    """Bring a row that has not ended up to date; tell whether it has ended now."""
    if scrub is None or scrub.started_at != run.started_at:
        run.finished_at, run.outcome = now(), ScrubOutcome.INTERRUPTED
        return True
    run.checked, run.corrected, run.uncorrectable = scrub.checked, scrub.corrected, scrub.uncorrectable
    if scrub.running:
        return False
    run.finished_at = scrub.started_at + timedelta(seconds=scrub.seconds)
    run.outcome = ScrubOutcome.DAMAGED if scrub.uncorrectable else ScrubOutcome.CLEAN
    if scrub.interrupted:
        run.outcome = ScrubOutcome.INTERRUPTED
    return True


def _tell(session: Session, group: RaidGroup, run: ScrubRun) -> None:
    found = f"{format_size(run.checked)} were read, {run.corrected} errors mended and {run.uncorrectable} left"
    severity, told = Severity.INFO, f"RAID group {group.name} was scrubbed: {found}."
    if run.outcome is ScrubOutcome.INTERRUPTED:
        severity, told = Severity.WARNING, f"A scrub of RAID group {group.name} was cut off: {found}."
    if run.outcome is ScrubOutcome.FAILED:
        severity, told = Severity.ERROR, f"RAID group {group.name} could not be scrubbed: {run.error}"
    elif run.uncorrectable:
        severity = Severity.ERROR
        told += " What is left cannot be mended from another copy: restore the virtual disks whose reads fail."
    elif run.corrected:
        severity = Severity.WARNING
        told += f" See which disk it was with “qreplica rg show {group.name}”, and replace it if that goes on."
    log.record(session, severity, f"scrub-{run.outcome}", f"rg {group.name}", told)


@dataclass(frozen=True, slots=True)
class ScrubState:
    """A scrub: its row, and the share done (0 to 1) while it runs."""

    run: ScrubRun
    progress: float | None


def listing(session: Session, driver: StorageDriver, group_id: str) -> list[ScrubState]:
    """Return the RG's scrubs, the latest first; one that runs with the engine's present figures."""
    runs = runs_of(session, group_id)
    latest = last(session, driver, group_id)
    return [] if latest is None else [latest, *(ScrubState(run, None) for run in runs[1:])]


def last(session: Session, driver: StorageDriver, group_id: str) -> ScrubState | None:
    """Return the RG's last scrub, with the engine's present figures while it runs; None when there was none."""
    runs = runs_of(session, group_id)
    if not runs:
        return None
    run = runs[0]
    if run.finished_at is not None or driver.group_status(group_id).health is GroupHealth.CLOSED:
        return ScrubState(run, None)
    scrub = driver.scrub_status(group_id)
    if scrub is None or scrub.interrupted or scrub.started_at != run.started_at:
        # That may pass: maintenance looks twice before it is written down.
        return ScrubState(run, None)
    session.expunge(run)
    _update(run, scrub)
    return ScrubState(run, scrub.progress if scrub.running else None)
