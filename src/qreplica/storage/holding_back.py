"""Keeps a VD from being served while it is rolled back: the mark that target daemons are configured by.

It is in the state, so that whatever is started anew meanwhile honours it too. Each state of it has a way out:

* held back, nothing decided: the VD is as it was, and is served again;
* decided (``snapshot_id`` and ``told``): it is rolled back, also by whoever comes after a crash, and then told of;
* told of (``snapshot_id`` alone): what remains is to give it the size that it was promised.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from qreplica.events import log
from qreplica.state.database import Database
from qreplica.state.models import HeldBack, Severity, VirtualDisk


def hold_back(db: Database, vd_id: str) -> None:
    """Have no target daemon that is configured from now on serve the VD. Idempotent."""
    with db.session() as session:
        _row(session, vd_id)


def decide(session: Session, vd_id: str, snapshot_id: str, told: str) -> None:
    """Write down that the VD is rolled back to the snapshot, whatever happens, and what is then told of that."""
    row = _row(session, vd_id)
    row.snapshot_id, row.told = snapshot_id, told


def tell(db: Database, vd_id: str) -> None:
    """Tell that the VD was rolled back; it remains held back until it is whole."""
    with db.session() as session:
        row = session.get_one(HeldBack, vd_id)
        if row.told is not None:
            log.record(session, Severity.WARNING, "vd-rolled-back", f"vd {row.vd.name}", row.told)
        row.told = None


def undecide(db: Database, vd_id: str, reason: str | None = None) -> None:
    """Give up what was decided; the VD is as it was. ``reason`` is told of, if there is one."""
    with db.session() as session:
        row = session.get_one(HeldBack, vd_id)
        row.snapshot_id = row.told = None
        if reason is not None:
            told = f"A roll-back that was cut off could not be finished, and was given up: {reason}"
            log.record(session, Severity.ERROR, "roll-back-given-up", f"vd {row.vd.name}", told)


def settle(db: Database, vd_id: str) -> None:
    """Note that nothing of what was decided is left to do."""
    with db.session() as session:
        session.get_one(HeldBack, vd_id).snapshot_id = None


def serve_again(db: Database, vd_id: str) -> bool:
    """Let the VD be served, unless something that was decided is left to do; return whether it is. Idempotent."""
    with db.session() as session:
        row = session.get(HeldBack, vd_id)
        if row is not None and row.snapshot_id is None:
            session.delete(row)
        return row is None or row.snapshot_id is None


def held_back(db: Database, group_id: str) -> list[str]:
    """Return the ids of the RG's VDs that are held back."""
    with db.session(read_only=True) as session:
        chosen = select(HeldBack.vd_id).join(VirtualDisk).where(VirtualDisk.raid_group_id == group_id)
        return list(session.scalars(chosen.order_by(VirtualDisk.name)))


def _row(session: Session, vd_id: str) -> HeldBack:
    row = session.get(HeldBack, vd_id)
    if row is None:
        row = HeldBack(vd_id=vd_id)
        session.add(row)
        session.flush()
    return row
