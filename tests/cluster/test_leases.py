"""Leases: one holder at a time, whoever sleeps, dies or comes back."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import update

from qreplica.cluster.errors import LeaseLost
from qreplica.cluster.leases import NOBODY, Lease, Leases
from qreplica.state.database import Database
from qreplica.state.errors import StateBusy
from qreplica.state.models import Base, MaintenanceLease, RaidGroup

SOURCE = Path(__file__).parents[2] / "src"
TABLE = Base.metadata.tables["maintenance_leases"]
TAKEOVER = 5.0


class Clock:
    """A monotonic clock that tests turn."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


def leases(database: Database, controller: int, clock: Clock) -> Leases:
    return Leases(database, TABLE, controller, takeover=TAKEOVER, clock=clock)


def row(database: Database, key: str = "rg1") -> MaintenanceLease | None:
    with database.session(read_only=True) as session:
        return session.get(MaintenanceLease, key)


def facts(database: Database, key: str = "rg1") -> tuple[int, int, int] | None:
    found = row(database, key)
    return None if found is None else (found.controller, found.term, found.renewals)


def confirmed(database: Database, by: Leases, lease: Lease) -> bool:
    try:
        with database.session() as session:
            by.confirm(session, lease)
    except LeaseLost:
        return False
    return True


def test_the_first_who_comes_holds_it_and_counts_up(database: Database, clock: Clock) -> None:
    one, two = leases(database, 1, clock), leases(database, 2, clock)
    assert one.held("rg1") is None
    assert one.keep(["rg1", "rg2"]) == [Lease("rg1", 1), Lease("rg2", 1)]
    assert two.keep(["rg1", "rg2"]) == []
    assert (one.held("rg1"), two.held("rg1")) == (Lease("rg1", 1), None)
    for beat in range(1, 20):
        clock.time += 1
        assert one.keep(["rg1", "rg2"]) == two.keep(["rg1", "rg2"]) == []
        assert facts(database) == (1, 1, beat)
        assert one.held("rg1") == Lease("rg1", 1)


def test_a_silent_holder_loses_it_after_the_observers_time_and_not_before(database: Database, clock: Clock) -> None:
    one, two = leases(database, 1, clock), leases(database, 2, clock)
    one.keep(["rg1"])
    clock.time += 100
    assert two.keep(["rg1"]) == [], "the first look begins the time"
    clock.time += TAKEOVER - 0.1
    assert two.keep(["rg1"]) == []
    clock.time += 0.1
    assert two.keep(["rg1"]) == [Lease("rg1", 2)]
    assert facts(database) == (2, 2, 0)


def test_a_renewal_begins_the_time_anew(database: Database, clock: Clock) -> None:
    one, two = leases(database, 1, clock), leases(database, 2, clock)
    one.keep(["rg1"])
    two.keep(["rg1"])
    clock.time += TAKEOVER - 0.1
    one.keep(["rg1"])
    two.keep(["rg1"])
    clock.time += TAKEOVER - 0.1
    assert two.keep(["rg1"]) == []
    assert one.keep(["rg1"]) == []
    assert one.held("rg1") == Lease("rg1", 1)


def test_a_holder_stops_trusting_it_before_others_may_take_it(database: Database, clock: Clock) -> None:
    one, two = leases(database, 1, clock), leases(database, 2, clock)
    one.keep(["rg1"])
    two.keep(["rg1"])
    clock.time += TAKEOVER * 0.9
    assert one.held("rg1") is None
    assert two.keep(["rg1"]) == []
    assert one.keep(["rg1"]) == [], "nobody had it meanwhile: it is the same lease"
    assert one.held("rg1") == Lease("rg1", 1)


def test_one_that_slept_finds_that_it_lost(database: Database, clock: Clock) -> None:
    one, two = leases(database, 1, clock), leases(database, 2, clock)
    one.keep(["rg1"])
    lease = one.held("rg1")
    assert lease is not None
    assert confirmed(database, one, lease)
    two.keep(["rg1"])
    clock.time += TAKEOVER
    two.keep(["rg1"])
    assert not confirmed(database, one, lease)
    assert one.held("rg1") is None
    assert one.keep(["rg1"]) == []
    assert one.held("rg1") is None
    assert two.held("rg1") == Lease("rg1", 2)


