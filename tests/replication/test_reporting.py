"""A worker's reports: put off where they take long, and complete in the end."""

from typing import Any

from qreplica.replication.reporting import Report
from qreplica.replication.transfer import Progress
from qreplica.state.models import Severity
from qreplica.units import MIB


class Store:
    """Takes ``seconds`` of the clock to write."""

    def __init__(self) -> None:
        self.now, self.seconds, self.compared = 100.0, 0.0, 0
        self.told: list[str] = []
        self.written: list[tuple[int, int]] = []

    def progress(self, *, done: int, sent: int, compared: int, rate: float, peak_memory: int) -> None:
        assert rate >= 0
        self.compared += compared
        assert peak_memory > 0
        self.now += self.seconds
        self.written.append((done, sent))

    def tell(self, _severity: Severity, kind: str, _message: str) -> None:
        self.told.append(kind)


def progress(done: int, compared: int = 0) -> Progress:
    return Progress(done=done * MIB, sent=done * MIB, checkpoint=0, compared=compared)


def reports(store: Any, looks: list[float]) -> Report:
    return Report(store, store.tell, lambda: store.now, 0, lambda: looks.append(store.now))


def test_each_is_written_where_writing_is_fast() -> None:
    store, looks = Store(), []
    report = reports(store, looks)
    for done in (1, 2, 3):
        store.now += 1
        report(progress(done))
    report.complete(progress(3))
    assert store.written == [(done * MIB, MIB) for done in (1, 2, 3)]
    assert looks == [101.0, 102.0, 103.0]


def test_those_that_take_long_are_put_off_and_nothing_is_lost() -> None:
    store, looks = Store(), []
    report = reports(store, looks)
    store.seconds = 0.25
    for done in range(1, 13):
        store.now += 1
        report(progress(done))
    # Twenty times a quarter of a second, each time; and it is looked each second all the same.
    assert [done // MIB for done, _ in store.written] == [1, 6, 11]
    assert len(looks) == 12
    report.complete(progress(12))
    assert store.written[-1] == (12 * MIB, MIB)
    assert sum(sent for _, sent in store.written) == 12 * MIB
    # However long one took, the next is not put off beyond what somebody who watches has patience for.
    store.seconds = 60.0
    store.now += 10
    report(progress(20))
    store.now += 10
    report(progress(21))
    assert store.written[-1][0] == 21 * MIB


def test_that_it_compares_is_told_once() -> None:
    store = Store()
    report = reports(store, [])
    for done, compared in ((1, 0), (2, 5), (3, 9)):
        store.now += 1
        report(progress(done, compared))
    assert store.told == ["cycle-compares"]
    assert store.compared == 9
