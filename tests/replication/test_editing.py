"""Editing a job: nothing is kept that does not lead to its own backup VD. The target's peer API is the real one."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from qreplica.errors import NotFound, QReplicaError
from qreplica.iscsi.errors import ChapInvalid, PortalInvalid
from qreplica.names import ChapIncomplete, ChapSecretInvalid, NotAName
from qreplica.peer.errors import ChapNotUsed, PeerUnreachable, WrongChap
from qreplica.replication import jobs
from qreplica.replication.editing import Changes, PathChange, edit
from qreplica.replication.errors import (
    JobRunning,
    PathExists,
    PathMissing,
    PathToAnotherSubsystem,
    PathToAnotherVd,
    WrongDisk,
)
from qreplica.state.models import Event, Job, JobState, Node, PathState
from qreplica.storage.service_errors import NameTaken

from .pair import JOB, Pair
from .test_multipath import CHAP, Multi, multi, other_subsystem, swapped

__all__ = ["multi"]

NEW_SECRET = "another-secret-of-it"


def change(multi: Multi, job: str = "nightly", /, **changes: Any) -> None:
    edit(multi.pair.database, job, Changes(**changes), controller=1, links=multi.links)


def facts(multi: Multi) -> list[object]:
    """Return all that a refused change must leave as it was, on both sides."""
    job = multi.pair.job()
    log_on = (job.chap_user, job.chap_secret, job.mutual_user, job.mutual_secret, job.pairing_secret)
    ports = [(path.peer_port, path.reason, path.since) for path in multi.pair.paths()]
    return [job.name, job.comment, log_on, ports, *multi.facts()]


def told(pair: Pair) -> list[str]:
    with pair.database.session(read_only=True) as session:
        return list(session.scalars(select(Event.message).where(Event.kind == "job-edited")))


def new_chap(session: Any) -> None:
    session.scalars(select(Node)).one().chap_secret = NEW_SECRET


def no_chap(session: Any) -> None:
    node = session.scalars(select(Node)).one()
    node.chap_user = node.chap_secret = None


def moved(multi: Multi, **new: Any) -> dict[str, Any]:
    """Return the change that has the path lead to the target's other controller."""
    return {"paths": [PathChange("127.0.0.1", 3260, new_port=3270, new_peer_port=multi.second, **new)]}


@pytest.mark.parametrize("state", [JobState.IDLE, JobState.RUNNING, JobState.QUEUED])
def test_name_and_comment_are_changed_at_any_time(multi: Multi, state: JobState) -> None:
    with multi.pair.database.session() as session:
        session.get_one(Job, JOB).state = state
    change(multi, name="weekly", comment="Of the accounts department")
    job = multi.pair.job()
    assert (job.name, job.comment, job.state) == ("weekly", "Of the accounts department", state)
    assert told(multi.pair) == ["It was renamed from “nightly”; Its comment was changed."]
    change(multi, "weekly", name="weekly", comment="Of the accounts department")
    assert len(told(multi.pair)) == 1
    assert multi.links.names == []


def test_a_path_follows_the_targets_new_address_when_that_is_proved(multi: Multi) -> None:
    with multi.pair.database.session() as session:
        path = session.get_one(Job, JOB).paths[0]
        path.state, path.reason = PathState.FAILED, "Nobody answers there."
    claims = multi.facts()[2]
    change(multi, **moved(multi))
    (path,) = multi.pair.paths()
    assert (path.address, path.port, path.peer_port) == ("127.0.0.1", 3270, multi.second)
    assert (path.state, path.reason) == (PathState.STANDBY, None)
    # Who is admitted logged in and looked; nothing was claimed.
    assert multi.links.names == [f"iqn.2026-11.org.qreplica:job-{JOB}:e1"]
    assert multi.facts()[2] == claims
    assert told(multi.pair) == ["Path 127.0.0.1:3260 is 127.0.0.1:3270 now."]


def test_chap_and_address_are_changed_together_when_both_are_new(multi: Multi) -> None:
    """Either alone could not be proved: the old address is gone, and the old secret too."""
    multi.change_target(new_chap)
    with multi.pair.database.session() as session:
        session.get_one(Job, JOB).paths[0].peer_port = 1
    with pytest.raises(WrongChap):
        change(multi, **moved(multi))
    with pytest.raises(PeerUnreachable):
        change(multi, log_on={"chap_secret": NEW_SECRET})
    change(multi, log_on={"chap_secret": NEW_SECRET}, **moved(multi))
    job = multi.pair.job()
    assert (job.chap_user, job.chap_secret) == (CHAP.user, NEW_SECRET)
    assert multi.pair.paths()[0].port == 3270
    (message,) = told(multi.pair)
    assert NEW_SECRET not in message
    assert "It logs on with CHAP name “replica” now" in message


def test_one_path_that_works_proves_a_new_secret(multi: Multi) -> None:
    multi.add()
    multi.change_target(new_chap)
    with multi.pair.database.session() as session:
        session.get_one(Job, JOB).paths[0].peer_port = 1
    change(multi, log_on={"chap_secret": NEW_SECRET})
    assert multi.pair.job().chap_secret == NEW_SECRET


