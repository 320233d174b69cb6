"""A whole lab comes up, works, and goes without a trace, also when its launcher is killed on the way."""

import json
import signal
import ssl
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qreplica.lab import lab as labs
from qreplica.lab import namespaces
from qreplica.lab.administration import CommandLine
from qreplica.lab.errors import LabExists, LabMissing
from qreplica.lab.owner import Owner
from qreplica.lab.storage_left import loops_below
from qreplica.lab.topology import Lab, Side

pytestmark = [pytest.mark.root, pytest.mark.e2e]


def silent(_: str) -> None:
    """Tell nobody."""


def test_a_lab_comes_up_works_and_goes(lab: Lab, observed: Any) -> None:
    told = observed.run("lab", "up")
    assert Owner.of(lab.directory) == Owner.me()  # else a killed test run would leave it
    observed.note_ports()

    password = lab.password_file.read_text().strip()
    assert password not in told
    assert str(lab.password_file) in told
    assert lab.password_file.stat().st_mode & 0o777 == 0o600
    states = json.loads(observed.run("lab", "status", "--json"))
    assert [(one["subsystem"], one["number"], one["pid"] is not None) for one in states] == [
        ("source", 1, True),
        ("source", 2, True),
        ("target", 1, True),
        ("target", 2, True),
    ]
    for one in states:
        assert (one["url"] in told) == (one["number"] == 1)
        own = (
            lab.controller(Side(one["subsystem"]), one["number"]).state_dir / "tls" / f"controller-{one['number']}.pem"
        )
        known = ssl.create_default_context(cafile=own)
        address = f"{one['url']}/api/v1/openapi.json"
        with urllib.request.urlopen(address, timeout=30, context=known) as answer:  # noqa: S310 - of ours
            assert answer.status == 200
    for side in Side:
        standing = CommandLine(lab, side)("controller", "list")
        assert [(one["number"], one["standing"], one["runs_jobs_of"]) for one in standing] == [
            (1, "online", [1]),
            (2, "online", [2]),
        ]
        disks = CommandLine(lab, side)("disk", "list")
        assert [(disk["name"], disk["size"]) for disk in disks] == [(f"disk{n}", 16 * 1024**3) for n in range(1, 5)]
    assert len(loops_below(lab.directory)) == 8

    observed.run("lab", "pull", "target", "1", "2")
    assert "✗.12" in observed.run("lab", "status")
    assert not namespaces.has_carrier(lab.controller(Side.TARGET), 2)
    observed.run("lab", "plug", "target", "1", "2")
    assert "✗.12" not in observed.run("lab", "status")

    with pytest.raises(LabExists):
        labs.up(lab, silent)
    assert len(observed.processes("qreplicad")) == 4

    observed.run("lab", "down")
    assert observed.remains() == []
    observed.run("lab", "down")
    with pytest.raises(LabMissing):
        labs.state(lab)


MOMENTS: dict[str, Callable[[Lab], object]] = {
    "the third namespace is there": lambda lab: len(namespaces.existing(lab)) >= 3,
    "a daemon is configured": lambda lab: lab.controller(Side.SOURCE).config_file.exists(),
    "all daemons were started": lambda lab: lab.facts_file.exists(),
    "the second disk is there": lambda lab: (lab.directory / "source" / "disks" / "disk2.img").exists(),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_launcher_killed_on_the_way_leaves_what_down_removes(lab: Lab, observed: Any, moment: str) -> None:
    launcher = observed.start("lab", "up")
    observed.until(lambda: MOMENTS[moment](lab), launcher)
    launcher.send_signal(signal.SIGKILL)
    launcher.communicate()
    assert observed.remains() != []
    observed.note_ports()
    observed.run("lab", "down")
    assert observed.remains() == []


def test_the_next_up_clears_what_a_killed_one_left(lab: Lab, observed: Any) -> None:
    launcher = observed.start("lab", "up")
    observed.until(lab.facts_file.exists, launcher)
    launcher.send_signal(signal.SIGKILL)
    launcher.communicate()
    with labs.passing(lab, silent) as urls:
        observed.note_ports()
        assert set(urls) == {"source", "target"}
        assert len(observed.processes("qreplicad")) == 4
    assert observed.remains() == []


def test_a_daemon_that_cannot_start_is_told_and_nothing_stays(
    lab: Lab, observed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "qreplicad"
    broken.write_text("#!/bin/sh\necho 'the moon is in the wrong phase' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(Exception, match="the moon is in the wrong phase") as caught:
        labs.up(lab, silent)
    assert getattr(caught.value, "kind", None) == "lab-daemon-not-ready"
    assert observed.remains() == []
