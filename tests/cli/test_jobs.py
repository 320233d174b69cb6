"""The wizard, and watching a job to its end."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from qreplica.cli import job_views
from qreplica.cli.following import figures
from qreplica.iscsi import nodes
from qreplica.replication import configuration, creation, plans
from qreplica.replication.configuration import Configuration
from qreplica.state.lag_models import JobLag
from qreplica.state.models import Cycle, CycleKind, Job, JobState, Outcome, PathState, Step, VdType, now
from qreplica.storage import raid_groups, virtual_disks
from qreplica.storage.driver import RaidLevel
from qreplica.units import GIB, MIB

SECRET = "twelve-or-more"


def stock(world: Any, vd: str, type_: VdType = VdType.RAID) -> None:
    if type_ is VdType.RAID or not list(world.directory.glob("d1")):
        world.add_disks("d1")
        raid_groups.create(world.database, world.storage, name="rg1", level=RaidLevel.JBOD, disks=["d1"])
    virtual_disks.create(world.database, world.storage, name=vd, raid_group="rg1", size=GIB, type_=type_)


@pytest.fixture
def target(served_target: Any) -> Iterator[tuple[str, str]]:
    """Give the peer port and the IQN of a node that holds backup VD ``copy`` at LUN 1."""
    world, port = served_target
    stock(world, "copy", VdType.BACKUP)
    with world.database.session() as session:
        node = nodes.create(session, name="backups", chap_user="replica", chap_secret=SECRET)
        nodes.attach(session, node="backups", vd="copy")
        iqn = node.iqn
    return str(port), iqn


@pytest.fixture
def no_log_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """No target daemon serves the node here; the log-on is shown with real ones elsewhere."""
    monkeypatch.setattr(creation, "_log_on", lambda *_: None)


def test_a_target_is_asked_for_its_nodes_and_vds(logged_in: Any, target: tuple[str, str]) -> None:
    port, iqn = target
    (row,) = [
        line
        for line in logged_in.run("job", "discover", "127.0.0.1", "--peer-port", port).out.splitlines()
        if line.startswith(iqn)
    ]
    assert row.split() == [iqn, "yes", "1", "yes"]
    ended = logged_in.run(
        *("job", "backup-vds", "127.0.0.1", iqn, "--peer-port", port, "--chap-user", "replica"),
        QREPLICA_CHAP_SECRET=SECRET,
    )
    (row,) = [line for line in ended.out.splitlines() if "copy" in line]
    assert row.split() == ["1", "copy", "BACKUP", "1", "GiB", "yes"]
    ended = logged_in.run(
        *("job", "backup-vds", "127.0.0.1", iqn, "--peer-port", port, "--chap-user", "replica"),
        code=6,
        QREPLICA_CHAP_SECRET="wrong-wrong-wrong",
    )
    assert "did not accept CHAP name “replica”" in ended.err


@pytest.mark.usefixtures("no_log_on")
def test_the_wizard_takes_options_and_what_there_is_only_one_of(
    world: Any, logged_in: Any, target: tuple[str, str]
) -> None:
    port, iqn = target
    stock(world, "payroll")
    made = logged_in.run(
        *("job", "create", "nightly", "--source-vd", "payroll", "--address", "127.0.0.1", "--node", iqn),
        *("--peer-port", port, "--chap-user", "replica", "--chap-secret-file", "-", "--vd", "copy", "--json"),
        *("--rpo", "90"),
        stdin=SECRET,
    ).json()
    assert (made["source_vd"], made["target_vd"], made["target_lun"]) == ("payroll", "copy", 1)
    (first,) = made["paths"]
    assert (first["address"], first["port"], first["peer_port"]) == ("127.0.0.1", 3260, int(port))
    assert (first["state"], first["reason"]) == ("standby", None)
    assert SECRET not in str(made)
    assert (made["rpo_minutes"], made["rpo_met"]) == (90, True)
    logged_in.run("job", "delete", "nightly", "--yes")
    # Only the name and the address: one source VD, one node, one backup VD; who logs on has to be said.
    given = ("job", "create", "nightly", "--address", "127.0.0.1", "--peer-port", port)
    assert "--chap-user is needed" in logged_in.run(*given, code=2, QREPLICA_CHAP_SECRET=SECRET).err
    ended = logged_in.run(*given, "--chap-user", "replica", QREPLICA_CHAP_SECRET=SECRET)
    assert ended.out.startswith("Job “nightly” was made: payroll → copy on target.")


def test_the_wizard_names_what_it_cannot_choose(world: Any, logged_in: Any, target: tuple[str, str]) -> None:
    port, iqn = target
    stock(world, "payroll")
    virtual_disks.create(world.database, world.storage, name="other", raid_group="rg1", size=GIB)
    ended = logged_in.run("job", "create", "j", "--address", "127.0.0.1", "--peer-port", port, code=2)
    assert "other, 1 GiB; payroll, 1 GiB" in ended.err
    assert "--source-vd" in ended.err
    given = ("--source-vd", "other", "--node", iqn, "--chap-user", "replica", "--vd", "nope")
    ended = logged_in.run(
        *("job", "create", "j", "--address", "127.0.0.1", "--peer-port", port, *given),
        code=2,
        QREPLICA_CHAP_SECRET=SECRET,
    )
    assert "none that can be used" in ended.err


@pytest.mark.usefixtures("no_log_on")
def test_the_wizard_tells_why_something_does_not_qualify(world: Any, logged_in: Any, target: tuple[str, str]) -> None:
    port, iqn = target
    stock(world, "payroll")
    virtual_disks.create(world.database, world.storage, name="large", raid_group="rg1", size=2 * GIB)
    configuration.put(world.database, Configuration(ratio=0.5))
    given = ("--peer-port", port, "--chap-user", "replica")
    where = ("--address", "127.0.0.1", *given)
    secret = {"QREPLICA_CHAP_SECRET": SECRET}
    ended = logged_in.run("job", "create", "j", "--source-vd", "large", *where, code=2, **secret)
    assert "has 1 GiB and the source VD needs 2 GiB" in ended.err
    ended = logged_in.run("job", "backup-vds", "127.0.0.1", iqn, *given, "--source-vd", "large", **secret)
    assert "no: Backup VD “copy” has 1 GiB" in " ".join(ended.out.split())
    logged_in.run("job", "create", "nightly", "--source-vd", "payroll", "--comment", "Of ours", *where, **secret)
    rows = logged_in.run("job", "source-vds", "--json").json()
    assert [(row["name"], row["qualifies"]) for row in rows] == [("large", True), ("payroll", False)]
    # Of two source VDs only one qualifies, so that nobody has to be asked; and then no node is left.
    ended = logged_in.run("job", "create", "j", *where, code=2, **secret)
    assert "does not log on to the same node twice" in ended.err
    discover = ("job", "discover", "127.0.0.1", "--peer-port", port, "--json")
    for more, qualifies in (((), False), (("--for-job", "nightly"), True)):
        (node,) = logged_in.run(*discover, *more).json()["nodes"]
        assert node["qualifies"] is qualifies


@pytest.mark.usefixtures("no_log_on")
def test_a_job_is_edited(world: Any, logged_in: Any, target: tuple[str, str]) -> None:
    port, _ = target
    stock(world, "payroll")
    given = ("--address", "127.0.0.1", "--peer-port", port, "--chap-user", "replica")
    logged_in.run("job", "create", "nightly", *given, QREPLICA_CHAP_SECRET=SECRET)
    edited = logged_in.run("job", "edit", "nightly", "--name", "weekly", "--comment", "Of ours", "--port", "3270")
    assert edited.out == "Job “weekly” was changed.\n"
    sheet = logged_in.run("job", "show", "weekly").out
    assert "Comment         Of ours" in sheet
    assert "127.0.0.1:3270" in sheet
    wrong = {"QREPLICA_CHAP_SECRET": "wrong-wrong-wrong"}
    assert "did not accept CHAP" in logged_in.run("job", "edit", "weekly", "--chap-user", "r", code=6, **wrong).err
    ended = logged_in.run("job", "edit", "weekly", "--path", "127.0.0.9", "--peer-port", "1", code=3)
    assert "give one of 127.0.0.1:3270" in ended.err
    logged_in.run("job", "path", "add", "weekly", "127.0.0.1", "--peer-port", port)
    assert "give --path" in logged_in.run("job", "edit", "weekly", "--address", "127.0.0.1", code=2).err


def test_what_a_start_will_do_is_told() -> None:
    job: dict[str, Any] = {"name": "j", "source_vd": "v", "source_size": 2 * GIB, "target_vd": "c"}
    job |= {"target_subsystem": "target", "base_generation": None, "cycle": None}
    assert job_views.next_run(job) == "Job “j” makes a full copy, from v to c on target: all of its 2 GiB."
    job["base_generation"] = 3
    assert "what has changed since recovery point 3, of 2 GiB" in job_views.next_run(job)
    job["cycle"] = {"generation": 4, "finished_at": None, "kind": None, "total_bytes": 0, "done_bytes": 0}
    assert job_views.next_run(job).startswith("Generation 4 of job “j” goes on, from v to c")
    job["cycle"] |= {"kind": "incremental", "total_bytes": 3 * MIB, "done_bytes": MIB}
    assert job_views.next_run(job).endswith("2 MiB of 3 MiB are left.")
    assert "The incremental copy of generation 4" in job_views.next_run(job)


@pytest.fixture
def job(world: Any) -> str:
    stock(world, "payroll")
    return str(world.add_job("nightly", "payroll").id)


def at_work(world: Any, work: Callable[[Any, Job, Cycle], None]) -> threading.Thread:
    """Do ``work`` to the job's row once a start has woken the workers, as a worker would."""

    def wait() -> None:
        if world.workers.woken.acquire(timeout=30):
            with world.database.session() as session:
                found = session.query(Job).one()
                work(session, found, found.cycles[-1])

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def commit(_: Any, job: Job, cycle: Cycle) -> None:
    cycle.kind, cycle.step, cycle.outcome = CycleKind.FULL, Step.DONE, Outcome.COMMITTED
    cycle.total_bytes = cycle.done_bytes = 512 * MIB
    cycle.sent_bytes, cycle.finished_at = 500 * MIB, cycle.started_at + timedelta(seconds=2)
    job.state, job.base_generation = JobState.IDLE, cycle.generation


