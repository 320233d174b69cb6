"""The process that runs one cycle: ``python -m qreplica.replication.worker --config FILE --parent PID [--job ID]``.

Without a job it waits for one, whose id is a line of standard input; no line at all ends it.
It dies with its daemon, whatever happens to that one; told to end (SIGTERM) it stops with a durable checkpoint. What it
did stands in the database; the exit code only tells whether it ended by itself.
"""

import argparse
import ctypes
import functools
import gc
import os
import signal
import sys
import threading
from pathlib import Path

import structlog
from sqlalchemy.orm import configure_mappers

from qreplica.daemon import config as configuration
from qreplica.daemon import logs
from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.iscsi.target.pause import paused
from qreplica.replication import cycle, plans
from qreplica.replication.attempt import Parts
from qreplica.replication.errors import StaleOwner
from qreplica.replication.plain_links import JobLinks
from qreplica.replication.progress import peak_memory
from qreplica.replication.qsnaps import QSnaps
from qreplica.replication.store import JobStore
from qreplica.replication.transfer import Settings
from qreplica.state import secrets
from qreplica.state.database import Database
from qreplica.state.models import Job, Severity
from qreplica.storage.btrfs import BtrfsDriver

#: Exit code of a worker that another one has taken over from.
STALE = 3
_ORPHAN = 4
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def die_with(parent: int) -> bool:
    """Have the kernel kill this process when its parent ends; return False when that has happened already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    # Only the death of a parent that still lives after the call is signalled.
    return os.getppid() == parent


def main() -> int:
    """Run the cycle of one job; return the exit code."""
    arguments = _arguments()
    if not die_with(arguments.parent):
        return _ORPHAN
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C goes to the daemon, which ends us
    logs.configure("json")
    job = arguments.job or _awaited()
    if not job:
        return 0
    logger = structlog.get_logger().bind(job=job, pid=os.getpid())
    try:
        _run(configuration.load(arguments.config), job, stop, logger)
    except StaleOwner as error:
        logger.warning("stale-owner", sentence=error.sentence)
        return STALE
    except QReplicaError as error:
        logger.exception("worker-failed", kind=error.kind, sentence=error.sentence)
        return error.exit_code
    finally:
        logger.info("worker-ends", peak_memory=peak_memory())
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="qreplica-worker", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--job")
    parser.add_argument("--parent", type=int, required=True, help="the daemon's process id")
    return parser.parse_args()


def _awaited() -> str:
    """Return the job to work on once it is known; what takes long and is the same for all jobs is done before."""
    configure_mappers()
    # What is loaded stays: the collector need not go through it again and again.
    gc.freeze()
    return sys.stdin.readline().strip()


def _run(
    config: configuration.Config, job: str, stop: threading.Event, logger: structlog.typing.FilteringBoundLogger
) -> None:
    secrets.unlock(config.state_dir)
    database = Database(config.database_url)
    try:
        store = JobStore.take_over(database, job, config.controller)
        if store is None:
            logger.info("nothing-to-do")
            return
        name = _name_of(database, job)

        def tell(severity: Severity, kind: str, sentence: str) -> None:
            logger.info(kind, sentence=sentence)
            with database.session() as session:
                log.record(session, severity, kind, f"job {name}", sentence, controller=config.controller)

        storage = BtrfsDriver(config.raid_group_mounts)
        pause = functools.partial(paused, config.tgtd_pid_files)
        settings = Settings(**config.transfer.model_dump())
        parts = Parts(
            storage,
            QSnaps(database, storage, pause, store.confirm),
            JobLinks(database, config.controller),
            tell,
            settings,
            functools.partial(plans.limit_now, database, job),
        )
        logger.info("worker-begins", epoch=store.epoch)
        cycle.run(database, parts, store, stop)
    finally:
        database.dispose()


def _name_of(database: Database, job: str) -> str:
    with database.session(read_only=True) as session:
        return session.get_one(Job, job).name


if __name__ == "__main__":
    sys.exit(main())
