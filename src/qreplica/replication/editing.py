"""Changes a job: its name and comment at any time; how it logs on to the target, and where, while it does not run.

Name and comment are only shown. An address, a port or a CHAP secret is what the next session is made with: a cycle that
is under way would go on by the old one and fail by the new one, or the other way round, so it must have ended. Nothing
of it is kept before it has been proved to lead to the very backup VD, in the way in which a further path is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy.orm import Session

from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.iscsi.initiator import Portal
from qreplica.names import check_chap, check_name
from qreplica.replication.creation import check_free, check_log_on
from qreplica.replication.errors import PathExists
from qreplica.replication.jobs import get, refuse_busy
from qreplica.replication.links import Links, NetworkLinks, Target, Way, chap_of, target_of
from qreplica.replication.multipath import get_path, prove, usual
from qreplica.replication.retry import passes
from qreplica.state.database import Database
from qreplica.state.models import Job, Path, PathState, Severity, now


@dataclass(frozen=True, slots=True)
class PathChange:
    """A path, by the portal that it has; and what it is to have in place of that, None for what it has."""

    address: str
    port: int
    new_address: str | None = None
    new_port: int | None = None
    new_peer_port: int | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be different; None, and what is left out, stays.

    ``log_on`` has the CHAP names and secrets under the names of their columns (``chap_user``, ...). A name that is None
    takes its secret away with it.
    """

    name: str | None = None
    comment: str | None = None
    log_on: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    paths: Sequence[PathChange] = ()

    @property
    def reach_target(self) -> bool:
        """Whether how the job comes to its target changes."""
        return bool(self.log_on or self.paths)


def edit(database: Database, name: str, changes: Changes, *, controller: int, links: Links | None = None) -> None:
    """Change the job. ``controller`` is the one that does it. Idempotent.

    Raises NotFound, NotAName, NameTaken, JobRunning, what ``creation.check_log_on`` does, PathMissing, PathExists,
    PortalInvalid, and what ``multipath.add`` does of a path that leads elsewhere; then nothing was changed.
    """
    with database.session(read_only=True) as session:
        job = get(session, name)
        _check(session, job, changes)
        log_on, ways, expected = _log_on(job, changes), _ways(job, changes), job.target_vd_name
        job_id, moved = job.id, [way for way in ways if not _is_as_before(job, way)]
    if changes.reach_target:
        target = _with(target_of(database, job_id, controller), log_on, ways)
        _prove(target, moved, links or NetworkLinks(), expected)
    with database.session() as session:
        job = get(session, name)
        _check(session, job, changes)
        told = [*_rename(job, changes), *_set_log_on(job, _log_on(job, changes))]
        told += _move(session, job, _ways(job, changes))
        if told:
            told_of = f"job {job.name}"
            log.record(session, Severity.INFO, "job-edited", told_of, f"{'; '.join(told)}.", controller=controller)


def _check(session: Session, job: Job, changes: Changes) -> None:
    if changes.name not in {None, job.name}:
        check_name(str(changes.name), "replication job")
        check_free(session, str(changes.name))
    if changes.reach_target:
        refuse_busy(job)


_COLUMNS = ("chap_user", "chap_secret", "mutual_user", "mutual_secret")


def _log_on(job: Job, changes: Changes) -> dict[str, str | None]:
    """Return how the job is to log on, by column. Raises what ``creation.check_log_on`` does."""
    log_on: dict[str, str | None] = {column: getattr(job, column) for column in _COLUMNS} | dict(changes.log_on)
    for user, secret in (_COLUMNS[:2], _COLUMNS[2:]):
        if user in changes.log_on and log_on[user] is None and secret not in changes.log_on:
            log_on[secret] = None
        check_chap(log_on[user], log_on[secret])
    chap = chap_of(log_on["chap_user"], log_on["chap_secret"])
    check_log_on(chap, chap_of(log_on["mutual_user"], log_on["mutual_secret"]))
    return log_on


