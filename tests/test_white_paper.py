"""The table of the white paper names tests that are there, and modules that are there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROWS = [line for line in (ROOT / "docs/white-paper.md").read_text().splitlines() if line.startswith("| ")][1:]


def test_each_sentence_names_a_test_that_is_there() -> None:
    for row in ROWS:
        named = re.findall(r"`([a-z_0-9/]+\.py)(?:::(\w+))?`", row.rsplit("|", 2)[1])
        assert named, row
        for file, test in named:
            place = ROOT / "tests" / file
            assert place.exists(), row
            tests = {node.name for node in ast.walk(ast.parse(place.read_text())) if isinstance(node, ast.FunctionDef)}
            assert test in tests or (not test and any(name.startswith("test_") for name in tests)), (row, test)


def test_each_place_that_is_named_is_there() -> None:
    for row in ROWS:
        before = ""
        for place in re.findall(r"`([a-z_0-9]+(?:/[a-z_0-9]+)*(?:\.py|/))`", row.split("|")[2]):
            before = place.rpartition("/")[0] if "/" in place else before
            known = ROOT / "src/qreplica" / (place if "/" in place else f"{before}/{place}")
            assert known.exists(), (row, place)
