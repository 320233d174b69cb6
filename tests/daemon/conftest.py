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