def _ways(job: Job, changes: Changes) -> list[Way]:
    """Return the ways that the job's paths are to be, in order. Raises PathMissing, PathExists, PortalInvalid."""
    ways = {path.id: Way(path.address, path.port, path.peer_port, path.id, path.state) for path in job.paths}
    for change in changes.paths:
        way = ways[get_path(job, usual(change.address, change.port)).id]
        portal = usual(change.new_address or way.address, change.new_port or way.port)
        peer_port = Portal(portal.address, change.new_peer_port or way.peer_port).port
        ways[way.path] = replace(way, address=portal.address, port=portal.port, peer_port=peer_port)
    seen: set[Portal] = set()
    for way in ways.values():
        portal = usual(way.address, way.port)
        if portal in seen:
            raise PathExists(job=job.name, path=portal)
        seen.add(portal)
    return list(ways.values())


def _with(target: Target, log_on: Mapping[str, str | None], ways: Sequence[Way]) -> Target:
    chap = chap_of(log_on["chap_user"], log_on["chap_secret"])
    return replace(
        target,
        chap=chap,
        mutual=chap_of(log_on["mutual_user"], log_on["mutual_secret"]),
        pairing_secret=target.pairing_secret if (chap is None) is (target.chap is None) else None,
        ways=tuple(ways),
    )


def _is_as_before(job: Job, way: Way) -> bool:
    before = next(path for path in job.paths if path.id == way.path)
    return (before.address, before.port, before.peer_port) == (way.address, way.port, way.peer_port)


def _prove(target: Target, moved: Sequence[Way], links: Links, expected: str) -> None:
    """Raise unless each way that moved leads to the backup VD, and, where none did, one of the others does."""
    for way in moved:
        prove(target, way, links, expected=expected)
    trouble: QReplicaError | None = None
    for way in () if moved else target.ways:
        try:
            prove(target, way, links, expected=expected)
        except QReplicaError as error:
            if not passes(error):
                raise
            trouble = trouble or error
        else:
            return
    if trouble is not None:
        raise trouble


def _rename(job: Job, changes: Changes) -> list[str]:
    """Return what to tell of it."""
    told = []
    if changes.name not in {None, job.name}:
        told.append(f"It was renamed from “{job.name}”")
        job.name = str(changes.name)
    if changes.comment not in {None, job.comment}:
        told.append("Its comment was changed")
        job.comment = str(changes.comment)
    return told


def _set_log_on(job: Job, log_on: Mapping[str, str | None]) -> list[str]:
    """Return what to tell of it: never a secret."""
    changed = [column for column in _COLUMNS if getattr(job, column) != log_on[column]]
    if not changed:
        return []
    if (job.chap_user is None) is not (log_on["chap_user"] is None):
        # A node with CHAP is never paired, and one whose CHAP was taken away is paired anew.
        job.pairing_secret = None
    for column in changed:
        setattr(job, column, log_on[column])
    kinds = [f"CHAP name “{job.chap_user}”" if job.chap_user else "no CHAP"]
    kinds += [f"mutual CHAP name “{job.mutual_user}”"] if job.mutual_user else []
    return [f"It logs on with {' and '.join(kinds)} now"]


def _move(session: Session, job: Job, ways: Sequence[Way]) -> list[str]:
    """Return what to tell of it. Paths that moved stand by, whatever they were before: they have just been proved."""
    moved = [way for way in ways if not _is_as_before(job, way)]
    rows = {path.id: path for path in job.paths}
    told = []
    for way in moved:
        row = rows[way.path]
        told.append(f"Path {usual(row.address, row.port)} is {usual(way.address, way.port)} now")
        # Two that change places would be the same for a moment.
        row.address = row.id
    session.flush()
    for way in moved:
        _put(rows[way.path], way)
    return told


def _put(row: Path, way: Way) -> None:
    row.address, row.port, row.peer_port = way.address, way.port, way.peer_port
    row.state, row.reason, row.since = PathState.STANDBY, None, now()