def fail(_: Any, job: Job, cycle: Cycle) -> None:
    cycle.error = job.error = "LUN 1 is gone: attach the backup VD again."
    job.state, job.error_kind = JobState.FAILED, "wrong-disk"


@pytest.mark.usefixtures("job")
def test_following_a_start_ends_with_the_outcome(world: Any, logged_in: Any) -> None:
    worker = at_work(world, commit)
    ended = logged_in.execute("job", "start", "nightly", "--follow")
    worker.join()
    assert ended.out == (
        "Job “nightly”: recovery point 1 is committed on target (full, 512 MiB changed, 500 MiB sent in 2.0 s).\n"
    )
    worker = at_work(world, commit)
    answer = logged_in.run("job", "start", "nightly", "--follow", "--json").json()
    worker.join()
    assert (answer["state"], answer["cycle"]["generation"]) == ("idle", 2)
    (second, first) = logged_in.run("job", "cycles", "nightly", "--json").json()
    assert (first["outcome"], second["generation"]) == ("committed", 2)
    rows = [line.split() for line in logged_in.run("job", "cycles", "nightly").out.splitlines() if " 2.0 s " in line]
    assert [row[:2] for row in rows] == [["2", "full"], ["1", "full"]]
    assert [row[-7:] for row in rows] == [["512", "MiB", "500", "MiB", "256", "MiB/s", "committed"]] * 2


