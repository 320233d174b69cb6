"""Duties: a controller's jobs are run by one controller at a time, its own whenever that is possible."""

import itertools

import pytest

from qreplica.cluster.duties import Duties, ask_back, doer
from qreplica.cluster.leases import NOBODY, Leases
from qreplica.cluster.standing import Standing, listing
from qreplica.state.database import Database
from qreplica.state.models import Base, Controller, Event, Job, JobState, Severity, VdType, VirtualDisk, now

TAKEOVER = 5.0


class Side:
    """One controller as a test turns it; its clock is its own."""

    def __init__(self, database: Database, number: int, *, automatic: bool = True) -> None:
        self.database = database
        self.number = number
        self.time = 1000.0 * number
        table = Base.metadata.tables["duties"]
        self.leases = Leases(database, table, number, takeover=TAKEOVER, clock=lambda: self.time)
        self.duties = Duties(
            database, self.leases, number, takeover=TAKEOVER, automatic=automatic, clock=lambda: self.time
        )

    def beat(self) -> None:
        with self.database.session() as session:
            row = session.get(Controller, self.number) or Controller(number=self.number, heartbeat=0)
            session.add(row)
            row.heartbeat += 1
            row.heartbeat_at = now()

    def end(self) -> None:
        """End in an orderly way."""
        self.leases.give_up()
        with self.database.session() as session:
            session.get_one(Controller, self.number).heartbeat_at = None

    def turn(self) -> list[int]:
        """Do what is done every second, and return whose jobs it runs."""
        self.time += 1.0
        self.beat()
        for lease in self.leases.keep(self.duties.wanted()):
            self.duties.taken(lease.key)
        return self.duties.mine()


def job_of(database: Database, controller: int, state: JobState) -> None:
    """Make a job that belongs to the controller, or bring it to the state."""
    with database.session() as session:
        job = session.get(Job, f"j{controller}")
        if job is None:
            vd = VirtualDisk(id="v", name="v", type=VdType.RAID, size=4096, raid_group_id="rg1", serial="v")
            job = Job(
                id=f"j{controller}",
                name=f"j{controller}",
                source_vd=vd,
                target_subsystem="t",
                target_node="iqn.2026-11.org.example:n",
                target_lun=1,
                target_vd="b",
                target_serial="b",
                target_size=4096,
                controller=controller,
            )
            session.add(job)
        job.state = state


def events(database: Database, kind: str) -> list[Event]:
    with database.session(read_only=True) as session:
        return session.query(Event).filter_by(kind=kind).all()


def who(database: Database, owner: int) -> int:
    with database.session(read_only=True) as session:
        return doer(session, owner)


@pytest.fixture
def sides(database: Database) -> tuple[Side, Side]:
    return Side(database, 1), Side(database, 2)


def both(sides: tuple[Side, Side], turns: int = 3) -> tuple[list[int], list[int]]:
    for _ in range(turns):
        found = sides[0].turn(), sides[1].turn()
    return found


def test_each_runs_its_own_and_the_first_one_also_the_others_until_that_starts(sides: tuple[Side, Side]) -> None:
    first, _ = sides
    assert first.turn() == [1, 2]
    assert events(first.database, "taken-over") == []
    assert both(sides) == ([1], [2])


def test_one_that_is_silent_is_taken_over_in_time_and_told_of(sides: tuple[Side, Side]) -> None:
    first, second = sides
    both(sides)
    turns = next(number for number in itertools.count(1) if second.turn() == [2, 1])
    assert TAKEOVER <= turns <= TAKEOVER + 2
    (told,) = events(second.database, "taken-over")
    assert told.severity is Severity.WARNING
    assert "controller 1, which has not shown that it lives for 5 s" in told.message
    with second.database.session(read_only=True) as session:
        one, other = listing(session, mine=2)
    assert (one.standing, one.runs_jobs_of) == (Standing.TAKEN_OVER, ())
    assert (other.standing, other.runs_jobs_of) == (Standing.ONLINE, (1, 2))
    # What slept trusts nothing that it held, before it has looked.
    first.time += turns
    assert first.duties.mine() == []
    assert both(sides, 2) == ([1], [2])


def test_one_that_ends_in_order_is_followed_at_once(sides: tuple[Side, Side]) -> None:
    first, second = sides
    both(sides)
    first.end()
    assert who(second.database, 1) == NOBODY
    assert second.turn() == [2, 1]
    assert events(second.database, "taken-over") == []


def test_a_running_cycle_is_brought_to_its_end_before_its_job_goes_back(sides: tuple[Side, Side]) -> None:
    first, second = sides
    both(sides)
    job_of(first.database, 1, JobState.RUNNING)
    for _ in range(8):
        second.turn()
    assert both(sides, 9) == ([], [2, 1])
    job_of(first.database, 1, JobState.IDLE)
    assert both(sides) == ([1], [2])


def test_a_job_that_waits_for_a_path_does_not_hold_up_the_way_back(sides: tuple[Side, Side]) -> None:
    first, second = sides
    both(sides)
    job_of(first.database, 1, JobState.WAITING)
    for _ in range(8):
        second.turn()
    assert both(sides) == ([1], [2])


def test_by_hand_it_goes_back_when_it_is_asked_for(database: Database) -> None:
    sides = Side(database, 1, automatic=False), Side(database, 2, automatic=False)
    first, second = sides
    assert first.turn() == [1, 2]
    assert both(sides, 9) == ([1, 2], [])
    with database.session() as session:
        ask_back(session, 2)
    assert both(sides) == ([1], [2])
    for _ in range(8):
        second.turn()
    # What was asked for once is not asked for ever.
    assert both(sides, 9) == ([], [2, 1])


def test_both_asleep_one_after_the_other_each_job_has_one_doer(sides: tuple[Side, Side]) -> None:
    first, second = sides
    both(sides)
    for asleep, awake in ((first, second), (second, first), (first, second)):
        for _ in range(8):
            awake.turn()
        assert sorted(awake.duties.mine()) == [1, 2]
        asleep.time += 8
        assert asleep.duties.mine() == []
        both(sides, 4)
        assert (first.duties.mine(), second.duties.mine()) == ([1], [2])
