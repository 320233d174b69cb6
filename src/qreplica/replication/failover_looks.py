"""Goes on with planned failovers, step by step, on the controller that has the job's duty."""

from collections.abc import Callable
from typing import ClassVar, Protocol

from sqlalchemy import delete, select

from qreplica.cluster.errors import LeaseLost
from qreplica.cluster.leases import Leases
from qreplica.errors import QReplicaError
from qreplica.peer import messages
from qreplica.replication import plans
from qreplica.replication.failing_over import call_off, record, serve_anew
from qreplica.replication.failing_over_errors import LastCycleEnded
from qreplica.replication.giving_way import GivingWay
from qreplica.replication.job_looks import JobLooks
from qreplica.replication.jobs import BUSY
from qreplica.replication.links import Target, Way, ask_by_any, claim_of, target_of
from qreplica.replication.promotion_errors import PromotedOtherwise
from qreplica.replication.recovery_errors import Superseded
from qreplica.replication.recovery_serving import Serving
from qreplica.state.database import Database
from qreplica.state.failover_models import Failover, FailoverStep
from qreplica.state.models import Job, JobState, Lun, Node


class Peer(Protocol):
    """What is asked of the target; ``PeerClient`` says what the calls promise."""

    def lineage(self, iqn: str, lun: int) -> messages.Lineage:
        """Return what the backup VD holds."""

    def claim(self, iqn: str, claim: messages.Claim) -> messages.Lineage:
        """Take the backup VD."""

    def promote(self, iqn: str, promote: messages.Promote) -> messages.Promoted:
        """Have the backup VD promoted."""

    def close(self) -> None:
        """Close what is open."""


