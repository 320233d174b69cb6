"""Every error of the package: its kind is its own, and its sentence says what to do."""

import importlib
import inspect
import pkgutil
import string
from collections import Counter

import pytest

import qreplica
from qreplica.errors import (
    Conflict,
    EngineFailed,
    Invalid,
    NoSpace,
    NotFound,
    QReplicaError,
    RemoteFailed,
    Unauthorized,
    Unavailable,
)

CATEGORIES = (Invalid, NotFound, Conflict, NoSpace, Unauthorized, RemoteFailed, EngineFailed, Unavailable)


def _all_errors() -> list[type[QReplicaError]]:
    for module in pkgutil.walk_packages(qreplica.__path__, "qreplica."):
        # What migrations hold runs only in one; a build script and ``__main__`` run when they are imported.
        if ".migrations" not in module.name and module.name.rpartition(".")[2] not in {"_build", "__main__"}:
            importlib.import_module(module.name)
    found: list[type[QReplicaError]] = []
    waiting: list[type[QReplicaError]] = [QReplicaError]
    while waiting:
        for error in waiting.pop().__subclasses__():
            if error.__module__.startswith("qreplica.") and error not in found:
                found.append(error)
                waiting.append(error)
    return sorted(found, key=lambda error: (error.__module__, error.__name__))


ERRORS = _all_errors()
SENTENCES = [error for error in ERRORS if error not in CATEGORIES and not error.__subclasses__()]


def _fields(template: str) -> dict[str, object]:
    """Return a value for each field: a number where it has a format, a sentence where it ends the whole."""
    values: dict[str, object] = {}
    for _, name, form, _ in string.Formatter().parse(template):
        if name is not None:
            values[name] = 3 if form or values.get(name) == 3 else "something"
            if template.endswith((f"{{{name}}}", f"{{{name}}}.")):
                values[name] = "something failed: try it again" + "." * template.endswith("}")
    return values


def test_kinds_are_unique() -> None:
    counts = Counter(error.kind for error in ERRORS)
    assert [kind for kind, count in counts.items() if count > 1] == []


def test_the_categories_differ_in_status_and_exit_code() -> None:
    assert len({error.status for error in CATEGORIES}) == len(CATEGORIES)
    assert len({error.exit_code for error in CATEGORIES} | {0, 1}) == len(CATEGORIES) + 2


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.kind)
def test_an_error_has_a_category_and_a_kind_of_words(error: type[QReplicaError]) -> None:
    categories = sum(issubclass(error, category) for category in CATEGORIES)
    assert categories == 1 or (categories == 0 and error.title != QReplicaError.title)
    assert set(error.kind) <= set(string.ascii_lowercase + string.digits + "-")
    assert inspect.getdoc(error)


@pytest.mark.parametrize("error", SENTENCES, ids=lambda error: error.kind)
def test_a_sentence_says_what_happened_and_what_to_do(error: type[QReplicaError]) -> None:
    fields = _fields(error.template)
    made = error(**fields)
    assert made.sentence == str(made)
    begins = error.template.startswith(("{", "“", "iSCSI", "qreplicad")) or made.sentence[0].isupper()
    assert begins, made.sentence
    assert made.sentence.endswith("."), made.sentence
    what, colon, remedy = made.sentence.rpartition(": ")
    assert colon, made.sentence
    assert len(what) > 15, made.sentence
    assert len(remedy) > 8, made.sentence
    assert "{" not in made.sentence


@pytest.mark.parametrize("error", SENTENCES, ids=lambda error: error.kind)
def test_a_problem_body_holds_the_facts(error: type[QReplicaError]) -> None:
    fields = _fields(error.template)
    problem = error(**fields).problem()
    assert problem["type"] == f"urn:qreplica:error:{error.kind}"
    assert problem["status"] == error.status
    assert problem["fields"] == fields
    assert problem["detail"].endswith(".")


def test_sizes_in_sentences_have_units() -> None:
    class Full(NoSpace):
        """For this test."""

        kind = "full-for-this-test"
        template = "{free:size} are free and {needed:size} are needed, {count:>4} times: stop."

    error = Full(free=3 << 30, needed=1536, count=7)
    assert error.sentence == "3 GiB are free and 1.50 KiB are needed,    7 times: stop."
    assert error.problem()["fields"] == {"free": 3 << 30, "needed": 1536, "count": 7}


def test_an_error_without_its_facts_cannot_be_made() -> None:
    with pytest.raises(KeyError):
        NotFound(what="virtual disk")