def commit_compared(world: Any, job: Job, cycle: Cycle) -> None:
    commit(world, job, cycle)
    cycle.compared_bytes, cycle.sent_bytes = 480 * MIB, 5 * MIB


@pytest.mark.usefixtures("job")
def test_a_full_copy_that_was_compared_says_so(world: Any, logged_in: Any) -> None:
    worker = at_work(world, commit_compared)
    ended = logged_in.execute("job", "start", "nightly", "--follow")
    worker.join()
    assert ended.out == (
        "Job “nightly”: recovery point 1 is committed on target (full, compared, 480 MiB compared, 5 MiB sent in "
        "2.0 s).\n"
    )
    sheet = logged_in.run("job", "show", "nightly").out
    assert "Cycle           full, compared, generation 1" in sheet
    assert "Compared        480 MiB with what the target held" in sheet
    assert "Sent            5 MiB of data" in sheet
    assert "full, compared" in logged_in.run("job", "cycles", "nightly").out
    (cycle,) = logged_in.run("job", "cycles", "nightly", "--json").json()
    assert (cycle["kind"], cycle["compared_bytes"]) == ("full", 480 * MIB)


def test_progress_tells_compared_and_sent_apart() -> None:
    cycle = {"done_bytes": 100 * MIB, "total_bytes": 400 * MIB, "rate": 50.0 * MIB, "eta_seconds": 6.0}
    cycle |= {"compared_bytes": 96 * MIB, "sent_bytes": 2 * MIB}
    assert figures(cycle) == "100 MiB of 400 MiB, 96 MiB compared, 2 MiB sent  50 MiB/s  6.0 s left"