def test_a_fenced_transaction_of_one_that_lost_changes_nothing(database: Database, clock: Clock) -> None:
    one, two = leases(database, 1, clock), leases(database, 2, clock)
    (lease,) = one.keep(["rg1"])
    fenced = database.fenced(lambda session: one.confirm(session, lease))
    with fenced.session() as session:
        session.get_one(RaidGroup, "rg1").name = "by-one"
    two.keep(["rg1"])
    clock.time += TAKEOVER
    two.keep(["rg1"])
    with pytest.raises(LeaseLost, match="Controller 1 may no longer act for rg1"), fenced.session() as session:
        session.get_one(RaidGroup, "rg1").name = "by-one-again"
    with fenced.session(read_only=True) as session:
        assert session.get_one(RaidGroup, "rg1").name == "by-one"
    with database.session() as session:
        session.get_one(RaidGroup, "rg1").name = "by-nobody"


def test_what_is_given_up_is_taken_at_once_with_a_higher_term(database: Database, clock: Clock) -> None:
    one, two = leases(database, 1, clock), leases(database, 2, clock)
    one.keep(["rg1"])
    two.keep(["rg1"])
    one.give_up()
    one.give_up()
    assert facts(database) == (NOBODY, 1, 0)
    assert one.held("rg1") is None
    assert two.keep(["rg1"]) == [Lease("rg1", 2)]


def test_giving_up_does_not_touch_what_another_took(database: Database, clock: Clock) -> None:
    one, two = leases(database, 1, clock), leases(database, 2, clock)
    one.keep(["rg1"])
    two.keep(["rg1"])
    clock.time += TAKEOVER
    two.keep(["rg1"])
    one.give_up()
    assert facts(database) == (2, 2, 0)


def test_a_controller_that_starts_again_has_its_leases_at_once_and_under_a_new_term(
    database: Database, clock: Clock
) -> None:
    leases(database, 1, clock).keep(["rg1"])
    assert leases(database, 1, clock).keep(["rg1"]) == [Lease("rg1", 2)]


def test_what_is_gone_is_let_go_of(database: Database, clock: Clock) -> None:
    one = leases(database, 1, clock)
    one.keep(["rg1", "rg2"])
    one.keep(["rg2"])
    assert one.held("rg1") is None
    assert one.held("rg2") == Lease("rg2", 1)


def test_what_never_was_is_not_taken(database: Database, clock: Clock) -> None:
    one = leases(database, 1, clock)
    assert one.keep(["rg1", "no-such-group"]) == [Lease("rg1", 1)]
    assert row(database, "no-such-group") is None


def test_a_busy_database_lets_leases_run_out_and_no_sooner(database: Database, clock: Clock) -> None:
    one = leases(database, 1, clock)
    one.keep(["rg1"])

    class Refusing(Database):
        """Has no connection to give."""

        def __init__(self) -> None:
            """Open nothing."""

        def session(self, **_: object) -> object:  # type: ignore[override] # raises whatever it is given
            raise StateBusy(place="x", reason="y")

    one._database = Refusing()
    clock.time += 1
    with pytest.raises(StateBusy):
        one.keep(["rg1"])
    assert one.held("rg1") == Lease("rg1", 1)
    clock.time += TAKEOVER
    assert one.held("rg1") is None


def test_a_lease_taken_between_look_and_take_is_not_taken_twice(database: Database, clock: Clock) -> None:
    """Both saw the same free lease: the compare-and-set lets one of them have it."""
    one, two, three = (leases(database, number, clock) for number in (1, 2, 3))
    three.keep(["rg1"])
    three.give_up()

    class Slow(Database):
        """Lets ``two`` be faster between look and take."""

        def __init__(self) -> None:
            """Open nothing."""

        def session(self, *, read_only: bool = False) -> object:  # type: ignore[override] # passed on
            if not read_only:
                assert two.keep(["rg1"]) == [Lease("rg1", 2)]
            return database.session(read_only=read_only)

    one._database = Slow()
    assert one.keep(["rg1"]) == []
    assert one.held("rg1") is None
    assert facts(database) == (2, 2, 0)


