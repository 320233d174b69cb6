"""Which cycle sends what a verification found to differ: the first that is planned after somebody asked for it.

Whoever goes on with that cycle must plan the same, as the manifest is of all that it sends. So the cycle's generation
is noted with its plan; one that was planned before sends nothing of it.
"""

from sqlalchemy.orm import Session

from qreplica.replication.differing import Range
from qreplica.state.models import Cycle
from qreplica.state.verification_models import Verification, VerificationState


def wanted(session: Session, cycle: Cycle) -> tuple[Range, ...]:
    """Return the ranges that the cycle is to send whatever its delta is."""
    row = session.get(Verification, cycle.job_id)
    if row is None or not row.repair:
        return ()
    if row.repair_generation != cycle.generation and cycle.manifest is not None:
        return ()
    return tuple((offset, length) for offset, length in row.differing)


def planned(session: Session, cycle: Cycle) -> None:
    """Note that the cycle sends them."""
    row = session.get(Verification, cycle.job_id)
    if row is not None and row.repair:
        row.repair_generation = cycle.generation


def committed(session: Session, cycle: Cycle) -> None:
    """Note that it has, if it did."""
    row = session.get(Verification, cycle.job_id)
    if row is not None and row.repair and row.repair_generation == cycle.generation:
        row.repair, row.repair_generation = False, None
        if row.state is VerificationState.DIFFERS:
            row.state = VerificationState.REPAIRED
