"""``qreplica job failover``: what it tells before, while it is under way, and when it is over."""

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from sqlalchemy import delete

from qreplica.cli import job_failover
from qreplica.cli.errors import Refused
from qreplica.iscsi import nodes
from qreplica.state.failover_models import Failover, FailoverStep
from qreplica.state.models import Cycle, Job, JobState, Lun, VdType, VirtualDisk

from .test_jobs import stock


@pytest.fixture
def job(world: Any) -> None:
    """A job that has made a copy, whose source VD a host uses."""
    stock(world, "payroll")
    with world.database.session() as session:
        nodes.create(session, name="hosts")
        nodes.attach(session, node="hosts", vd="payroll")
    world.add_job("nightly", "payroll", base_generation=3, generation=3)


@pytest.mark.usefixtures("job")
def test_it_is_told_asked_for_begun_and_called_off(world: Any, logged_in: Any) -> None:
    run = logged_in.run
    told = run("job", "failover", "nightly", "--show").out
    assert told.startswith(
        "A failover of “nightly” does this: hosts can only read “payroll” on iSCSI node hosts from now"
    )
    assert "not failing over" in run("job", "failover", "nightly", "--cancel", code=4).err
    begun = run("job", "failover", "nightly", "--yes", "--no-wait").out
    assert begun == "“nightly” fails over; “qreplica job failover nightly --show” tells how far it is.\n"
    assert run("job", "failover", "nightly", "--show", "--json").json()["step"] == "protect"
    with world.database.session() as session:
        session.query(Failover).one().error = "controller 2 did not confirm."
    told = run("job", "failover", "nightly", "--show").out
    assert told == (
        "“nightly” is failing over: hosts are made to only read (step “protect”). It waits: controller 2 did not "
        "confirm.\n"
    )
    assert run("vd", "show", "payroll", "--json").json()["write_protected"] is True
    assert "is failing over" in run("vd", "write-protect", "payroll", "--off", code=4).err
    assert "is failing over" in run("job", "delete", "nightly", "--yes", code=4).err
    assert run("job", "failover", "nightly", "--cancel").out == (
        "The failover of “nightly” was called off: hosts can write again.\n"
    )
    assert run("vd", "show", "payroll", "--json").json()["write_protected"] is False


@pytest.mark.usefixtures("job")
def test_hosts_only_read_a_vd_until_they_are_let_write_again(world: Any, logged_in: Any) -> None:
    run = logged_in.run
    assert run("vd", "write-protect", "payroll", "--yes").out == "Hosts can only read VD “payroll” now.\n"
    (node,) = world.target.specs.values()
    assert [lun.read_only for lun in node.luns] == [True]
    assert run("vd", "write-protect", "payroll", "--off").out == "Hosts can write to VD “payroll” now.\n"
    (node,) = world.target.specs.values()
    assert [lun.read_only for lun in node.luns] == [False]
    stock(world, "copy", VdType.BACKUP)
    assert "to which no host can write" in run("vd", "write-protect", "copy", "--yes", code=2).err


@pytest.mark.usefixtures("job")
def test_a_copy_that_is_not_whole_is_refused(world: Any, logged_in: Any) -> None:
    with world.database.session() as session:
        session.query(Job).one().base_generation = None
    refused = logged_in.run("job", "failover", "nightly", "--yes", code=4).err
    assert (
        refused
        == "Error: Replication job “nightly” cannot fail over because it has made no whole copy yet: run it once.\n"
    )


def _goes_on(world: Any, then: Callable[[Any], None]) -> threading.Thread:
    """Do what a controller would once the failover was begun: copy, then ``then``."""

    def work() -> None:
        assert world.workers.woken.acquire(timeout=30)
        with world.database.session() as session:
            failover, job = session.query(Failover).one(), session.query(Job).one()
            failover.step, failover.generation, failover.error = FailoverStep.COPY, 4, "the path is down."
            job.cycles.append(Cycle(generation=4, total_bytes=8, done_bytes=4))
            job.state = JobState.RUNNING
        time.sleep(1.2)
        with world.database.session() as session:
            then(session)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def _swap(session: Any) -> None:
    session.execute(delete(Lun))
    session.query(VirtualDisk).one().type = VdType.BACKUP
    session.delete(session.query(Job).one())


def _call_off(session: Any) -> None:
    session.execute(delete(Failover))
    session.delete(session.query(Job).one())


@pytest.mark.usefixtures("job")
def test_it_is_followed_to_its_end(world: Any, logged_in: Any) -> None:
    controller = _goes_on(world, _swap)
    ended = logged_in.run("job", "failover", "nightly", "--yes")
    controller.join()
    assert ended.out.startswith("Hosts can use “payroll-copy” on target now, with generation 4: attach it")
    assert "0 bytes were lost" in ended.out
    assert "nightly: copy      45.0 %" in ended.err
    assert "nightly: waiting: the path is down." in ended.err


@pytest.mark.usefixtures("job")
def test_one_that_somebody_called_off_meanwhile_has_not_succeeded(world: Any, logged_in: Any) -> None:
    controller = _goes_on(world, _call_off)
    ended = logged_in.run("job", "failover", "nightly", "--yes", code=10)
    controller.join()
    assert "“payroll” is still what hosts use" in ended.err


class Answering:
    """Somebody who asks, and is refused with this status."""

    def __init__(self, status: int) -> None:
        self.api = self
        self._status = status

    def get(self, _: str) -> Any:
        raise Refused({"detail": "No.", "type": "urn:qreplica:error:no", "status": self._status})


def test_a_refusal_that_says_nothing_of_the_failover_is_not_its_end() -> None:
    assert [job_failover._look(cast("Any", Answering(status)), "nightly") for status in (404, 409)] == [None, None]
    for status in (401, 503):
        with pytest.raises(Refused):
            job_failover._look(cast("Any", Answering(status)), "nightly")
