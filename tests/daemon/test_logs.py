"""Logs: structured, on standard error, without secrets."""

import json
import subprocess
import sys
from typing import Any

import pytest

from .running import SOURCE

_LOG = """
import logging, sys, threading
import structlog
from qreplica.daemon import logs
logs.configure(sys.argv[1], subsystem="source", controller=1)
log = structlog.get_logger("here")
log.info("begun", chap_secret="hush-hush", password="hush-hush", token="hush-hush", name="plain")
logging.getLogger("uvicorn.error").warning("from a library: %s", "text")
logging.getLogger("httpx").info("not told")
log.debug("not told")
threading.Thread(target=lambda: log.warning("elsewhere")).start()
try:
    raise ValueError("bad")
except ValueError:
    log.error("failed", exc_info=True)
"""


def said(form: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _LOG, form],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(SOURCE)},
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_each_event_is_one_json_object_that_says_who_and_when() -> None:
    entries: list[dict[str, Any]] = [json.loads(line) for line in said("json")]
    told = sorted((entry["level"], entry["event"]) for entry in entries)
    assert told == [
        ("error", "failed"),
        ("info", "begun"),
        ("warning", "elsewhere"),
        ("warning", "from a library: text"),
    ]
    for entry in entries:
        assert (entry["subsystem"], entry["controller"]) == ("source", 1)
        assert entry["timestamp"].endswith("Z")
    (failed,) = [entry for entry in entries if entry["event"] == "failed"]
    assert "ValueError: bad" in failed["exception"]


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_is_named_like_a_secret_is_not_told(form: str) -> None:
    text = "\n".join(said(form))
    assert "hush" not in text
    assert "plain" in text
    assert "not told" not in text
