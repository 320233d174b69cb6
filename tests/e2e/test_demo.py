"""The main job on real input, and what a kill in the middle of it leaves."""

import json
import os
import shlex
import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from qreplica.lab import demo_views
from qreplica.lab import lab as labs
from qreplica.lab.administration import CommandLine
from qreplica.lab.demo import BACKUP, VD, Demo
from qreplica.lab.owner import Owner
from qreplica.lab.topology import Lab, Side
from qreplica.ui.login import COOKIE
from qreplica.units import GIB, MIB

pytestmark = [pytest.mark.root, pytest.mark.e2e]

TREE = 256 * MIB


def test_a_filesystem_arrives_whole_and_then_its_changes(lab: Lab, observed: Any) -> None:
    told: list[str] = []
    with labs.passing(lab, told.append, licensed=False):
        observed.note_ports()
        figures = Demo(lab, told.append, tree=TREE, size=GIB).run()
        points = CommandLine(lab, Side.TARGET)("snapshot", "list", "--vd", BACKUP)
        generations = CommandLine(lab, Side.SOURCE)("snapshot", "list", "--vd", VD)
    assert [one["step"] for one in figures["steps"]] == [
        "refused-without-license",
        "license-uploaded",
        "subsystem-restarted",
    ]
    full, incremental = figures["full"], figures["incremental"]
    assert [one["killed"] for one in full["interruptions"]] == ["source controller 1", "target controller 1"]
    assert incremental["interruptions"] == []
    assert figures["verified"] is True
    assert figures["qreplica_port"]["sent_by_qreplica_ports"] >= incremental["bytes"]
    assert TREE <= GIB - full["zero_bytes"] < 2 * TREE
    # What a killed worker had sent is found there when its cycle goes on, and neither counted nor sent again.
    assert 0 < full["bytes"] < 2 * TREE
    changed = incremental["changed_bytes"]
    assert 24 * MIB < changed < TREE
    assert changed <= incremental["bytes"] + incremental["zero_bytes"] <= changed + MIB
    assert 0 < figures["worker_peak_memory"] < 512 * MIB
    assert [point["kind"] for point in points].count("recovery-point") == 2
    assert [one["kind"] for one in generations] == ["replication"]
    assert observed.remains() == []
    secrets = [line for line in told if "secret" in line and "-secret-file" not in line]
    assert secrets == []


def test_the_command_ends_with_its_figures_and_leaves_the_lab_up(lab: Lab, observed: Any) -> None:
    output = observed.run("demo", "--json", "--calm", "--tree", "24MiB")
    assert Owner.of(lab.directory) == Owner.me()  # else a killed test run would leave it
    observed.note_ports()
    (line,) = output.splitlines()
    figures = json.loads(line)
    assert figures["ok"] is True
    assert figures["verified"] is True
    assert {"bytes", "seconds"} <= figures["full"].keys()
    assert {"bytes", "seconds", "changed_bytes"} <= figures["incremental"].keys()
    assert len(observed.processes("qreplicad")) == 4

    told = [line.strip() for line in demo_views.what_next(lab, labs.urls(lab)).splitlines()]
    suggested = [shlex.split(line, comments=True)[3:] for line in told if line.startswith("./run cli --on")]
    assert len(suggested) >= 5
    for side, *words in suggested:
        CommandLine(lab, Side(side))(*words)
    pages = [line.split()[-1] for line in told if line.startswith("Web pages")]
    assert [logged_in_as(page) for page in pages] == ["admin", "admin"]

    refused = observed.start("demo", "--json", "--once")
    answer, complaint = refused.communicate(timeout=60)
    assert refused.returncode == 4
    assert json.loads(answer) == {"ok": False, "error": "lab-exists", "sentence": complaint.strip()}
    assert len(observed.processes("qreplicad")) == 4

    observed.run("lab", "down")
    assert observed.remains() == []


def logged_in_as(page: str) -> str:
    """Come with a browser's request, and return whose login that gives."""
    with httpx.Client(verify=False, trust_env=False) as browser:  # noqa: S501 - the lab's own certificate
        location = browser.get(page).headers["location"]
        assert location == "/"
        token = browser.cookies[COOKIE]
        account = str(httpx.URL(page).copy_with(path="/api/v1/account"))
        return str(browser.get(account, headers={"Authorization": f"Bearer {token}"}).json()["user"])


def test_a_failing_demo_cleans_up_and_says_why(observed: Any) -> None:
    demo = observed.start("demo", "--json", "--once", "--calm", "--tree", "24MiB")
    observed.until(lambda: observed.processes("qreplica.replication.worker"), demo)
    for daemon in observed.processes("qreplicad", "--config", "/target/"):
        os.kill(daemon.pid, signal.SIGKILL)
    answer, complaint = demo.communicate(timeout=240)
    assert demo.returncode != 0
    figures = json.loads(answer.splitlines()[-1])
    assert figures["ok"] is False
    assert figures["sentence"] in complaint
    assert observed.remains() == []


VICTIMS: dict[str, Callable[[Any, int], list[int]]] = {
    "demo": lambda _, demo: [demo],
    "everything": lambda observed, demo: [demo, *_pids(observed.processes())],
}


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_kill_in_the_middle_leaves_what_down_removes(observed: Any, victim: str) -> None:
    demo = observed.start("demo", "--tree", "24MiB")
    observed.until(lambda: observed.processes("qreplica.replication.worker"), demo)
    pids = VICTIMS[victim](observed, demo.pid)
    assert pids
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            assert victim == "everything"  # workers and tgtds die with their daemons
    observed.run("lab", "down")
    assert observed.remains() == []
    demo.communicate(timeout=60)


def _pids(found: list[Any]) -> list[int]:
    return [one.pid for one in found]
