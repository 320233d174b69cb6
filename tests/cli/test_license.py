"""The license and restarts by command line."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qreplica.cli import restarting
from qreplica.cluster import restarts
from qreplica.license.reading import LIMIT
from qreplica.state.models import Controller, now


@pytest.fixture
def file(world: Any, tmp_path: Path) -> Path:
    """A license that is not the one in force."""
    made = tmp_path / "the.license"
    made.write_bytes(world.vendor.license(world.licensing.status().serial, days=100))
    return made


def test_it_is_uploaded_and_shown(world: Any, logged_in: Any, file: Path) -> None:
    assert "in force, without end" in logged_in.run("license", "show").out
    told = logged_in.run("license", "upload", str(file)).out
    assert "restart the subsystem to make the license take effect (“qreplica subsystem restart”)." in told
    page = logged_in.run("license", "show").out
    for part in (world.licensing.status().serial, "The lab", "Expires", "in force, restart needed"):
        assert part in page
    shown = logged_in.run("license", "show", "--json").json()
    assert shown == logged_in.run("license", "upload", str(file), "--json").json()
    assert shown["state"] == "needs-restart"
    status = logged_in.run("status", "--json").json()
    assert (status["license"], status["subsystem"]["serial"]) == (shown, shown["serial"])
    assert shown["serial"] in logged_in.run("subsystem", "show").out


def test_a_bad_file_ends_with_2_and_says_why(logged_in: Any, file: Path, tmp_path: Path) -> None:
    assert "No such file" in logged_in.run("license", "upload", str(tmp_path / "nowhere"), code=2).err
    assert "Is a directory" in logged_in.run("license", "upload", str(tmp_path), code=2).err
    (tmp_path / "zero").write_bytes(bytes(LIMIT + 1))
    assert "larger than 16 KiB" in logged_in.run("license", "upload", str(tmp_path / "zero"), code=2).err
    file.write_bytes(file.read_bytes().replace(b"lab", b"pub"))
    problem = logged_in.run("license", "upload", str(file), "--json", code=2).problem()
    assert problem["type"] == "urn:qreplica:error:license-altered"


def test_without_one_replication_ends_with_11(world: Any, logged_in: Any, file: Path) -> None:
    world.licensing._license = None
    world.add_disks("d1")
    logged_in.run("rg", "create", "rg1", "--level", "jbod", "--disk", "d1")
    logged_in.run("vd", "create", "v", "--rg", "rg1", "--size", "1GiB")
    world.add_job("j", "v")
    logged_in.run("license", "upload", str(file))
    assert "has not been restarted since" in logged_in.run("job", "start", "j", code=11).err
    assert "has not been restarted since" in " ".join(logged_in.run("job", "show", "j").out.split())
    logged_in.run("job", "stop", "j")
    logged_in.run("job", "delete", "j", "--yes")


@pytest.fixture
def restarting_soon(world: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Two controllers that do as daemons do when they restart; the order in which they did."""
    monkeypatch.setattr(restarting, "INTERVAL", 0.01)
    with world.database.session() as session:
        session.add(Controller(number=2, heartbeat_at=now()))
    done: list[int] = []
    ending = threading.Event()

    def play() -> None:
        while not ending.wait(0.05):
            for number in (1, 2):
                with world.database.session() as session:
                    begins = restarts.begin(session, number)
                if begins:
                    with world.database.session() as session:
                        restarts.ready(session, number)
                    done.append(number)

    thread = threading.Thread(target=play)
    thread.start()
    yield done
    ending.set()
    thread.join()


def test_both_restart_and_are_followed(logged_in: Any, restarting_soon: list[int]) -> None:
    logged_in.run("subsystem", "restart", code=4)
    assert restarting_soon == []
    ended = logged_in.run("subsystem", "restart", "--follow", "--yes")
    assert ended.out == "Controller 1 and controller 2 restarted.\n"
    assert sorted(ended.err.splitlines()) == ["Controller 1 is back.", "Controller 2 is back."]
    assert sorted(restarting_soon) == [1, 2]
    listed = logged_in.run("controller", "restart", "2", "--follow", "--yes", "--json").json()
    assert [one["restarting"] for one in listed] == [False, False]
    assert restarting_soon[2:] == [2]


def test_it_is_told_what_a_restart_means_for_hosts(world: Any, logged_in: Any) -> None:
    shown = logged_in.talk("controller", "restart", "1", answers=[("Type “1” to go on", "no")], code=4)
    assert "hosts will be without their disks for some seconds" in " ".join(shown.split())
    with world.database.session() as session:
        session.add(Controller(number=2, heartbeat_at=now()))
    shown = logged_in.talk("subsystem", "restart", answers=[("Type “source” to go on", "source")])
    assert "Hosts stay connected through the other controller" in " ".join(shown.split())
    assert "restarting" in logged_in.run("controller", "list").out


def test_one_that_does_not_come_back_is_not_followed_for_ever(logged_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarting, "PATIENCE", -1.0)
    ended = logged_in.run("controller", "restart", "1", "--follow", "--yes", code=10)
    assert "Controller 1 has not restarted within 10 minutes" in ended.err
    assert "does not run" in logged_in.run("controller", "restart", "2", "--yes", code=4).err