def test_threads_that_try_at_once_never_hold_one_term_twice(database: Database) -> None:
    """Each of four, over and over: take everything that is free, check, and give up; no term has two holders."""
    holders: dict[Lease, int] = {}
    twice: list[Lease] = []
    lock = threading.Lock()
    begin = threading.Barrier(4)

    def try_often(controller: int) -> None:
        mine = Leases(database, TABLE, controller, takeover=600)
        begin.wait()
        for _ in range(25):
            for lease in mine.keep(["rg1", "rg2"]):
                with lock:
                    if lease in holders:
                        twice.append(lease)
                    holders[lease] = controller
            mine.give_up()

    threads = [threading.Thread(target=try_often, args=(number,)) for number in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert twice == []
    for key in ("rg1", "rg2"):
        terms = sorted(lease.term for lease in holders if lease.key == key)
        assert terms == list(range(1, len(terms) + 1))
        assert facts(database, key) == (NOBODY, len(terms), 0)


_HOLDER = """
import sys
from qreplica.cluster.errors import LeaseLost
from qreplica.cluster.leases import Leases
from qreplica.state.database import Database
from qreplica.state.models import Base, RaidGroup
database = Database(sys.argv[1])
leases = Leases(database, Base.metadata.tables["maintenance_leases"], 1, takeover=float(sys.argv[2]))
(lease,) = leases.keep(["rg1"])
fenced = database.fenced(lambda session: leases.confirm(session, lease))
print("holds", lease.term, flush=True)
for line in sys.stdin:
    trusted = leases.held("rg1") is not None
    try:
        with fenced.session() as session:
            session.get_one(RaidGroup, "rg1").name = line.strip()
        print("changed", trusted, flush=True)
    except LeaseLost:
        leases.keep(["rg1"])
        print("lost", trusted, leases.held("rg1"), flush=True)
"""


def test_a_process_that_was_stopped_and_wakes_finds_that_it_lost(database: Database, tmp_path: Path) -> None:
    """Real processes, real signals, the real monotonic clock; the time is the observer's own."""
    takeover = 1.0
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(database._url), str(takeover)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        cwd=tmp_path,
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdin is not None
            assert holder.stdout.readline() == "holds 1\n"
            # It waits for a line, outside of any transaction: one stopped within would hold SQLite's lock.
            os.kill(holder.pid, signal.SIGSTOP)
            other = Leases(database, TABLE, 2, takeover=takeover)
            taken: list[Lease] = []
            waiting = threading.Event()
            for _ in range(600):
                taken = other.keep(["rg1"])
                if taken:
                    break
                waiting.wait(0.1)
            assert taken == [Lease("rg1", 2)]
            holder.stdin.write("by-the-stale-one\n")
            holder.stdin.flush()
            os.kill(holder.pid, signal.SIGCONT)
            assert holder.stdout.readline() == "lost False None\n"
        finally:
            holder.kill()
    assert facts(database) == (2, 2, 0)
    with database.session(read_only=True) as session:
        assert session.get_one(RaidGroup, "rg1").name == "rg1"


def test_the_row_of_a_deleted_thing_that_is_made_again_is_taken_anew(database: Database, clock: Clock) -> None:
    one = leases(database, 1, clock)
    one.keep(["rg1"])
    with database.session() as session:
        session.delete(session.get_one(MaintenanceLease, "rg1"))
    assert one.keep(["rg1"]) == [Lease("rg1", 1)]
    with database.session() as session:
        session.execute(update(TABLE).values(term=7))
    assert one.keep(["rg1"]) == [Lease("rg1", 8)]
