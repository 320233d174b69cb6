"""Everybody can use each page, in light and dark, on a desk and on a phone, as axe-core judges it (WCAG 2.1 AA)."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from ..faults.conftest import Replication  # noqa: TID252 - two whole subsystems
from .conftest import PATIENCE, PHONE, log_in, url

pytestmark = pytest.mark.root
expect.set_options(timeout=PATIENCE)
#: A menu stands outside of all landmarks; and axe takes what lies behind a dialog for the ground of its words.
OVER = {"region": {"enabled": False}, "color-contrast": {"enabled": False}}


def judge(page: Page, what: str, rules: dict[str, Any] | None = None) -> list[str]:
    """Return what is wrong with the page as it is."""
    found = Axe().run(page, options={"rules": rules or {}}).response["violations"]
    return [f"{what}: {one['help']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


def shown(page: Page, path: str) -> None:
    """Go to a page and wait until it shows what it knows, and nothing on it moves."""
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    still(page)


def still(page: Page) -> None:
    """Wait until nothing on the page moves; Quasar's bar at the top, which has no name, is there during requests."""
    page.wait_for_function(
        "() => document.getAnimations().every(one => one.playState !== 'running')"
        " && document.querySelector('.q-loading-bar[role=progressbar]') === null"
    )


def linked(page: Page) -> set[str]:
    """Return where the page links to."""
    found: list[str] = page.locator("a[href]").evaluate_all("links => links.map(link => link.href.split('#')[0])")
    return set(found)


@pytest.fixture
def replicating(both: Replication) -> Replication:
    """A subsystem with something on each page."""
    both.make_job()
    both.start()
    both.until("idle")
    settings = {"kind": "syslog", "server": "127.0.0.1"}
    both.source.call("POST", "/alerts", {"name": "night-watch", "settings": settings}, expect=201)
    both.source.call("POST", "/account/tokens", {"name": "robot"}, expect=201)
    return both


def test_each_page_is_clean_in_light_and_dark_on_a_desk_and_on_a_phone(replicating: Replication, page: Page) -> None:
    source = replicating.source
    page.goto(f"{url(source)}/login")
    expect(page.get_by_label("Name")).to_be_visible()
    wrong = judge(page, "log in")
    log_in(page, source)
    first = f"{url(source)}/"
    paths, seen = [first], {first}
    for path in paths:  # which grows by what each page links to
        shown(page, path)
        wrong += judge(page, path)
        found = {one for one in linked(page) if one.startswith(first)} - seen
        paths += sorted(found)
        seen |= found
    assert len(paths) >= 12
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(PHONE)
    for path in paths:
        shown(page, path)
        wrong += judge(page, f"{path}, dark")
        beyond = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if beyond > 0:
            wrong.append(f"{path}: {beyond} pixels wider than a phone")
    assert wrong == []


def test_dialogs_and_menus_are_clean(replicating: Replication, page: Page) -> None:
    source = replicating.source
    log_in(page, source)
    wrong = []
    for path, clicks in (
        ("", ["admin"]),
        ("qreplica", ["Create"]),
        ("qreplica", ["Configuration"]),
        ("qreplica/nightly", ["Operations on this job"]),
        ("maintenance", ["Make an API token"]),
        ("maintenance/users", ["Operations of admin"]),
        ("maintenance/users", ["Make a user"]),
        ("maintenance/alerts", ["Add a receiver"]),
        ("maintenance/system", ["Change the time zone"]),
    ):
        shown(page, f"{url(source)}/{path}")
        for name in clicks:
            page.get_by_role("button", name=name).click()
        expect(page.get_by_role("dialog").or_(page.get_by_role("menu")).first).to_be_visible()
        wrong += judge(page, f"{path} {clicks}", OVER)
    assert wrong == []
