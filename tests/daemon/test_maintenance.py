"""Maintenance by whole controllers, over real btrfs: who does it, and an RG whose disks were away."""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .running import Controller, clean_up, eventually, provision

pytestmark = pytest.mark.root


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Controller, Controller]]:
    made = Controller(tmp_path, 1), Controller(tmp_path, 2)
    try:
        yield made
    finally:
        for one in made:
            if one.process is not None and one.process.poll() is None:
                one.kill()
        for one in made:
            one.close()


def group(controller: Controller) -> Any:
    return controller.call("GET", "/raid-groups/rg1")


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
    eventually(lambda: first.call("GET", "/controllers")[0]["state"] == "up")
    assert group(first)["maintained_by"] == 2
    assert second.terminate() == 0
    eventually(lambda: group(first)["maintained_by"] == 1)


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
        eventually(lambda: 1 in session.report_luns())
        assert session.read(1, 0, len(data)) == data
    eventually(lambda: "rg-opened" in [event["kind"] for event in controller.call("GET", "/events")])
