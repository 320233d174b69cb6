"""Labs of tests' own, and what the machine holds of them."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qreplica.lab import namespaces
from qreplica.lab.owner import Owner, make_owned
from qreplica.lab.sweep import sweep
from qreplica.lab.topology import TESTS, Lab

_numbers = itertools.count(1)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab of which nothing exists yet; whatever a test makes of it is removed."""
    lab = Lab(f"t{os.getpid()}x{next(_numbers)}", TESTS)
    yield lab
    sweep(lab)


@pytest.fixture
def network(lab: Lab) -> Lab:
    """A lab with its namespaces and cables, without daemons."""
    make_owned(lab.directory)
    namespaces.build(lab)
    return lab


@pytest.fixture
def dead_owner() -> Owner:
    """What names a process that has ended."""
    with subprocess.Popen(["sleep", "60"]) as process:
        ticks = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
        process.kill()
    return Owner(process.pid, ticks)
