"""Disks replaced, RGs grown and scrubbed from the command line, with progress."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qreplica.storage import raid_groups
from qreplica.storage.driver import DiskErrors
from qreplica.storage.maintenance import Maintenance
from qreplica.units import GIB


def _load(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_TESTS = Path(__file__).parents[1]
worlds = _load("qreplica_worlds_of_cli_rg", _TESTS / "api" / "world.py")
engines = _load("qreplica_engines_of_cli", _TESTS / "storage" / "services" / "engine.py")


@pytest.fixture
def world(memory: Path) -> Iterator[Any]:
    made = worlds.World(memory / "source", storage=engines.Engine)
    made.add_disks("d1", "d2", "d3")
    yield made
    made.close()


@pytest.fixture
def mirror(logged_in: Any) -> Any:
    logged_in.run("rg", "create", "rg1", "--level", "raid1", "--disk", "d1", "--disk", "d2")
    return logged_in


def group_id(world: Any) -> str:
    with world.database.session(read_only=True) as session:
        return raid_groups.get(session, "rg1").id


def maintain(world: Any) -> None:
    Maintenance(world.database, world.storage, group_id(world), controller=1).round()


def follow(shell: Any, *arguments: str, until: str, then: Callable[[], None]) -> tuple[int, str, str]:
    """Run a command that follows; when it has shown ``until``, do ``then``; return how it ended and what it showed."""
    with subprocess.Popen(
        shell.command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=shell.environment,
    ) as process:
        try:
            assert process.stderr is not None
            first = process.stderr.readline()
            assert until in first, first + process.stderr.read()
            then()
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, out, first + err


def test_an_rg_is_shown_with_its_disks(world: Any, mirror: Any) -> None:
    world.storage.errors[world.directory / "d1"] = DiskErrors(read=2, corruption=5)
    world.storage.missing.add(world.directory / "d2")
    sheet = mirror.run("rg", "show", "rg1").out
    assert "degraded" in sheet
    assert "Last scrub             never" in sheet
    rows = {line.split()[0]: line.split() for line in sheet.splitlines() if line.startswith(("d1 ", "d2 "))}
    assert rows["d1"][3:] == ["online", "-", "read", "2,", "corruption", "5"]
    assert rows["d2"][3] == "missing"


def test_replacing_says_where_to_look_and_the_list_shows_the_percent(world: Any, mirror: Any) -> None:
    assert mirror.run("rg", "replace", "rg1", "d2", "d3").out == (
        "Disk “d3” takes the place of “d2” in RG “rg1”: see how far with “qreplica rg watch rg1”.\n"
    )
    (row,) = [line for line in mirror.run("rg", "list").out.splitlines() if line.startswith("rg1")]
    assert "rebuilding 25.0 %" in row
    answer = mirror.run("rg", "show", "rg1", "--json").json()
    assert answer["members"][2]["replaces"] == "d2"
    world.storage.finish(group_id(world))
    maintain(world)
    assert mirror.run("rg", "watch", "rg1").out == "RG “rg1” is online.\n"


def test_a_rebuild_is_followed_to_its_end(world: Any, mirror: Any) -> None:
    def end() -> None:
        world.storage.finish(group_id(world))
        maintain(world)

    ended = follow(mirror, "rg", "replace", "rg1", "d2", "d3", "--follow", until="rg1: rebuild   25.0 %", then=end)
    assert ended == (0, "RG “rg1” is online.\n", "rg1: rebuild   25.0 %\n")


def test_a_rebuild_that_fails_ends_with_10(world: Any, mirror: Any) -> None:
    def fail() -> None:
        world.storage.missing.add(world.directory / "d2")
        world.storage.errors[world.directory / "d3"] = DiskErrors(write=1)
        maintain_with_memory()

    maintenance = Maintenance(world.database, world.storage, group_id(world), controller=1)

    def maintain_with_memory() -> None:
        maintenance.round()
        world.storage.fail_rebuild(group_id(world))
        maintenance.round()

    code, out, err = follow(mirror, "rg", "replace", "rg1", "d2", "d3", "--follow", until="rebuild", then=fail)
    assert (code, out) == (10, "")
    assert "Error: RG “rg1” is not well, because it is degraded: see “qreplica rg show rg1”" in err


def test_growing_is_followed_in_silence_for_json(world: Any, mirror: Any) -> None:
    mirror.run("rg", "grow", "rg1", "d3")
    world.storage.finish(group_id(world))
    maintain(world)
    ended = mirror.run("rg", "watch", "rg1", "--json")
    assert (ended.json()["disks"], ended.err) == (["d1", "d2", "d3"], "")


@pytest.mark.parametrize(
    ("uncorrectable", "code", "told"),
    [
        (0, 0, "RG “rg1” was scrubbed: 1 GiB read, 3 errors mended, 0 that could not be.\n"),
        (2, 10, "its scrub is damaged (1 GiB read, 3 errors mended, 2 that could not be)"),
    ],
)
def test_a_scrub_is_followed_to_its_result(world: Any, mirror: Any, uncorrectable: int, code: int, told: str) -> None:
    def end() -> None:
        world.storage.end_scrub(group_id(world), checked=GIB, corrected=3, uncorrectable=uncorrectable)
        maintain(world)

    ended, out, err = follow(mirror, "rg", "scrub", "start", "rg1", "--follow", until="rg1: scrub", then=end)
    assert ended == code
    assert told in out + err


def test_scrubs_are_stopped_listed_and_scheduled(mirror: Any) -> None:
    mirror.run("rg", "scrub", "start", "rg1")
    assert "running 50.0 %" in mirror.run("rg", "show", "rg1").out
    mirror.run("rg", "scrub", "stop", "rg1")
    (row,) = [line for line in mirror.run("rg", "scrub", "list", "rg1").out.splitlines() if "interrupted" in line]
    assert row.split()[-2:] == ["0", "0"]
    assert mirror.run("rg", "scrub", "schedule", "rg1", "--days", "7").out == "RG “rg1” is scrubbed every 7 days.\n"
    mirror.run("rg", "scrub", "schedule", "rg1", "--never")
    assert mirror.run("rg", "show", "rg1", "--json").json()["next_scrub_at"] is None
    for wrong in ((), ("--days", "7", "--never"), ("--days", "0")):
        mirror.run("rg", "scrub", "schedule", "rg1", *wrong, code=2)


def test_a_disk_is_made_a_spare_and_free_again(mirror: Any) -> None:
    assert mirror.run("disk", "spare", "d3").out == "Disk “d3” is a spare.\n"
    (row,) = [line for line in mirror.run("disk", "list").out.splitlines() if line.startswith("d3")]
    assert row.split()[4] == "spare"
    assert mirror.run("disk", "spare", "d3", "--off").out == "Disk “d3” is no spare.\n"
    assert "State   free" in mirror.run("disk", "show", "d3").out
    assert "belongs to RAID group rg1" in mirror.run("disk", "spare", "d1", code=4).err


def test_on_a_terminal_a_rebuild_is_a_bar(world: Any, mirror: Any) -> None:
    mirror.run("rg", "replace", "rg1", "d2", "d3")
    world.storage.finish(group_id(world))
    maintain(world)
    assert "RG “rg1” is online." in mirror.talk("rg", "watch", "rg1", answers=[])


def test_of_raid_5_it_is_warned(logged_in: Any, world: Any) -> None:
    assert world.storage.members == {}
    disks = ("--disk", "d1", "--disk", "d2", "--disk", "d3")
    made = logged_in.run("rg", "create", "rg5", "--level", "raid5", *disks)
    assert made.out.startswith("RG “rg5” was made; ")
    assert made.err.startswith("Warning: RAID 5 and 6 have a write hole: ")
    assert "write hole" in logged_in.run("rg", "show", "rg5").out
    assert logged_in.run("rg", "delete", "rg5", "--yes", "--json").err == ""
    made = logged_in.run("rg", "create", "rg5", "--level", "raid5", *disks, "--json")
    assert (len(made.json()["warnings"]), made.err) == (1, "")
