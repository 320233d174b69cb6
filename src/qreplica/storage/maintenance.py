"""The rounds of maintenance of one RG: what its disks did wrong is told of, what failed is replaced, scrubs are run.

For whoever holds the RG's lease, which is what ``db`` is fenced by. All is told once: what was told is in the state.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError, Unavailable
from qreplica.events import log
from qreplica.state.database import Database
from qreplica.state.models import Disk, RaidGroup, Severity, now
from qreplica.storage import disks, raid_group_disks, scrubs, startup, upkeep
from qreplica.storage.driver import DiskErrors, GroupHealth, GroupStatus, StorageDriver
from qreplica.storage.errors import GroupBusy
from qreplica.storage.making_room import limits_of
from qreplica.storage.service_errors import GroupStoppedWriting
from qreplica.units import format_size

#: After so many seconds opening an RG is tried again though no disk came back.
_TRY_AGAIN = 60.0


class Maintenance:
    """That of the RG ``group``, by ``controller``."""

    def __init__(self, db: Database, driver: StorageDriver, group: str, controller: int) -> None:
        self._db = db
        self._driver = driver
        self._group = group
        self._controller = controller
        #: The disks that were seen to take another one's place, and whether they erred or went missing meanwhile.
        self._incoming: dict[str, bool] = {}
        #: What hindered the driver's upkeep in the last round, and was told.
        self._hindered: str | None = None
        self._tried: tuple[frozenset[Path], float] | None = None

    def reopen(self) -> bool:
        """Open the RG if it is closed, whenever a disk of it comes back and now and then; tell whether it was opened.

        One that stopped writing is closed for that, if nothing uses it. Raises GroupStoppedWriting when something does,
        and what the driver raises.
        """
        health = self._driver.group_status(self._group).health
        if health is GroupHealth.FAILED:
            self._close()
        elif health is not GroupHealth.CLOSED:
            return False
        disks.attach_returned(self._db)
        name, members = self._members()
        there = frozenset(member.path for member in members if member.there)
        if self._tried is not None and self._tried[0] == there and time.monotonic() < self._tried[1] + _TRY_AGAIN:
            return False
        self._tried = (there, time.monotonic())
        startup.open_group(self._db, self._driver, self._group, controller=self._controller)
        self._tried = None
        self._tell(Severity.INFO, "rg-opened", f"rg {name}", f"RAID group {name} was opened again.")
        return True

    def _close(self) -> None:
        try:
            self._driver.close_group(self._group)
        except GroupBusy as error:
            raise GroupStoppedWriting(group=self._members()[0]) from error

    def round(self) -> None:
        """Look once at an open RG and do what is to be done next; soon returns. Raises what database and driver do."""
        disks.attach_returned(self._db)
        self._tend()
        status = self._driver.group_status(self._group)
        name, members = self._members()
        found = upkeep.judge(members, _resolved(status))
        self._tell_of_errors(name, found)
        self._go_on_with_replacements(name, members, status, found)
        for member in found.join:
            self._join(name, member)
        if found.unreplaced and (status.health is not GroupHealth.REBUILDING or status.spreading):
            self._replace(name, found.unreplaced[0])
        scrubs.note(self._db, self._driver, self._group)
        if found.settled:
            self._adopt_capacity(name, members)
            scrubs.start_if_due(self._db, self._driver, self._group, now())

    def _tend(self) -> None:
        """Have the driver do its next step; what hinders it is told once and holds nothing else up."""
        try:
            limits = limits_of(self._db, self._group)
            spare = limits.spare(self._driver.data_use(self._group)) if limits is not None else 0
            self._driver.tend_group(self._group, spare)
        except Unavailable:
            raise
        except QReplicaError as error:
            if error.sentence != self._hindered:
                self._tell(Severity.ERROR, error.kind, f"rg {self._members()[0]}", error.sentence)
            self._hindered = error.sentence
        else:
            self._hindered = None

    def _members(self) -> tuple[str, Sequence[upkeep.Member]]:
        with self._db.session(read_only=True) as session:
            group = session.get(RaidGroup, self._group)
            return ("", []) if group is None else (group.name, [_member(disk) for disk in group.disks])

    def _tell_of_errors(self, group: str, found: upkeep.Findings) -> None:
        if not (found.counted or found.failed or found.returned):
            return
        with self._db.session() as session:
            for member, errors in found.counted:
                disk = session.get_one(Disk, member.id)
                disk.errors = errors.total
                if (more := errors.total - member.errors) > 0:
                    told = f"Disk {member.name} of RAID group {group} made {more} errors ({_listed(errors)} in all)"
                    told += f": if that goes on, replace it with “qreplica rg replace {group} {member.name} NEW”."
                    self._record(session, Severity.WARNING, "disk-errors", f"disk {member.name}", told)
            for member, reason in found.failed:
                session.get_one(Disk, member.id).failed = True
                told = (
                    f"Disk {member.name} of RAID group {group} {reason}: it is replaced by a spare if there is one of "
                )
                told += f"at least {format_size(member.size)} (“qreplica disk spare NAME”), or by “qreplica rg replace "
                told += f"{group} {member.name} NEW”."
                self._record(session, Severity.ERROR, "disk-failed", f"disk {member.name}", told)
            for member in found.returned:
                session.get_one(Disk, member.id).failed = False
                told = f"Disk {member.name} of RAID group {group} is back."
                self._record(session, Severity.INFO, "disk-returned", f"disk {member.name}", told)

    def _go_on_with_replacements(
        self, group: str, members: Sequence[upkeep.Member], status: GroupStatus, found: upkeep.Findings
    ) -> None:
        seen = {one.disk: one for one in status.members}
        for member in members:
            if member.replaces is not None and (listed := seen.get(member.path)) is not None:
                erred = listed.missing or listed.errors.total > 0
                self._incoming[member.id] = erred or self._incoming.get(member.id, False)
        for member in found.done:
            self._incoming.pop(member.id, None)
            old = raid_group_disks.finish(self._db, member.name)
            told = f"Disk {member.name} has taken the place of {old} in RAID group {group}."
            self._tell(Severity.INFO, "disk-replaced", f"rg {group}", told)
        for member in found.begin:
            if not self._incoming.pop(member.id, False):
                self._begin(group, member)
                continue
            raid_group_disks.let_go(self._db, member.name, failed=True)
            told = f"Disk {member.name} erred while it took another one's place in RAID group {group}, and could not: "
            told += "look at it, and use another one."
            self._tell(Severity.ERROR, "disk-replacement-failed", f"rg {group}", told)

    def _begin(self, group: str, new: upkeep.Member) -> None:
        refused = f"Disk {new.name} does not replace another one of RAID group {group}"
        with self._telling(group, "disk-replacement-refused", refused):
            raid_group_disks.begin(self._db, self._driver, new.name)

    def _replace(self, group: str, old: upkeep.Member) -> None:
        spare = raid_group_disks.replace_by_spare(self._db, old.id)
        if spare is None:
            return
        told = f"Spare {spare} takes the place of disk {old.name} in RAID group {group}."
        self._tell(Severity.WARNING, "disk-replacement-begun", f"rg {group}", told)
        self._driver.stop_scrub(self._group)
        refused = f"Spare {spare} does not take the place of {old.name} in RAID group {group}, and is none any more"
        with self._telling(group, "disk-replacement-refused", refused):
            raid_group_disks.begin(self._db, self._driver, spare)

    def _join(self, group: str, new: upkeep.Member) -> None:
        with self._telling(group, "disk-not-added", f"Disk {new.name} was not added to RAID group {group}"):
            raid_group_disks.join(self._db, self._driver, new.name)

    @contextlib.contextmanager
    def _telling(self, group: str, kind: str, what: str) -> Iterator[None]:
        """Turn a refusal in the block, which undid what it was about, into an event."""
        try:
            yield
        except Unavailable:
            raise
        except QReplicaError as error:
            self._tell(Severity.ERROR, kind, f"rg {group}", f"{what}: {error.sentence}")

    def _adopt_capacity(self, group: str, members: Sequence[upkeep.Member]) -> None:
        more = raid_group_disks.adopt_capacity(self._db, self._group, [member.id for member in members])
        if more:
            told = f"RAID group {group} has grown: {format_size(more)} more can be promised."
            self._tell(Severity.INFO, "rg-grown", f"rg {group}", told)

    def _tell(self, severity: Severity, kind: str, subject: str, message: str) -> None:
        with self._db.session() as session:
            self._record(session, severity, kind, subject, message)

    def _record(self, session: Session, severity: Severity, kind: str, subject: str, message: str) -> None:
        log.record(session, severity, kind, subject, message, controller=self._controller)


def _member(disk: Disk) -> upkeep.Member:
    path = disks.device_path(disk)
    return upkeep.Member(
        id=disk.id,
        name=disk.name,
        path=path.resolve(),
        size=disk.size,
        there=path.exists(),
        failed=disk.failed,
        errors=disk.errors,
        replaces=disk.replaces_id,
    )


def _resolved(status: GroupStatus) -> GroupStatus:
    members = tuple(replace(one, disk=one.disk and one.disk.resolve()) for one in status.members)
    return replace(status, members=members)


def _listed(errors: DiskErrors) -> str:
    return ", ".join(f"{name} {count}" for name, count in asdict(errors).items() if count)