class FailoverLooks(JobLooks):
    """For every second. What hinders a failover is noted with it, and tried again at the next look.

    ``begun`` is called when the last cycle is to have a worker.
    """

    failing: ClassVar = "Its failover waits"

    def __init__(  # noqa: PLR0917 - what the steps need
        self,
        database: Database,
        leases: Leases,
        controller: int,
        serving: Serving,
        giving_way: GivingWay,
        peer: Callable[[Target, Way], Peer],
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(database, leases, controller)
        self._serving = serving
        self._giving_way = giving_way
        self._peer = peer
        self._begun = begun
        self._steps = {
            FailoverStep.PROTECT: self._protect,
            FailoverStep.COPY: self._copy,
            FailoverStep.PROMOTE: self._promote,
            FailoverStep.SWAP: self._swap,
        }

    def look(self, database: Database, job: str) -> None:
        """See JobLooks: do the step that is next."""
        with database.session(read_only=True) as session:
            row = session.get(Failover, job)
        if row is None:
            return
        step = self._call_off if row.cancel else self._steps[row.step]
        try:
            step(database, job)
        except QReplicaError as error:
            _note(database, job, error)
            raise
        _note(database, job, None)

    def _jobs(self) -> list[tuple[str, int]]:
        """Only those that fail over: nearly always none."""
        with self._database.session(read_only=True) as session:
            chosen = select(Job.id, Job.controller).join(Failover, Failover.job_id == Job.id).order_by(Job.name)
            return [(job, owner) for job, owner in session.execute(chosen)]

    def _protect(self, database: Database, job_id: str) -> None:
        """Have hosts only read the source VD; then begin the last cycle. Raises FencingFailed."""
        with database.session(read_only=True) as session:
            vd_id = session.get_one(Job, job_id).source_vd_id
        serve_anew(self._database, self._serving, vd_id)
        with database.session() as session:
            job, failover = session.get_one(Job, job_id), session.get(Failover, job_id)
            if failover is None:
                return
            # What was begun before may have been frozen before hosts stopped to write.
            failover.step, failover.generation = FailoverStep.COPY, job.generation + 1
            if job.state not in BUSY:
                plans.begin(session, job, "for its failover", self._controller)
        self._begun()

    def _copy(self, database: Database, job_id: str) -> None:
        """Wait for the last cycle, and begin it where another one was in its way. Raises LastCycleEnded."""
        with database.session() as session:
            job, failover = session.get_one(Job, job_id), session.get(Failover, job_id)
            if failover is None or failover.generation is None or job.state in BUSY:
                return
            if job.state is not JobState.IDLE:
                raise LastCycleEnded(job=job.name, state=job.state, reason=job.error or "it was told to stop")
            if (job.base_generation or 0) >= failover.generation:
                failover.step, failover.generation = FailoverStep.PROMOTE, job.base_generation
                failover.epoch = job.epoch
                job.state, job.error_kind = JobState.SUPERSEDED, "failing-over"
                job.error = f"It is failing over: its copy is being promoted with generation {job.base_generation}."
                return
            plans.begin(session, job, "for its failover", self._controller)
        self._begun()

    def _promote(self, database: Database, job_id: str) -> None:
        """Have the target promote the copy; the roles swap next. Raises what asking it does."""
        target = target_of(self._database, job_id, self._controller)
        with database.session(read_only=True) as session:
            row = session.get_one(Failover, job_id)
        message = messages.Promote(job=job_id, vd=target.vd, epoch=row.epoch or 0, generation=row.generation or 0)
        try:
            ask_by_any(target, self._peer, lambda peer: peer.promote(target.node, message))
        except PromotedOtherwise as error:
            self._leave(database, job_id, error)
            return
        with database.session() as session:
            failover = session.get(Failover, job_id)
            if failover is not None:
                failover.step = FailoverStep.SWAP

    def _leave(self, database: Database, job_id: str, error: QReplicaError) -> None:
        """End a failover whose copy somebody has promoted with another generation: the job is superseded."""
        with database.session() as session:
            job, failover = session.get_one(Job, job_id), session.get(Failover, job_id)
            if failover is not None:
                job.error_kind, job.error = Superseded.kind, error.sentence
                session.delete(failover)
                record(session, job, "failover-ended", f"Its failover ended without a swap: {error.sentence}")

    def _call_off(self, database: Database, job_id: str) -> None:
        """Have the target refuse whatever request to promote is on its way, then let hosts write again.

        What keeps it from that is noted, and the failover goes on.
        """
        target = target_of(self._database, job_id, self._controller)

        def claim(peer: Peer) -> None:
            lineage = peer.lineage(target.node, target.lun)
            with database.session() as session:
                job = session.get_one(Job, job_id)
                job.epoch = epoch = max(job.epoch, lineage.epoch) + 1
                size = job.source_vd.size
            peer.claim(target.node, claim_of(target, epoch, size))

        try:
            ask_by_any(target, self._peer, claim)
        except LeaseLost:
            raise
        except QReplicaError as error:
            with database.session() as session:
                failover = session.get(Failover, job_id)
                if failover is not None:
                    # The claim may have been made, though its answer was lost.
                    failover.cancel, failover.epoch = False, session.get_one(Job, job_id).epoch
                    failover.error_kind, failover.error = error.kind, error.sentence
            raise
        with database.session() as session:
            job, failover = session.get_one(Job, job_id), session.get(Failover, job_id)
            vd_id = job.source_vd_id
            if failover is not None:
                call_off(session, job, failover)
        serve_anew(self._database, self._serving, vd_id)

    def _swap(self, database: Database, job_id: str) -> None:
        """Take the source VD from its hosts, and make it the copy's backup VD; the job is no more.

        Raises FencingFailed, WrittenSince, and what ``GivingWay`` does.
        """
        with database.session() as session:
            if session.get(Failover, job_id) is None:
                return
            job = session.get_one(Job, job_id)
            name, vd = job.name, job.source_vd
            live = Lun.vd_id == vd.id, Lun.snapshot_id.is_(None)
            iqns = list(session.scalars(select(Node.iqn).join(Lun).where(*live).distinct()))
            session.execute(delete(Lun).where(*live))
        for iqn in iqns:
            self._serving.serve_anew(iqn, vd.name)
        self._giving_way.hand_over(name)


def _note(database: Database, job: str, error: QReplicaError | None) -> None:
    """Write down what hinders the failover, where that is news."""
    kind, sentence = (None, None) if error is None else (error.kind, error.sentence)
    with database.session(read_only=True) as session:
        row = session.get(Failover, job)
        if row is None or row.error == sentence:
            return
    with database.session() as session:
        row = session.get(Failover, job)
        if row is not None:
            row.error_kind, row.error = kind, sentence
