"""The digest that proves two plans to be one."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from qreplica.replication.manifest import digest
from qreplica.storage.driver import Extent, ExtentKind

PLAN: dict[str, Any] = {
    "job": "1" * 32,
    "generation": 7,
    "base_generation": 6,
    "base_snapshot": "a" * 32,
    "source_snapshot": "b" * 32,
    "size": 1 << 30,
    "extents": [Extent(0, 4096, ExtentKind.DATA), Extent(8192, 1 << 20, ExtentKind.ZERO)],
}


def test_it_is_the_same_in_another_process() -> None:
    code = (
        "from qreplica.replication.manifest import digest\n"
        "from qreplica.storage.driver import Extent, ExtentKind\n"
        "print(digest(job='1' * 32, generation=7, base_generation=6, base_snapshot='a' * 32,"
        " source_snapshot='b' * 32, size=1 << 30,"
        " extents=iter([Extent(0, 4096, ExtentKind.DATA), Extent(8192, 1 << 20, ExtentKind.ZERO)])))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(**PLAN)


def test_it_is_fixed_for_all_versions() -> None:
    """A worker of a newer version must know what an older one began."""
    assert digest(**PLAN) == "b8decd4e65ab48aa5437edef0a2c175ce0861c753323222f2c68348f8a567d85"


@pytest.mark.parametrize(
    "change",
    [
        {"job": "2" * 32},
        {"generation": 8},
        {"base_generation": 5},
        {"base_generation": None, "base_snapshot": None},
        {"base_snapshot": "c" * 32},
        {"source_snapshot": "c" * 32},
        {"size": 1 << 31},
        {"extents": PLAN["extents"][:1]},
        {"extents": [PLAN["extents"][0], replace(PLAN["extents"][1], kind=ExtentKind.DATA)]},
        {"extents": [PLAN["extents"][0], replace(PLAN["extents"][1], offset=12288)]},
        {"extents": [PLAN["extents"][0], replace(PLAN["extents"][1], length=4096)]},
        # What stands in one field never passes for another's.
        {"base_snapshot": "", "source_snapshot": "a" * 32 + "b" * 32},
    ],
    ids="-".join,
)
def test_any_difference_changes_it(change: dict[str, Any]) -> None:
    assert digest(**{**PLAN, **change}) != digest(**PLAN)
