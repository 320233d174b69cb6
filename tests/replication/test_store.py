"""Every write of a job's state compares the epoch first."""

from collections.abc import Callable

import pytest

from qreplica.peer.errors import WrongChap
from qreplica.replication import jobs
from qreplica.replication.errors import StaleOwner
from qreplica.replication.planner import Base, Begun
from qreplica.replication.store import JobStore, Planned
from qreplica.state.models import Job, JobState, Step

from .pair import JOB, SIZE, Pair

ERROR = WrongChap(node="iqn.x", user="replica")
PLAN = Planned(None, "d" * 64, total=100, zeros=10, done=0, checkpoint=0)


def _confirm(store: JobStore) -> None:
    with store._database.session() as session:
        store.confirm(session)


WRITES: dict[str, Callable[[JobStore], object]] = {
    "raise_epoch": lambda store: store.raise_epoch(),
    "facts": lambda store: store.facts(),
    "step": lambda store: store.step(Step.COMMIT),
    "snapshot_taken": lambda store: store.snapshot_taken("0" * 32, 4096),
    "start_anew": lambda store: store.start_anew("why"),
    "planned": lambda store: store.planned(PLAN),
    "checkpoint": lambda store: store.checkpoint(4096, 4096),
    "progress": lambda store: store.progress(done=1, sent=1, compared=1, rate=1.0, peak_memory=1),
    "committed": lambda store: store.committed(),
    "left_over": lambda store: store.left_over([]),
    "finished": lambda store: store.finished(),
    "owned": lambda store: store.owned().__enter__(),
    "claimed": lambda store: store.claimed("b1", SIZE, "path"),
    "target_grew": lambda store: store.target_grew(SIZE),
    "waiting": lambda store: store.waiting(ERROR),
    "gave_way": lambda store: store.gave_way(),
    "failed": lambda store: store.failed(ERROR),
    "stopped": lambda store: store.stopped(),
    "paired": lambda store: store.paired("secret"),
    "confirm": _confirm,
}


@pytest.fixture
def owner(pair: Pair) -> JobStore:
    jobs.start(pair.database, "nightly")
    store = JobStore.take_over(pair.database, JOB, 1)
    assert store is not None
    return store


def everything(pair: Pair) -> list[object]:
    with pair.database.session(read_only=True) as session:
        rows: list[object] = []
        for table in ("jobs", "cycles", "snapshots", "paths"):
            rows += session.connection().exec_driver_sql(f"SELECT * FROM {table} ORDER BY id").all()  # noqa: S608
        return rows


def test_every_call_of_the_store_is_tried() -> None:
    public = {name for name in vars(JobStore) if not name.startswith("_")}
    assert public - {"take_over"} == set(WRITES)


@pytest.mark.parametrize("write", WRITES)
def test_a_stale_owner_changes_nothing(pair: Pair, owner: JobStore, write: str) -> None:
    newer = JobStore.take_over(pair.database, JOB, 1)
    assert newer is not None
    before = everything(pair)
    with pytest.raises(StaleOwner, match="another worker after epoch 1"):
        WRITES[write](owner)
    assert everything(pair) == before
    newer.step(Step.DELTA)


def test_nobody_takes_over_what_does_not_run_or_belongs_to_the_other_controller(pair: Pair) -> None:
    assert JobStore.take_over(pair.database, JOB, 1) is None
    assert JobStore.take_over(pair.database, "f" * 32, 1) is None
    jobs.start(pair.database, "nightly")
    assert JobStore.take_over(pair.database, JOB, 2) is None
    jobs.stop(pair.database, "nightly")
    assert JobStore.take_over(pair.database, JOB, 1) is None


def test_a_deleted_jobs_worker_is_stale(pair: Pair, owner: JobStore) -> None:
    with pair.database.session() as session:
        session.delete(session.get_one(Job, JOB))
    with pytest.raises(StaleOwner):
        owner.checkpoint(1, 1)


def test_epochs_only_rise(owner: JobStore) -> None:
    assert owner.raise_epoch() == 2
    assert owner.raise_epoch(above=40) == 41
    assert owner.raise_epoch(above=7) == 42
    assert owner.epoch == 42


def test_what_was_planned_and_reached_is_read_back(owner: JobStore) -> None:
    owner.planned(PLAN)
    owner.checkpoint(8192, 50)
    assert owner.facts().begun == Begun("d" * 64, None, 8192)
    assert owner.facts().step is Step.TRANSFER


def test_a_base_that_was_unpinned_is_not_taken_for_a_full_copy(pair: Pair, owner: JobStore) -> None:
    with pair.database.session() as session:
        cycle = session.get_one(Job, JOB).cycles[0]
        cycle.kind, cycle.manifest, cycle.base_generation, cycle.checkpoint = "incremental", "d" * 64, 3, 8192
    assert owner.facts().begun is None
    assert Base(3, "x") != owner.facts().begun


def test_waiting_never_hides_a_stop(pair: Pair, owner: JobStore) -> None:
    jobs.stop(pair.database, "nightly")
    owner.waiting(ERROR)
    owner.claimed("b1", SIZE, "path")
    assert pair.job().state is JobState.STOPPING
    owner.stopped()
    assert pair.job().state is JobState.STOPPED