def test_a_node_whose_chap_was_taken_away_is_paired_anew(multi: Multi) -> None:
    multi.change_target(no_chap)
    with pytest.raises(ChapNotUsed):
        change(multi, log_on={"chap_secret": NEW_SECRET})
    change(multi, log_on={"chap_user": None})
    job = multi.pair.job()
    assert (job.chap_user, job.chap_secret, job.pairing_secret) == (None, None, None)
    assert told(multi.pair) == ["It logs on with no CHAP now."]


def test_two_paths_change_places(multi: Multi) -> None:
    multi.add()
    there = [PathChange("127.0.0.1", 3260, new_port=3270), PathChange("127.0.0.1", 3270, new_port=3260)]
    before = [path.id for path in multi.pair.paths()]
    change(multi, paths=there)
    assert [(path.id, path.port) for path in multi.pair.paths()] == list(zip(before, [3270, 3260], strict=True))


@pytest.mark.parametrize(
    ("target", "changes", "error", "words"),
    [
        (None, {"name": "Night job"}, NotAName, "cannot name a replication job"),
        (None, {"name": "taken", "comment": "x"}, NameTaken, "replication job “taken”"),
        (None, {"log_on": {"chap_secret": "short"}}, ChapSecretInvalid, "12"),
        (None, {"log_on": {"mutual_user": "node"}}, ChapIncomplete, "secret"),
        (None, {"log_on": {"mutual_user": "node", "mutual_secret": CHAP.secret}}, ChapInvalid, "the same secret"),
        (None, {"log_on": {"chap_secret": NEW_SECRET}}, WrongChap, "did not accept CHAP name “replica”"),
        (None, {"paths": [PathChange("127.0.0.1", 3261)]}, PathMissing, "give one of 127.0.0.1:3260"),
        (None, {"paths": [PathChange("127.0.0.1", 3260, new_address="here")]}, PortalInvalid, "give an IP address"),
        (None, {"paths": [PathChange("127.0.0.1", 3260, new_peer_port=1)]}, PeerUnreachable, "127.0.0.1:1 cannot"),
        (swapped, "moved", PathToAnotherVd, r"LUN 1 .* is VD “b2” .*: nothing was changed"),
        (other_subsystem, "moved", PathToAnotherSubsystem, r"subsystem stranger .*: nothing was changed"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(
    multi: Multi, target: Callable[[Any], None] | None, changes: Any, error: type[QReplicaError], words: str
) -> None:
    with multi.pair.database.session() as session:
        job = session.get_one(Job, JOB)
        other = {"target_subsystem": "7" * 32, "target_lun": 1, "target_vd": "9" * 32, "target_serial": "x"}
        session.add(Job(name="taken", source_vd_id=job.source_vd_id, target_node="iqn.x", target_size=1, **other))
    if target is not None:
        multi.change_target(target)
    before = facts(multi)
    with pytest.raises(error, match=words):
        change(multi, **(moved(multi) if changes == "moved" else changes))
    assert facts(multi) == before
    assert told(multi.pair) == []


def test_a_new_portal_that_shows_another_disk_is_refused(multi: Multi) -> None:
    """The conversation is right, and what the iSCSI portal shows is not: another box has the address."""
    before = facts(multi)
    multi.pair.disk.serial = "another"
    with pytest.raises(WrongDisk, match="serial number another, not the backup VD"):
        change(multi, **moved(multi))
    assert facts(multi) == before


def test_no_two_paths_are_the_same(multi: Multi) -> None:
    multi.add()
    before = facts(multi)
    with pytest.raises(PathExists, match=r"has a path to 127\.0\.0\.1:3270 already"):
        change(multi, paths=[PathChange("127.0.0.1", 3260, new_port=3270)])
    assert facts(multi) == before


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.WAITING, JobState.STOPPING, JobState.QUEUED])
def test_how_a_job_comes_to_its_target_is_not_changed_while_it_runs(multi: Multi, state: JobState) -> None:
    with multi.pair.database.session() as session:
        session.get_one(Job, JOB).state = state
    before = facts(multi)
    for changes in (moved(multi), {"log_on": {"chap_secret": NEW_SECRET}, "name": "weekly"}):
        with pytest.raises(JobRunning, match=f"is {state} already.*stop it"):
            change(multi, **changes)
    assert facts(multi) == before
    assert multi.links.names == []


def test_a_job_that_was_started_meanwhile_is_left_alone(multi: Multi) -> None:
    real = multi.links.session

    def session(*arguments: Any) -> Any:
        jobs.start(multi.pair.database, "nightly")
        return real(*arguments)

    multi.links.session = session  # type: ignore[method-assign]
    with pytest.raises(JobRunning):
        change(multi, **moved(multi))
    assert multi.pair.paths()[0].port == 3260
    with pytest.raises(NotFound):
        change(multi, "nothing", comment="x")
