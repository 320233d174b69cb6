"""Planned failover: hosts stop to write here, the last changes are copied, the copy is promoted, and the roles swap.

Both sides are alive. Each step is persisted before its work begins and can be done again, so that whichever controller
has the job's duty goes on with it (``FailoverLooks``). From the step PROMOTE on hosts may be writing to the copy: from
then on nothing here lets them write to the source again, unless the target has confirmed that it never will be so.
"""

import time
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.events import log
from qreplica.replication import jobs, plans
from qreplica.replication.failing_over_errors import (
    FailoverDecided,
    FailoverNotConfirmed,
    NoCopyToPromote,
    NothingUnderWay,
)
from qreplica.replication.giving_way import missing_space
from qreplica.replication.recovery_serving import Serving
from qreplica.replication.schedule_errors import JobPaused
from qreplica.state.database import Database
from qreplica.state.failover_models import DECIDED, Failover
from qreplica.state.models import Job, JobState, Lun, Node, Severity, VirtualDisk
from qreplica.state.plain_models import PlainTarget
from qreplica.storage import raid_groups

#: How long who calls a failover off waits for the target's confirmation (seconds).
_PATIENCE, _POLL = 20.0, 0.05


@dataclass(frozen=True, slots=True)
class Prospect:
    """What failing a job over would do. ``nodes`` are those on which hosts find the source VD."""

    job: str
    vd: str
    target_vd: str
    target_subsystem: str
    nodes: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """It in words, without an end."""
        where = f" on iSCSI node {' and '.join(self.nodes)}" if self.nodes else ""
        return (
            f"hosts can only read “{self.vd}”{where} from now on, what they wrote until then is copied, "
            f"“{self.target_vd}” on {self.target_subsystem} is promoted, and “{self.vd}”, which is detached from its "
            "hosts, becomes its backup virtual disk"
        )


class FailingOver:
    """The service. ``serving`` has both target daemons follow."""

    def __init__(self, database: Database, serving: Serving) -> None:
        self._database = database
        self._serving = serving

    def show(self, job: str) -> tuple[Prospect, Failover | None]:
        """Return what a failover does, and the one that is under way; None when there is none.

        Raises NotFound, and when none is under way as ``begin`` does, though it asks for no word.
        """
        with self._database.session(read_only=True) as session:
            row = jobs.get(session, job)
            failover = session.get(Failover, row.id)
            if failover is None:
                _refuse(session, row)
            return _prospect(row), failover

    def begin(self, job: str, confirmed: str | None) -> None:
        """Write down that the job fails over; ``FailoverLooks`` does the work. Idempotent.

        ``confirmed`` is the source VD's name, which stands for having read what happens. Raises NotFound, JobRunning,
        JobPaused, NoCopyToPromote, GroupHasNoRoom, FailoverNotConfirmed: then nothing was changed.
        """
        with self._database.session() as session:
            row = jobs.get(session, job)
            if session.get(Failover, row.id) is not None:
                return
            _refuse(session, row)
            found = _prospect(row)
            if confirmed != found.vd:
                raise FailoverNotConfirmed(job=job, what=found.sentence, vd=found.vd)
            row.source_vd.write_protected = True
            session.add(Failover(job_id=row.id))
            record(session, row, "failover-begun", f"It is failing over: {found.sentence}.")

    def cancel(self, job: str, *, force: bool = False) -> None:
        """Call the failover off, and let hosts write to the source VD again.

        Once the target may have promoted the copy, ``FailoverLooks`` first has it confirm that it has not and will not;
        unless by ``force``, which is for a target that is gone for good. Raises NotFound, NothingUnderWay,
        FailoverDecided when that was not confirmed; and FencingFailed when a target daemon does not follow yet: it does
        by itself.
        """
        with self._database.session() as session:
            row, failover = _under_way(session, job)
            vd_id = row.source_vd_id
            # Not from what was read before: the step may have changed since.
            is_decided = failover.step in DECIDED and not force
            if is_decided:
                failover.cancel = True
            else:
                call_off(session, row, failover)
        if not is_decided:
            serve_anew(self._database, self._serving, vd_id)
            return
        self._await_confirmation(job, row.id)

    def _await_confirmation(self, job: str, job_id: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        reason: str | None = "its answer is still awaited"
        while time.monotonic() < deadline:
            with self._database.session(read_only=True) as session:
                failover = session.get(Failover, job_id)
            if failover is None:
                return
            if not failover.cancel:
                reason = failover.error
                break
            time.sleep(_POLL)
        raise FailoverDecided(job=job, reason=reason)


def call_off(session: Session, job: Job, failover: Failover) -> None:
    """Write down that the job does not fail over, and that hosts may write again."""
    if job.state is JobState.SUPERSEDED:
        job.state, job.error_kind, job.error = JobState.IDLE, None, None
    job.source_vd.write_protected = False
    session.delete(failover)
    record(session, job, "failover-called-off", "Its failover was called off: hosts can write again.")


def serve_anew(database: Database, serving: Serving, vd_id: str) -> None:
    """Have both target daemons serve the VD as it stands in the state; on return no older session can write.

    Raises FencingFailed.
    """
    with database.session(read_only=True) as session:
        shown = select(Node.iqn).join(Lun).where(Lun.vd_id == vd_id, Lun.snapshot_id.is_(None)).distinct()
        iqns, name = list(session.scalars(shown)), session.get_one(VirtualDisk, vd_id).name
    for iqn in iqns:
        serving.serve_anew(iqn, name)


def _under_way(session: Session, name: str) -> tuple[Job, Failover]:
    job = jobs.get(session, name)
    row = session.get(Failover, job.id)
    if row is None:
        raise NothingUnderWay(job=name)
    return job, row


def _refuse(session: Session, job: Job) -> None:
    """Raise what is in the way of a failover of the job."""
    jobs.refuse_busy(job)
    if session.get(PlainTarget, job.id) is not None:
        reason = "its target is another maker's disk, which has no recovery points: use that disk as it is"
        raise NoCopyToPromote(job=job.name, reason=reason)
    if job.base_generation is None:
        raise NoCopyToPromote(job=job.name, reason="it has made no whole copy yet: run it once")
    if job.state is JobState.SUPERSEDED:
        reason = "its copy was promoted already: have the source virtual disk give way"
        raise NoCopyToPromote(job=job.name, reason=reason)
    if plans.of(session, job.id).paused:
        raise JobPaused(job=job.name)
    vd = job.source_vd
    raid_groups.refuse_beyond(session, vd.raid_group, missing_space(vd), f"recovery points of {vd.name}")


def _prospect(job: Job) -> Prospect:
    nodes = {lun.node.name for lun in job.source_vd.luns if lun.snapshot_id is None}
    copy = job.target_vd_name or f"LUN {job.target_lun} of {job.target_node}"
    return Prospect(job.name, job.source_vd.name, copy, job.target_subsystem_name, tuple(sorted(nodes)))


def record(session: Session, job: Job, kind: str, message: str) -> None:
    """Write down an event about the job's failover."""
    log.record(session, Severity.WARNING, kind, f"job {job.name}", message)
