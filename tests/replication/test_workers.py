"""The daemon's supervision of worker processes, with processes that only pretend to work."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import select as rows
from sqlalchemy import update

from qreplica.daemon.config import Config, PortConfig
from qreplica.replication import configuration, jobs, worker
from qreplica.replication.configuration import Configuration
from qreplica.replication.workers import Workers
from qreplica.state.models import Duty, Event, Job, JobState

from .pair import JOB, Pair
from .test_queue import add_jobs

T = TypeVar("T")

#: Writes its pid, once it has a job, and then lives as it is told.
PRETENDER = """
import os, signal, sys, time
how, note, waits = sys.argv[1:]
if waits and not sys.stdin.readline():
    os._exit(0)
if how == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
elif how == "obedient":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
with open(note, "a") as file:
    file.write(f"{os.getpid()}\\n")
if how == "crashing":
    os._exit(9)
time.sleep(600)
"""


def eventually(look: Callable[[], T]) -> T:
    deadline = time.monotonic() + 60
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return found


def gone(pid: int) -> bool:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], 60)[0])
    finally:
        os.close(pidfd)


class Pretenders:
    """Workers whose processes pretend, and what these noted."""

    def __init__(self, pair: Pair, folder: Path) -> None:
        self.pair = pair
        self.note = folder / "pids"
        self.how = "obedient"
        self.owners = [1]
        self.asked: list[tuple[Path, str | None]] = []
        config = Config(
            subsystem="source",
            controller=1,
            state_dir=folder,
            runtime_dir=folder,
            tgt_control_port=1,
            ports=(PortConfig(number=1, interface="lo", address="127.0.0.1"),),
        )
        self.workers = Workers(
            folder / "config.toml",
            config,
            pair.database,
            lambda: self.owners,
            look_every=0.02,
            grace=0.3,
            command=self.command,
        )

    def command(self, file: Path, job: str | None) -> list[str]:
        self.asked.append((file, job))
        return [sys.executable, "-c", PRETENDER, self.how, str(self.note), "" if job else "waits"]

    def standby(self) -> int:
        """Return the pid of the worker that stands by, once there is one."""

        def look() -> list[int]:
            standby = self.workers._processes._standby
            return [] if standby is None else [standby.pid]

        return eventually(look)[0]

    def pids(self) -> list[int]:
        return [int(line) for line in self.note.read_text().split()] if self.note.exists() else []

    def state(self) -> JobState:
        return self.pair.job().state


@pytest.fixture
def pretenders(pair: Pair, tmp_path: Path) -> Iterator[Pretenders]:
    made = Pretenders(pair, tmp_path)
    yield made
    made.workers.stop()
    for pid in made.pids():
        assert gone(pid)


def test_a_started_job_gets_a_worker_and_only_one(pretenders: Pretenders) -> None:
    jobs.start(pretenders.pair.database, "nightly")
    pretenders.workers.start()
    pretenders.workers.start()
    pretenders.workers.wake()
    eventually(pretenders.pids)
    time.sleep(0.2)
    assert len(pretenders.pids()) == 1
    assert pretenders.asked == [(pretenders.workers.file, JOB)]
    assert pretenders.workers.running() == [JOB]


def test_the_worker_that_stands_by_takes_the_job_and_another_stands_by_when_it_is_done(pretenders: Pretenders) -> None:
    pretenders.workers.start()
    standby = pretenders.standby()
    jobs.start(pretenders.pair.database, "nightly")
    pretenders.workers.wake()
    assert eventually(pretenders.pids) == [standby]
    # The process notes itself down before who started it does.
    assert eventually(pretenders.workers.running) == [JOB]
    time.sleep(0.2)
    assert pretenders.asked == [(pretenders.workers.file, None)]
    jobs.stop(pretenders.pair.database, "nightly")
    assert gone(standby)
    assert pretenders.standby() != standby


def test_a_job_is_begun_anew_when_the_worker_that_stood_by_has_died(pretenders: Pretenders) -> None:
    pretenders.workers._processes.prepare()
    standby = pretenders.standby()
    os.kill(standby, signal.SIGKILL)
    assert gone(standby)
    jobs.start(pretenders.pair.database, "nightly")
    pretenders.workers.start()
    assert standby not in eventually(pretenders.pids)


def test_nobody_stands_by_without_jobs_or_after_the_end(pretenders: Pretenders) -> None:
    pretenders.workers.start()
    standby = pretenders.standby()
    with pretenders.pair.database.session() as session:
        session.delete(session.get_one(Job, JOB))
    assert gone(standby)
    assert pretenders.pids() == []


def test_the_worker_that_stands_by_ends_with_the_daemons_supervision(pretenders: Pretenders) -> None:
    pretenders.workers.start()
    standby = pretenders.standby()
    pretenders.workers.stop()
    assert gone(standby)


def test_what_ran_before_the_daemon_started_is_taken_up(pretenders: Pretenders) -> None:
    jobs.start(pretenders.pair.database, "nightly")
    with pretenders.pair.database.session() as session:
        session.get_one(Job, JOB).state = JobState.WAITING
    pretenders.workers.start()
    eventually(pretenders.pids)


def test_jobs_of_the_other_controller_are_not_ours(pretenders: Pretenders) -> None:
    jobs.start(pretenders.pair.database, "nightly")
    with pretenders.pair.database.session() as session:
        session.get_one(Job, JOB).controller = 2
    pretenders.workers.start()
    time.sleep(0.2)
    assert pretenders.pids() == []


def test_stop_ends_the_worker_and_then_the_job_is_stopped(pretenders: Pretenders) -> None:
    jobs.start(pretenders.pair.database, "nightly")
    pretenders.workers.start()
    (pid,) = eventually(pretenders.pids)
    jobs.stop(pretenders.pair.database, "nightly")
    pretenders.workers.wake()
    assert gone(pid)
    eventually(lambda: pretenders.state() is JobState.STOPPED)
    with pretenders.pair.database.session(read_only=True) as session:
        assert "worker-died" not in [event.kind for event in session.scalars(rows(Event))]


def test_a_worker_that_does_not_stop_is_killed(pretenders: Pretenders) -> None:
    pretenders.how = "stubborn"
    jobs.start(pretenders.pair.database, "nightly")
    pretenders.workers.start()
    (pid,) = eventually(pretenders.pids)
    jobs.stop(pretenders.pair.database, "nightly")
    assert gone(pid)
    eventually(lambda: pretenders.state() is JobState.STOPPED)


def test_a_worker_that_died_is_replaced_later_and_later_and_told(pretenders: Pretenders) -> None:
    pretenders.how = "crashing"
    jobs.start(pretenders.pair.database, "nightly")
    pretenders.workers.start()
    eventually(lambda: len(pretenders.pids()) >= 2)
    with pretenders.pair.database.session(read_only=True) as session:
        told = [event.message for event in session.scalars(rows(Event)) if event.kind == "worker-died"]
    assert told[0] == "Its worker ended with code 9; another one goes on from the checkpoint in 1 s."
    assert pretenders.state() is JobState.RUNNING


def test_a_killed_worker_is_replaced(pretenders: Pretenders) -> None:
    jobs.start(pretenders.pair.database, "nightly")
    pretenders.workers.start()
    (pid,) = eventually(pretenders.pids)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(pretenders.pids()) == 2)
    with pretenders.pair.database.session(read_only=True) as session:
        told = [event.message for event in session.scalars(rows(Event)) if event.kind == "worker-died"]
    assert told == ["Its worker was killed by signal 9; another one goes on from the checkpoint in 1 s."]


def test_a_daemon_that_ends_takes_its_workers_along_and_leaves_the_job_running(pretenders: Pretenders) -> None:
    pretenders.how = "stubborn"
    jobs.start(pretenders.pair.database, "nightly")
    pretenders.workers.start()
    (pid,) = eventually(pretenders.pids)
    pretenders.workers.stop()
    assert gone(pid)
    assert pretenders.state() is JobState.RUNNING
    assert pretenders.workers.running() == []


def test_a_deleted_jobs_worker_is_ended(pretenders: Pretenders) -> None:
    jobs.start(pretenders.pair.database, "nightly")
    pretenders.workers.start()
    (pid,) = eventually(pretenders.pids)
    with pretenders.pair.database.session() as session:
        session.delete(session.get_one(Job, JOB))
    assert gone(pid)


DAEMON = """
import os, subprocess, sys, time
child = "import os, sys, time; from qreplica.replication.worker import die_with; " \\
    "print(die_with(int(sys.argv[1])), os.getpid(), flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child, str(os.getpid())])
