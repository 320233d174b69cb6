"""A real controller tells of a job whose copy is too old, and counts what a host wrote since the base."""

from datetime import timedelta

import pytest

from qreplica.daemon.config import load
from qreplica.state.database import Database
from qreplica.state.models import Job, Snapshot, new_id, now
from qreplica.units import KIB

from .running import Controller, eventually, provision

pytestmark = pytest.mark.root


def add_job(controller: Controller) -> None:
    """Put a job into the state whose base is the snapshot “s1”, made two hours ago."""
    database = Database(load(controller.config).database_url)
    with database.session() as session:
        base = session.query(Snapshot).one()
        job = Job(
            name="nightly",
            source_vd_id=base.vd_id,
            target_subsystem=new_id(),
            target_node="iqn.2026-11.org.qreplica:target.backups",
            target_lun=1,
            target_vd=new_id(),
            target_serial=new_id(),
            target_size=base.size,
            base_snapshot_id=base.id,
            created_at=now() - timedelta(hours=2),
        )
        session.add(job)
    database.dispose()


def test_it_is_told_that_a_goal_is_missed_and_what_is_to_be_sent(controller: Controller) -> None:
    controller.start()
    iqn = provision(controller)
    with controller.log_in(iqn) as session:
        session.write(1, 0, b"old" * (256 * KIB))
        controller.call("POST", "/snapshots", {"vd": "v1", "name": "s1"}, expect=201)
        for offset in (0, 512 * KIB, 4096 * KIB):
            session.write(1, offset, b"new!" * (16 * KIB))
        session.flush(1)
    add_job(controller)
    controller.call("PUT", "/jobs/nightly/rpo", {"rpo_minutes": 60})
    told = eventually(lambda: [one for one in controller.call("GET", "/events") if one["kind"] == "rpo-missed"])
    assert told[0]["message"].startswith(
        "It has no recovery point 2 h 00 min after it was made, and its RPO goal is 1h"
    )
    shown = controller.call("GET", "/jobs/nightly")
    assert (shown["rpo_met"], shown["backlog_bytes"]) == (False, 3 * 64 * KIB)