@pytest.mark.usefixtures("job")
def test_following_a_job_that_fails_ends_with_10(world: Any, logged_in: Any) -> None:
    worker = at_work(world, fail)
    ended = logged_in.execute("job", "start", "nightly", "--follow", code=10)
    worker.join()
    assert ended.err.endswith("Error: Job “nightly” is failed: LUN 1 is gone: attach the backup VD again.\n")
    problem = logged_in.run("job", "watch", "nightly", "--json", code=10)
    assert problem.problem()["type"] == "urn:qreplica:error:followed-job-failed"
    assert problem.json()["state"] == "failed"
    assert "LUN 1 is gone" in logged_in.run("job", "show", "nightly").out


def test_watching_prints_plain_lines_and_the_waiting_reason(world: Any, logged_in: Any, job: str) -> None:
    with world.database.session() as session:
        cycle = Cycle(job_id=job, generation=1, kind=CycleKind.FULL, step=Step.TRANSFER, started_at=now())
        cycle.total_bytes, cycle.done_bytes, cycle.rate = 400 * MIB, 100 * MIB, 50.0 * MIB
        session.add(cycle)
        found = session.get_one(Job, job)
        found.state, found.error_kind, found.error = JobState.WAITING, "peer-unreachable", "No way to the target."
    watching = subprocess.Popen(
        logged_in.command("job", "watch", "nightly"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=logged_in.environment,
    )
    try:
        assert watching.stderr is not None
        lines = [watching.stderr.readline() for _ in range(2)]
    finally:
        with world.database.session() as session:
            found = session.get_one(Job, job)
            commit(session, found, found.cycles[-1])
        out, _ = watching.communicate(timeout=60)
    assert "nightly: transfer" in lines[0]
    assert "25.0 %  100 MiB of 400 MiB  50 MiB/s  6.0 s left" in lines[0]
    assert lines[1] == "nightly: waiting: No way to the target.\n"
    assert watching.returncode == 0
    assert "recovery point 1 is committed" in out


@pytest.mark.usefixtures("job")
def test_a_queued_job_is_shown_with_its_place_and_watched_to_its_end(world: Any, logged_in: Any) -> None:
    configuration.put(world.database, Configuration(running_jobs=1))
    world.add_job("first", "payroll")
    logged_in.run("job", "start", "first")
    started = logged_in.run("job", "start", "nightly").out
    assert started == "Job “nightly” was queued, place 1: waiting for 1 running job; limit 1.\n"
    (row,) = [line for line in logged_in.run("job", "list").out.splitlines() if line.startswith("nightly")]
    assert "queued" in row
    assert "Queue           place 1: waiting for 1 running job; limit 1" in logged_in.run("job", "show", "nightly").out
    watching = subprocess.Popen(
        logged_in.command("job", "watch", "nightly"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=logged_in.environment,
    )
    try:
        assert watching.stderr is not None
        line = watching.stderr.readline()
    finally:
        with world.database.session() as session:
            first = session.query(Job).filter_by(name="first").one()
            commit(session, first, first.cycles[-1])
            session.flush()
            plans.admit(session)
            found = session.query(Job).filter_by(name="nightly").one()
            commit(session, found, found.cycles[-1])
        out, _ = watching.communicate(timeout=60)
    assert line == "nightly: queued: place 1: waiting for 1 running job; limit 1\n"
    assert "recovery point 1 is committed" in out


def test_a_job_is_listed_with_its_progress_and_lag(world: Any, logged_in: Any, job: str) -> None:
    with world.database.session() as session:
        cycle = Cycle(job_id=job, generation=1, kind=CycleKind.FULL, step=Step.TRANSFER)
        cycle.total_bytes, cycle.done_bytes, cycle.rate = 400 * MIB, 100 * MIB, 50.0 * MIB
        session.add(cycle)
        session.get_one(Job, job).state = JobState.RUNNING
    (row,) = [line for line in logged_in.run("job", "list").out.splitlines() if line.startswith("nightly")]
    expected = "nightly payroll target:payroll-copy running transfer 25 % 50 MiB/s - never 1"
    assert row.split() == expected.split()
    sheet = logged_in.run("job", "show", "nightly").out
    assert "Step            transfer, 25.0 % of 400 MiB" in sheet
    assert "Time left       6.0 s" in sheet
    assert ("RPO goal        -" in sheet, "Backlog         -" in sheet) == (True, True)


def test_a_job_that_lags_is_listed_with_its_goal_backlog_and_last_progress(
    world: Any, logged_in: Any, job: str
) -> None:
    run, at = logged_in.run, now()
    assert run("job", "rpo", "show", "nightly").out == "The job has no RPO goal.\n"
    assert run("job", "rpo", "set", "nightly", "60").out == "The RPO goal of job “nightly” is 1h.\n"
    assert run("job", "rpo", "show", "nightly", "--json").json() == {"rpo_minutes": 60}
    assert "is not an interval" in run("job", "rpo", "set", "nightly", "soon", code=2).err
    assert "cannot be" in run("job", "rpo", "set", "nightly", "400d", code=2).err
    run("job", "rpo", "set", "none", "1h", code=3)
    with world.database.session() as session:
        cycle = Cycle(job_id=job, generation=1, outcome=Outcome.COMMITTED, step=Step.DONE, finished_at=at)
        cycle.taken_at = at - timedelta(hours=2)
        session.add(cycle)
        session.get_one(Job, job).state = JobState.WAITING
        lag = session.get_one(JobLag, job)
        lag.backlog, lag.counted_at, lag.progressed_at, lag.stalled_since = 300 * MIB, at, at, at
    shown = at.astimezone(ZoneInfo("Europe/Vienna"))
    for command in (("job", "list"), ("status",)):
        (row,) = [line for line in run(*command).out.splitlines() if line.startswith("nightly")]
        expected = f"nightly payroll target:payroll-copy waiting {shown:%m-%d %H:%M} - 2 h 00 min of 1h 300 MiB 1"
        assert row.split() == expected.split()
    sheet = run("job", "show", "nightly").out
    for line in (
        "Lag             2 h 00 min of 1h",
        "RPO goal        1h, missed",
        f"Backlog         300 MiB at most, counted {shown:%Y-%m-%d %H:%M:%S}",
        f"Last progress   {shown:%Y-%m-%d %H:%M:%S}: it makes no progress since {shown:%Y-%m-%d %H:%M:%S}",
    ):
        assert line in sheet, line
    run("job", "rpo", "set", "nightly", "1d")
    assert "RPO goal        1d, met" in run("job", "show", "nightly").out
    assert run("job", "rpo", "delete", "nightly").out == "Job “nightly” has no RPO goal.\n"


@pytest.mark.usefixtures("job")
def test_stopping_keeps_and_deleting_needs_a_word(world: Any, logged_in: Any) -> None:
    logged_in.run("job", "start", "nightly")
    assert logged_in.run("job", "stop", "nightly").out == "Job “nightly” stops; what was sent is kept.\n"
    with world.database.session() as session:
        session.query(Job).one().state = JobState.STOPPED
    assert "stopped" in logged_in.run("job", "watch", "nightly", code=10).err
    assert "was not confirmed" in logged_in.run("job", "delete", "nightly", code=4).err
    assert len(logged_in.run("job", "list", "--json").json()) == 1


@pytest.mark.usefixtures("no_log_on")
def test_paths_are_added_listed_and_removed(world: Any, logged_in: Any, target: tuple[str, str]) -> None:
    port, iqn = target
    stock(world, "payroll")
    given = ("--peer-port", port, "--chap-user", "replica", "--vd", "copy")
    logged_in.run("job", "create", "nightly", "--address", "127.0.0.1", *given, QREPLICA_CHAP_SECRET=SECRET)
    second = ("job", "path", "add", "nightly", "127.0.0.1", "--port", "3270", "--peer-port", port)
    assert logged_in.run(*second, "--node", iqn, "--lun", "1").out == "Job “nightly” has 2 paths to target:copy now.\n"
    assert "has a path to 127.0.0.1:3270 already" in logged_in.run(*second, code=4).err
    with world.database.session() as session:
        failed = session.query(Job).one().paths[1]
        failed.state, failed.reason = PathState.FAILED, "Its cable is out."
    rows = logged_in.run("job", "path", "list", "nightly").out.splitlines()
    assert [row.split()[:2] for row in rows if row.startswith("127")] == [
        ["127.0.0.1:3260", "standby"],
        ["127.0.0.1:3270", "failed"],
    ]
    assert any(row.endswith("Its cable is out.") for row in rows)
    (row,) = [line for line in logged_in.run("job", "list").out.splitlines() if line.startswith("nightly")]
    assert row.split()[-3:] == ["1", "of", "2"]
    sheet = logged_in.run("job", "show", "nightly").out
    assert "127.0.0.1:3260 standby since " in sheet
    assert "127.0.0.1:3270 failed since " in sheet
    assert "Its cable is out." in sheet
    assert len(logged_in.run("job", "path", "list", "nightly", "--json").json()) == 2
    remove = ("job", "path", "remove", "nightly", "127.0.0.1")
    assert logged_in.run(*remove).out == "Path 127.0.0.1:3260 of job “nightly” was removed.\n"
    assert "give one of 127.0.0.1:3270" in logged_in.run(*remove, code=3).err
    assert "is the only one" in logged_in.run(*remove, "--port", "3270", code=4).err
