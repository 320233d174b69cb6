"""VDs that grow or are rolled back while hosts use them, through either controller."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from qreplica.errors import QReplicaError
from qreplica.iscsi.initiator import Session
from qreplica.units import KIB, MIB

from .running import Controller, eventually, provision

pytestmark = pytest.mark.root
BLOCK, BLOCKS = 64 * KIB, 512


class Writer:
    """A host that writes ever new numbers over the first 32 MiB of LUN 1."""

    def __init__(self, session: Session) -> None:
        self.acknowledged: dict[int, int] = {}
        self.count = 0
        self.failure: QReplicaError | None = None
        self._session = session
        self._ending = threading.Event()

    @contextmanager
    def writing(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._ending.set()
            thread.join()

    def go_on(self) -> None:
        """Wait for further writes."""
        before = self.count
        eventually(lambda: self.count >= before + 20 or self.failure)

    def _run(self) -> None:
        try:
            for number in itertools.takewhile(lambda _: not self._ending.is_set(), itertools.count(1)):
                self._session.write(1, number % BLOCKS * BLOCK, number.to_bytes(8, "big") * (BLOCK // 8))
                self.acknowledged[number % BLOCKS] = number
                self.count = number
        except QReplicaError as error:
            self.failure = error


def test_a_vd_grows_under_a_writing_host_and_shows_by_both_controllers(pair: tuple[Controller, Controller]) -> None:
    first, second = pair
    first.start()
    second.start()
    iqn = provision(first)
    with first.log_in(iqn) as session, second.log_in(iqn) as other:
        writer = Writer(session)
        with writer.writing():
            for size in (72, 80, 88):
                writer.go_on()
                first.call("POST", "/virtual-disks/v1/extend", {"size": f"{size}MiB"})
            writer.go_on()
        assert writer.failure is None
        assert session.capacity(1).size == 88 * MIB
        for place, number in writer.acknowledged.items():
            assert session.read(1, place * BLOCK, BLOCK) == number.to_bytes(8, "big") * (BLOCK // 8)
        # The other controller's daemon looks at the files every few seconds; its session too goes on.
        eventually(lambda: other.capacity(1).size == 88 * MIB)
        other.write(1, 80 * MIB, b"far!" * 1024)
        assert session.read(1, 80 * MIB, 4096) == b"far!" * 1024
    assert [one["kind"] for one in first.call("GET", "/events") if one["severity"] != "info"] == []


def test_a_host_of_the_other_controller_keeps_a_vd_from_being_rolled_back(
    pair: tuple[Controller, Controller],
) -> None:
    first, second = pair
    first.start()
    second.start()
    iqn = provision(first)
    with first.log_in(iqn) as session:
        session.write(1, 0, b"old!" * 1024)
        session.flush(1)
    first.call("POST", "/snapshots", {"vd": "v1", "name": "s1"}, expect=201)
    place = "/snapshots/v1/s1/roll-back"
    with second.log_in(iqn) as other:
        other.write(1, 0, b"new!" * 1024)
        other.flush(1)
        refused = first.call("POST", place, {"confirm": "v1"}, expect=409)
        assert refused["type"].endswith("vd-has-hosts")
        assert other.read(1, 0, 4096) == b"new!" * 1024
    eventually(lambda: first.http.post(place, json={"confirm": "v1"}).is_success)
    for one in pair:
        with one.log_in(iqn) as session:
            assert session.read(1, 0, 4096) == b"old!" * 1024
            session.write(1, MIB, bytes([one.number]) * 4096)
    with first.log_in(iqn) as session:
        assert session.read(1, MIB, 4096) == bytes([2]) * 4096
