"""Virtual disks that hosts can only read, on an administrator's word.

A planned failover protects its source by itself (``failing_over``), and so may a job whose copy was promoted
(``superseded_source``).
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.events import log
from qreplica.replication.failing_over import serve_anew
from qreplica.replication.failing_over_errors import BackupNotProtected, FailoverUnderWay
from qreplica.replication.recovery_serving import Serving
from qreplica.state.database import Database
from qreplica.state.failover_models import Failover
from qreplica.state.models import Job, Severity, VdType, VirtualDisk
from qreplica.storage import virtual_disks


class WriteProtection:
    """The service. ``serving`` has both target daemons follow."""

    def __init__(self, database: Database, serving: Serving) -> None:
        self._database = database
        self._serving = serving

    def put(self, vd: str, *, protected: bool, by: str) -> None:
        """Have hosts only read the VD, or write to it again; on return no older session can write. Idempotent.

        ``by`` is the user. Raises NotFound, BackupNotProtected, FailoverUnderWay, and FencingFailed when a target
        daemon does not follow yet: it does by itself.
        """
        with self._database.session() as session:
            disk = virtual_disks.get(session, vd)
            if disk.type is VdType.BACKUP:
                raise BackupNotProtected(vd=vd)
            of_it = select(Job, Failover.step).join(Failover, Failover.job_id == Job.id)
            for job, step in session.execute(of_it.where(Job.source_vd_id == disk.id)):
                raise FailoverUnderWay(job=job.name, step=step)
            if disk.write_protected is protected:
                return
            disk.write_protected = protected
            told = "Hosts can only read it now" if protected else "Hosts can write to it again"
            _record(session, disk, f"{told}: {by} said so.")
            vd_id = disk.id
        serve_anew(self._database, self._serving, vd_id)


def _record(session: Session, vd: VirtualDisk, message: str) -> None:
    log.record(session, Severity.WARNING, "vd-write-protection", f"vd {vd.name}", message)