time.sleep(600)
"""


def test_no_worker_outlives_its_daemon() -> None:
    daemon = subprocess.Popen([sys.executable, "-c", DAEMON], stdout=subprocess.PIPE, text=True)
    assert daemon.stdout is not None
    with daemon.stdout:
        alive, pid = daemon.stdout.readline().split()
        assert alive == "True"
        daemon.kill()
        daemon.wait()
        assert gone(int(pid))


def test_a_worker_whose_daemon_is_gone_already_does_not_begin() -> None:
    argv = [sys.executable, "-m", "qreplica.replication.worker", "--config", "/nowhere", "--job", JOB, "--parent", "1"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (worker._ORPHAN, "", "")


def test_a_worker_that_stands_by_ends_when_its_daemon_lets_go_of_it() -> None:
    argv = [sys.executable, "-m", "qreplica.replication.worker", "--config", "/nowhere", "--parent", str(os.getpid())]
    done = subprocess.run(argv, input="", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_worker_that_cannot_begin_says_why_in_one_line() -> None:
    argv = [sys.executable, "-m", "qreplica.replication.worker", "--config", "/nowhere", "--job", JOB]
    done = subprocess.run([*argv, "--parent", str(os.getpid())], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "configuration-invalid" in done.stderr.splitlines()[0]
    assert "/nowhere cannot be used" in done.stderr


def test_a_job_that_was_failed_from_outside_loses_its_worker_without_a_word(pretenders: Pretenders) -> None:
    jobs.start(pretenders.pair.database, "nightly")
    pretenders.workers.start()
    (pid,) = eventually(pretenders.pids)
    with pretenders.pair.database.session() as session:
        session.get_one(Job, JOB).state = JobState.FAILED
    assert gone(pid)
    eventually(lambda: pretenders.workers.running() == [])
    assert pretenders.state() is JobState.FAILED
    with pretenders.pair.database.session(read_only=True) as session:
        assert "worker-died" not in [event.kind for event in session.scalars(rows(Event))]


def test_only_a_few_workers_start_at_once_and_more_as_these_begin_to_work(pretenders: Pretenders) -> None:
    """Or else the daemon would have no processor left to keep its leases, without which it ends them all again."""
    names = add_jobs(pretenders.pair.database, 6)
    with pretenders.pair.database.session() as session:
        session.execute(update(Job).values(state=JobState.RUNNING, controller=1))
    pretenders.workers.start()
    eventually(lambda: len(pretenders.workers.running()) == 4)
    time.sleep(0.2)
    started = pretenders.workers.running()
    assert len(started) == 4
    with pretenders.pair.database.session() as session:
        session.execute(update(Job).where(Job.id.in_(started[:2])).values(epoch=1))
    eventually(lambda: len(pretenders.workers.running()) == 6)
    assert set(pretenders.workers.running()) < {*names, JOB}
    eventually(lambda: len(pretenders.pids()) == 6)


def test_a_queued_job_gets_a_worker_in_its_turn_and_not_without_a_license(pretenders: Pretenders) -> None:
    database = pretenders.pair.database
    (other, _) = add_jobs(database, 2)
    configuration.put(database, Configuration(running_jobs=1))
    jobs.start(database, "nightly")
    jobs.start(database, "j0")
    licensed = threading.Event()
    pretenders.workers.may_begin = licensed.is_set
    pretenders.workers.start()
    eventually(pretenders.pids)
    jobs.stop(database, "nightly")
    pretenders.workers.wake()
    eventually(lambda: pretenders.workers.running() == [])
    time.sleep(0.2)
    assert pretenders.workers.running() == []
    licensed.set()
    eventually(lambda: pretenders.workers.running() == [other])
    eventually(lambda: len(pretenders.pids()) == 2)


def test_a_lease_that_lapses_ends_no_worker_until_the_other_controller_has_it(pretenders: Pretenders) -> None:
    jobs.start(pretenders.pair.database, "nightly")
    pretenders.workers.start()
    (pid,) = eventually(pretenders.pids)
    pretenders.owners = []
    add_jobs(pretenders.pair.database, 1)
    jobs.start(pretenders.pair.database, "j0")
    time.sleep(0.3)
    assert pretenders.workers.running() == [JOB]
    assert pretenders.pids() == [pid]
    jobs.stop(pretenders.pair.database, "nightly")
    assert gone(pid)
    pretenders.owners = [1]
    eventually(lambda: len(pretenders.pids()) == 2)
    pretenders.owners = []
    with pretenders.pair.database.session() as session:
        session.add(Duty(owner="1", controller=2))
    assert gone(pretenders.pids()[-1])
    assert pretenders.state() is JobState.STOPPED
