"""Maintenance by whole controllers, over real btrfs: who does it, and an RG whose disks were away."""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
from typing import Any

import pytest

from qreplica.iscsi.errors import CommandFailed
from qreplica.iscsi.initiator import Session
from qreplica.iscsi.target.pause import stopped
from qreplica.lab.ledger import between_writes

from .running import Controller, clean_up, eventually, loops, provision

pytestmark = pytest.mark.root


def group(controller: Controller) -> Any:
    return controller.call("GET", "/raid-groups/rg1")


def is_served(session: Session) -> bool:
    """Tell whether LUN 1 is there, and has its disk: it is made without."""
    try:
        return 1 in session.report_luns() and session.capacity(1).size > 0
    except CommandFailed:
        return False


def test_one_controller_maintains_and_the_other_takes_over(pair: tuple[Controller, Controller]) -> None:
    first, second = pair
    first.start()
    provision(first)
    eventually(lambda: group(first)["maintained_by"] == 1)
    second.start()
    second.http.headers["Authorization"] = first.http.headers["Authorization"]
    first.kill()
    eventually(lambda: group(second)["maintained_by"] == 2)
    first.start()
    eventually(lambda: first.call("GET", "/controllers")[0]["standing"] == "online")
    assert group(first)["maintained_by"] == 2
    assert second.terminate() == 0
    eventually(lambda: group(first)["maintained_by"] == 1)


def test_one_that_hangs_is_taken_over_and_changes_nothing_when_it_wakes(pair: tuple[Controller, Controller]) -> None:
    first, second = pair
    state = first.directory / "state" / "qreplica.db"
    first.start()
    provision(first)
    eventually(lambda: group(first)["maintained_by"] == 1)
    second.start()
    second.http.headers["Authorization"] = first.http.headers["Authorization"]

    def lease() -> Any:
        with contextlib.closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as database:
            return database.execute("SELECT controller, term FROM maintenance_leases").fetchone()

    def snapshots() -> list[str]:
        return [one["id"] for one in second.call("GET", "/snapshots?vd=v1")]

    def beats(controller: int) -> int:
        with contextlib.closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as database:
            chosen = database.execute("SELECT heartbeat FROM controllers WHERE number = ?", (controller,))
            return int(chosen.fetchone()[0])

    held = lease()
    # One that is stopped while it writes the state keeps the other one from it.
    with between_writes(state):
        os.kill(first.pid, signal.SIGSTOP)
        eventually(lambda: stopped(first.pid))
    try:
        eventually(lambda: lease()[0] == 2)
        taken_over = lease()
        second.call("PUT", "/virtual-disks/v1/automatic-snapshots", {"every_minutes": 60, "keep": 1})
        (snapshot,) = eventually(snapshots)
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert taken_over[1] > held[1]
    awake = beats(1)
    # So many seconds that it has looked at the RG anew.
    eventually(lambda: beats(1) > awake + 7)
    assert lease() == taken_over
    assert snapshots() == [snapshot]
    assert [one for one in first.call("GET", "/events") if one["severity"] == "error"] == []
    assert second.terminate() == 0
    eventually(lambda: lease()[0] == 1)


def test_an_rg_whose_disks_were_away_is_served_again_when_they_are_back(controller: Controller) -> None:
    controller.start()
    iqn = provision(controller)
    data = random.Random(4).randbytes(1 << 20)
    with controller.log_in(iqn) as session:
        session.write(1, 0, data)
        session.flush(1)
    controller.kill()
    clean_up(controller.directory)
    for number in (1, 2):
        (controller.directory / f"{number}.img").rename(controller.directory / f"{number}.away")
    controller.start()
    assert group(controller)["health"] == "closed"
    kinds = [event["kind"] for event in controller.call("GET", "/events?severity=error")]
    assert {"disk-image-missing", "group-failed"} <= set(kinds)
    # Both at once for the daemon: with one of them it would open the RG degraded.
    os.kill(controller.pid, signal.SIGSTOP)
    for number in (1, 2):
        (controller.directory / f"{number}.away").rename(controller.directory / f"{number}.img")
    os.kill(controller.pid, signal.SIGCONT)
    eventually(lambda: group(controller)["health"] == "online")
    with controller.log_in(iqn) as session:
        eventually(lambda: is_served(session))
        assert session.read(1, 0, len(data)) == data
    eventually(lambda: "rg-opened" in [event["kind"] for event in controller.call("GET", "/events")])


def die(controller: Controller, number: int) -> None:
    """Have the disk fail from its second megabyte on: what lies there can be neither read nor written any more."""
    image = controller.directory / f"{number}.img"
    (device,) = loops(image)
    os.truncate(image, 1 << 20)
    subprocess.run(["losetup", "--set-capacity", device], check=True)


