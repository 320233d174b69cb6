"""docs/cli.md names what there is, and nothing else."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from qreplica.cli.main import EXIT_CODES, app

DOCUMENT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def verbs(command: Any, noun: str = "") -> dict[str, set[str]]:
    """Return the verbs of each noun, also of nouns within nouns."""
    found: dict[str, set[str]] = {noun: set()}
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            found |= verbs(inner, f"{noun} {name}".strip())
        else:
            found[noun].add(name)
    return found


def test_every_command_is_documented_and_no_other() -> None:
    rows = re.findall(r"^\| (\(none\)|`[a-z -]+`) \| ((?:`[a-z-]+` ?)+)\|$", DOCUMENT, re.MULTILINE)
    documented = {noun.strip("`"): set(re.findall(r"`([a-z-]+)`", listed)) for noun, listed in rows}
    documented[""] = documented.pop("(none)")
    assert documented == verbs(get_command(app))


@pytest.mark.parametrize("noun", ["vd", "snapshot"])
def test_what_changes_a_virtual_disk_is_described(noun: str) -> None:
    """All but what shows, makes and deletes is, with its arguments."""
    described = set(re.findall(rf"^\*\*`{noun} ([a-z-]+) ", DOCUMENT, re.MULTILINE))
    shown = set(re.findall(rf"^qreplica {noun} ([a-z-]+) ", DOCUMENT, re.MULTILINE))
    changing = verbs(get_command(app))[noun] - {"list", "show", "create", "delete"}
    assert changing - {"set-snapshot-space"} == described
    assert changing <= shown


@pytest.mark.parametrize("line", re.findall(r"^qreplica (?:--on \w+ )?([a-z].*?)(?:#.*)?$", DOCUMENT, re.MULTILINE))
def test_every_example_is_of_a_command_that_there_is(line: str) -> None:
    command: Any = get_command(app)
    words = line.split()
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= options


def test_every_exit_code_is_documented_as_the_help_says() -> None:
    documented = re.findall(r"^\| (\d+) \|", DOCUMENT, re.MULTILINE)
    assert documented == re.findall(r"(?:: |, )(\d+) ", EXIT_CODES) == [str(code) for code in range(12)]
