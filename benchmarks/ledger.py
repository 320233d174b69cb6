"""A state database with a job in the middle of a full copy, so that checkpoints cost what they cost a worker."""

from pathlib import Path

from qreplica.replication.store import JobStore, Planned, new_cycle
from qreplica.state.database import Database
from qreplica.state.models import Job, JobState, RaidGroup, VdType, VirtualDisk
from qreplica.storage.driver import RaidLevel


def open_ledger(file: Path, size: int) -> tuple[Database, JobStore]:
    """Make the database anew and return it with the store of a job that is to copy ``size`` bytes."""
    for part in (file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
        part.unlink(missing_ok=True)
    database = Database(f"sqlite:///{file}")
    database.upgrade()
    with database.session() as session:
        group = RaidGroup(name="rg1", level=RaidLevel.JBOD, usable=2 * size, reserve=0)
        session.add(group)
        session.flush()
        vd = VirtualDisk(name="vd1", type=VdType.RAID, size=size, raid_group_id=group.id, serial="bench")
        session.add(vd)
        session.flush()
        job = Job(
            name="bench",
            source_vd_id=vd.id,
            target_subsystem="0" * 32,
            target_node="iqn.2026-11.org.qreplica:bench",
            target_lun=1,
            target_vd="0" * 32,
            target_serial="bench",
            target_size=size,
            state=JobState.RUNNING,
        )
        session.add(job)
        session.flush()
        new_cycle(session, job)
    store = JobStore.take_over(database, job.id, controller=1)
    assert store is not None, "a job that was just made has a cycle"  # noqa: S101 - for the type checker
    store.planned(Planned(None, "0" * 64, total=size, zeros=0, done=0, checkpoint=0))
    return database, store
