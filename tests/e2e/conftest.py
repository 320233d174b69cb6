"""Whole labs of tests' own, and what the machine holds of them."""

import itertools
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qreplica.lab import lab as labs
from qreplica.lab import namespaces
from qreplica.lab.processes import Found, find, marked_by
from qreplica.lab.storage_left import loops_below, mounts
from qreplica.lab.topology import TESTS, Lab

_numbers = itertools.count(1)


class Observed:
    """A lab as the machine sees it; ``ports`` remembers the control ports that it was seen with."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.ports: set[int] = set()
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Run a command of ``./run`` on the lab."""
        argv = [sys.executable, "-m", "qreplica.lab.main", *words, "--id", self.lab.id, "--root", str(self.lab.root)]
        process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End the commands that still run."""
        for process in self._started:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()

    def run(self, *words: str) -> str:
        """Run such a command to its successful end and return what it printed."""
        process = self.start(*words)
        output, complaints = process.communicate(timeout=240)
        assert process.returncode == 0, complaints
        return output

    def processes(self, *words: str) -> list[Found]:
        """Those of the lab with all ``words`` in their command line."""
        found = find(marked_by(self.lab.directory, namespaces.existing(self.lab)))
        return [one for one in found if all(any(word in part for part in one.command) for word in words)]

    def until(self, condition: Callable[[], object], launcher: "subprocess.Popen[str]") -> None:
        """Wait for a condition while ``launcher`` brings it about."""
        deadline = time.monotonic() + 120
        while not condition():
            if launcher.poll() is not None:
                pytest.fail(f"it ended too early: {launcher.communicate()}")
            assert time.monotonic() < deadline
            time.sleep(0.002)
        self.note_ports()

    def note_ports(self) -> None:
        for file in self.lab.directory.glob("*/controller*.toml"):
            text = file.read_text()
            if text:
                self.ports.add(tomllib.loads(text)["tgt_control_port"])

    def remains(self) -> list[object]:
        """Everything of the lab that the machine still has."""
        return [
            *namespaces.existing(self.lab),
            *loops_below(self.lab.directory),
            *(mount.point for mount in mounts() if mount.point.is_relative_to(self.lab.directory)),
            *self.processes(),
            *(file for port in self.ports for file in Path("/var/run/tgtd").glob(f"socket.{port}*")),
            *self.lab.root.glob(f"*{self.lab.id}*"),
        ]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab of which nothing exists yet; whatever a test makes of it is removed."""
    lab = Lab(f"e{os.getpid()}x{next(_numbers)}", TESTS)
    yield lab
    labs.down(lab)


@pytest.fixture
def observed(lab: Lab) -> Iterator[Observed]:
    """The lab from outside."""
    observed = Observed(lab)
    yield observed
    observed.close()
