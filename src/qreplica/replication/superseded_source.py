"""What happens to the source VD of a job that learns that its copy was promoted, if it is so configured."""

from sqlalchemy.orm import Session

from qreplica.events import log
from qreplica.replication import configuration
from qreplica.state.models import Job, Severity


def protect(session: Session, job: Job) -> None:
    """Have hosts only read the source VD of a job whose copy was promoted, if that is configured.

    The target daemons follow within seconds.
    """
    vd = job.source_vd
    if configuration.get(session).protect_superseded and not vd.write_protected:
        vd.write_protected = True
        told = (
            f"Hosts can only read it now, since the copy that job “{job.name}” made was promoted: have it give way "
            f"(“qreplica job give-way {job.name}”), or let hosts write again with “qreplica vd write-protect {vd.name} "
            "--off” if they are to stay here."
        )
        log.record(session, Severity.WARNING, "vd-write-protection", f"vd {vd.name}", told)
