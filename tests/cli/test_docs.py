"""docs/cli.md names what there is, and nothing else."""

import re
from pathlib import Path

from typer.main import get_command

from qreplica.cli.main import EXIT_CODES, app

DOCUMENT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def test_every_noun_and_verb_is_documented() -> None:
    rows = dict(re.findall(r"^\| (\(none\)|`[a-z]+`) \| ((?:`[a-z-]+` ?)+)\|$", DOCUMENT, re.MULTILINE))
    documented = {noun.strip("`"): set(re.findall(r"`([a-z-]+)`", verbs)) for noun, verbs in rows.items()}
    real = {"(none)": set()}
    for name, command in get_command(app).commands.items():
        if hasattr(command, "commands"):
            real[name] = set(command.commands)
        else:
            real["(none)"].add(name)
    assert documented == real


def test_every_exit_code_is_documented_as_the_help_says() -> None:
    documented = re.findall(r"^\| (\d+) \|", DOCUMENT, re.MULTILINE)
    assert documented == re.findall(r"(?:: |, )(\d+) ", EXIT_CODES) == [str(code) for code in range(11)]
