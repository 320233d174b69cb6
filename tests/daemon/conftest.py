"""Fixtures: whole controllers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .running import Controller


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    made = Controller(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Controller, Controller]]:
    """Both controllers of a subsystem, not started."""
    made = Controller(tmp_path, 1), Controller(tmp_path, 2)
    try:
        yield made
    finally:
        for one in made:
            if one.process is not None and one.process.poll() is None:
                one.kill()
        for one in made:
            one.close()