def add_disk(controller: Controller, number: int) -> None:
    image = str(controller.directory / f"{number}.img")
    controller.call("POST", "/disks", {"name": f"d{number}", "image": image, "size": "2GiB"}, expect=201)


def kinds(controller: Controller) -> set[str]:
    return {event["kind"] for event in controller.call("GET", "/events?limit=1000")}


def test_a_disk_that_dies_is_noticed_and_replaced_by_the_spare(controller: Controller) -> None:
    """With hosts writing all the while; in the end the new disk alone holds every byte."""
    chance = random.Random(9)
    controller.start()
    iqn = provision(controller)
    add_disk(controller, 3)
    controller.call("PATCH", "/disks/d3", {"spare": True})
    data = bytearray(chance.randbytes(48 << 20))
    with controller.log_in(iqn) as session:

        def write(at: int, length: int = 1 << 20) -> None:
            data[at : at + length] = chance.randbytes(length)
            session.write(1, at, bytes(data[at : at + length]))

        for at in range(0, len(data), 1 << 20):
            session.write(1, at, bytes(data[at : at + (1 << 20)]))
        session.flush(1)
        die(controller, 2)

        def replaced() -> bool:
            write(chance.randrange(48) << 20)
            session.flush(1)
            return group(controller)["disks"] == ["d1", "d3"]

        eventually(replaced)
        eventually(lambda: group(controller)["health"] == "online")
        write(0)
        session.flush(1)
    told = {"disk-errors", "disk-failed", "disk-replacement-begun", "disk-replaced"}
    eventually(lambda: told <= kinds(controller))
    old = controller.call("GET", "/disks/d2")
    assert (old["failed"], old["raid_group"], old["spare"]) == (True, None, False)
    controller.call("POST", "/raid-groups/rg1/scrub/start")
    eventually(lambda: group(controller)["scrub"]["running"] is False)
    scrub = group(controller)["scrub"]
    assert (scrub["outcome"], scrub["corrected"], scrub["uncorrectable"]) == ("clean", 0, 0)
    controller.kill()
    clean_up(controller.directory)
    (controller.directory / "1.img").rename(controller.directory / "1.away")
    controller.start()
    assert group(controller)["health"] == "degraded"
    with controller.log_in(iqn) as session:
        eventually(lambda: is_served(session))
        for at in range(0, len(data), 1 << 20):
            assert session.read(1, at, 1 << 20) == data[at : at + (1 << 20)]


def test_a_scrub_begins_by_its_schedule_and_leaves_a_result(controller: Controller) -> None:
    controller.start()
    iqn = provision(controller)
    with controller.log_in(iqn) as session:
        session.write(1, 0, random.Random(5).randbytes(4 << 20))
        session.flush(1)
    # A scrub reads what the last commit holds, and a snapshot is one.
    controller.call("POST", "/snapshots", {"vd": "v1", "name": "s1"}, expect=201)
    assert controller.call("GET", "/raid-groups/rg1/scrubs") == []
    controller.call("PATCH", "/raid-groups/rg1", {"scrub_days": 1})
    with sqlite3.connect(controller.directory / "state" / "qreplica.db", timeout=60) as state:
        state.execute("UPDATE raid_groups SET created_at = '2026-01-01 00:00:00.000000'")
    state.close()
    eventually(lambda: [one for one in controller.call("GET", "/raid-groups/rg1/scrubs") if not one["running"]])
    (scrub,) = controller.call("GET", "/raid-groups/rg1/scrubs")
    assert (scrub["outcome"], scrub["corrected"], scrub["uncorrectable"]) == ("clean", 0, 0)
    assert scrub["checked"] >= 2 * (4 << 20)
    # The engine's word is shown at once; the row and the event are the next round's.
    eventually(lambda: group(controller)["next_scrub_at"] > scrub["finished_at"])
    assert "scrub-clean" in kinds(controller)


def test_an_rg_grows_while_hosts_write(controller: Controller) -> None:
    controller.start()
    iqn = provision(controller)
    add_disk(controller, 3)
    before = group(controller)["free"]
    data = random.Random(6).randbytes(16 << 20)
    with controller.log_in(iqn) as session:
        session.write(1, 0, data[: 1 << 20])
        controller.call("POST", "/raid-groups/rg1/grow", {"disk": "d3"})
        for at in range(0, len(data), 1 << 20):
            session.write(1, at, data[at : at + (1 << 20)])
        session.flush(1)
        eventually(lambda: group(controller)["free"] > before)
        assert group(controller)["health"] == "online"
        assert session.read(1, 0, len(data)) == data
    assert group(controller)["disks"] == ["d1", "d2", "d3"]
    eventually(lambda: "rg-grown" in kinds(controller))
