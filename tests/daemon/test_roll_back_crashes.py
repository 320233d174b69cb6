"""A roll-back between two real controllers, whose processes are killed in the middle of it.

What a roll-back waits for is held here: the other target daemon's serving lock until it is decided, the RG's lock then.
"""

import fcntl
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from qreplica.iscsi.errors import CommandFailed
from qreplica.units import MIB

from .running import Controller, eventually, gone, provision

pytestmark = pytest.mark.root
NO_MEDIUM = 0x3A00
OLD, NEW = b"old!" * 1024, b"new!" * 1024


@pytest.fixture
def pair(pair: tuple[Controller, Controller]) -> tuple[Controller, Controller]:
    """Both controllers; VD “v1” on node “hosts” holds OLD in snapshot “s1” and NEW now, “v2” is on node “others”."""
    for one in pair:
        one.start()
    return pair


class Case:
    """What is common: who rolls back, who looks on, and what they show."""

    def __init__(self, pair: tuple[Controller, Controller]) -> None:
        self.first, self.second = pair
        self.iqn = provision(self.first)
        self.second.http.headers["Authorization"] = self.first.http.headers["Authorization"]
        call = self.first.call
        call("POST", "/virtual-disks", {"name": "v2", "raid_group": "rg1", "size": "4MiB"}, expect=201)
        self.others = call("POST", "/nodes", {"name": "others"}, expect=201)["iqn"]
        call("POST", "/luns", {"node": "others", "vd": "v2"}, expect=201)
        self._write(OLD)
        call("POST", "/snapshots", {"vd": "v1", "name": "s1"}, expect=201)
        self._write(NEW)
        self.directory = self.first.directory / "state"

    def _write(self, content: bytes) -> None:
        with self.first.log_in(self.iqn) as session:
            session.write(1, 0, content)
            session.flush(1)

    def roll_back(self) -> httpx.Response | None:
        """Ask for it until no session is in the way any more; return the answer, None when the daemon was killed."""
        answer: list[httpx.Response] = []

        def through() -> bool:
            answer[:] = [self.first.http.post("/snapshots/v1/s1/roll-back", json={"confirm": "v1"})]
            return "vd-has-hosts" not in answer[0].text

        with suppress(httpx.TransportError):
            eventually(through)
            return answer[0]
        return None

    @contextmanager
    def rolling_back(self) -> Iterator[list[httpx.Response | None]]:
        """Have it asked for meanwhile."""
        answer: list[httpx.Response | None] = []
        thread = threading.Thread(target=lambda: answer.append(self.roll_back()))
        thread.start()
        try:
            yield answer
        finally:
            thread.join()

    @contextmanager
    def locked(self, file: Path) -> Iterator[None]:
        with file.open("a") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)
            yield

    @property
    def serving(self) -> Path:
        return self.directory / "tgtd" / "2.serving"

    @property
    def group(self) -> Path:
        (place,) = [path for path in (self.directory / "rg").iterdir() if path.is_dir()]
        return place.with_name(f".{place.name}.lock")

    def held_back(self) -> list[tuple[bool, bool]]:
        """Return of each VD held back whether its roll-back is decided, and whether it is to be told of."""
        database = sqlite3.connect(f"file:{self.directory}/qreplica.db?mode=ro", uri=True)
        try:
            return database.execute("SELECT snapshot_id IS NOT NULL, told IS NOT NULL FROM held_back").fetchall()
        finally:
            database.close()

    def shows(self, by: Controller, content: bytes) -> bool:
        """Tell whether the controller serves “v1”, which then must hold ``content``."""
        with by.log_in(self.iqn) as session:
            if 1 not in session.report_luns():
                return False
            try:
                found = session.read(1, 0, len(content))
            except CommandFailed as error:
                # A LUN is made without its medium, and given all it has in a second step.
                if error.asc_ascq != NO_MEDIUM:
                    raise
                return False
            assert found == content
            return True

    def told(self) -> list[str]:
        events: list[dict[str, Any]] = self.second.call("GET", "/events")
        return [one["kind"] for one in events if one["subject"] == "vd v1"]


def test_the_other_controllers_hosts_notice_nothing(pair: tuple[Controller, Controller]) -> None:
    case = Case(pair)
    tgtd = case.second.tgtd()
    with case.second.log_in(case.others) as session:
        session.write(1, 0, b"v2v2" * 1024)
        answer = case.roll_back()
        assert answer is not None
        assert answer.json()["problems"] == []
        assert session.read(1, 0, 4096) == b"v2v2" * 1024
    assert case.second.tgtd() == tgtd
    for one in pair:
        assert case.shows(one, OLD)


def test_a_target_daemon_that_dies_in_the_middle_comes_back_without_the_vd(
    pair: tuple[Controller, Controller],
) -> None:
    case = Case(pair)
    with case.rolling_back() as answer:
        with case.locked(case.group):
            eventually(lambda: case.held_back() == [(True, True)])
            for one in pair:
                assert _killed(one.tgtd())
                assert not case.shows(one, NEW)
        eventually(lambda: answer)
    assert answer[0] is not None
    assert answer[0].json()["problems"] == []
    for one in pair:
        assert case.shows(one, OLD)
    assert case.told() == ["vd-rolled-back"]


def test_one_that_was_decided_is_finished_by_the_other_controller(pair: tuple[Controller, Controller]) -> None:
    case = Case(pair)
    with case.locked(case.group):
        with case.rolling_back():
            eventually(lambda: case.held_back() == [(True, True)])
            case.first.kill()
        assert not case.shows(case.second, NEW)
    eventually(lambda: case.shows(case.second, OLD))
    assert case.told() == ["vd-rolled-back"]
    with case.second.log_in(case.iqn) as session:
        session.write(1, MIB, b"more" * 1024)
        session.flush(1)
    case.first.start()
    assert case.shows(case.first, OLD)
    with case.first.log_in(case.iqn) as session:
        assert session.read(1, MIB, 4096) == b"more" * 1024
    assert case.held_back() == []


def test_one_that_was_not_decided_never_was(pair: tuple[Controller, Controller]) -> None:
    case = Case(pair)
    with case.rolling_back(), case.locked(case.serving):
        eventually(lambda: case.held_back() == [(False, False)])
        case.first.kill()
    eventually(lambda: case.held_back() == [])
    eventually(lambda: case.shows(case.second, NEW))
    case.first.start()
    assert case.shows(case.first, NEW)
    assert case.told() == []
    answer = case.roll_back()
    assert answer is not None
    assert case.shows(case.first, OLD)


def _killed(pid: int) -> bool:
    os.kill(pid, signal.SIGKILL)
    return gone(pid)
