"""The web pages of a subsystem with many jobs: how soon one sees them all, and what many visits leave in the daemon."""

import itertools
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from playwright.sync_api import Page

from benchmarks.browser import chromium
from benchmarks.world import World
from qreplica.lab.topology import Side
from qreplica.units import MIB

JOBS = 200
_PAGES = ("/", "/qreplica", "/network", "/license")
#: The first visits load what later ones find loaded.
_BEFORE = 2 * len(_PAGES)
#: Seconds after which a page that was left is forgotten.
_FORGOTTEN = 15.0
#: How long (seconds) anything may take.
_PATIENCE = 60.0


def measure(world: World, job: str, *, visits: int, rounds: int) -> dict[str, Any]:
    """Look at the pages beside ``JOBS`` jobs like ``job``, and return what the figures ``ui.*`` are made of."""
    with _jobs_like(world, job), chromium() as browser:
        context = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 860})
        context.set_default_timeout(_PATIENCE * 1000)
        page = context.new_page()
        page.goto(world.source.answered + world.source.post("/account/browser-login")["path"])
        _visit(page, world.source.answered, _BEFORE)
        seconds = [_seconds_until_seen(page, world.source.answered, job) for _ in range(rounds)]
        before = world.memory(Side.SOURCE)
        began = time.monotonic()
        _visit(page, world.source.answered, visits)
        took = time.monotonic() - began
        page.close()
        time.sleep(_FORGOTTEN)
        growth = world.memory(Side.SOURCE) - before
    return {
        "job_page_seconds": round(median(seconds), 3),
        "rss_growth_mib": round(growth / MIB, 1),
        "jobs": JOBS,
        "visits": visits,
        "seconds_a_visit": round(took / visits, 3),
    }


def _visit(page: Page, url: str, times: int) -> None:
    """Look at one page after the other; each is there when its heading is."""
    for path in itertools.islice(itertools.cycle(_PAGES), times):
        page.goto(url + path)
        page.get_by_role("heading", level=1).wait_for()


def _seconds_until_seen(page: Page, url: str, job: str) -> float:
    """Return how long after it was asked for the page shows the table of jobs, as the browser's clock tells."""
    page.goto(f"{url}/qreplica", wait_until="commit")
    page.get_by_role("link", name=job, exact=True).wait_for()
    return float(page.evaluate("performance.now()")) / 1000


@contextmanager
def _jobs_like(world: World, job: str) -> Iterator[None]:
    """Have jobs that differ from ``job`` by name alone: making so many of their own disks would take minutes."""
    state = world.lab.controller(Side.SOURCE).state_dir / "qreplica.db"
    ids = [uuid4().hex for _ in range(JOBS - 1)]
    with _writing(state) as database:
        (original,) = database.execute("SELECT id FROM jobs WHERE name = ?", (job,)).fetchone()
        for number, made in enumerate(ids, 1):
            _copy(database, "jobs", "id", original, {"id": made, "name": f"{job}-{number}"})
            _copy(database, "paths", "job_id", original, {"id": uuid4().hex, "job_id": made})
    try:
        yield
    finally:
        with _writing(state) as database:
            for table, column in (("job_lags", "job_id"), ("paths", "job_id"), ("jobs", "id")):
                database.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(made,) for made in ids])  # noqa: S608


def _copy(database: sqlite3.Connection, table: str, by: str, original: str, changed: dict[str, str]) -> None:
    """Insert a row of a table again, with some of its columns changed."""
    names = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    taken = ", ".join(f":{name}" if name in changed else name for name in names)
    database.execute(
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {taken} FROM {table} WHERE {by} = :original LIMIT 1",  # noqa: S608
        {**changed, "original": original},
    )


@contextmanager
def _writing(state: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(state, timeout=_PATIENCE)) as database, database:
        yield database
