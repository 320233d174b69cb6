"""Two browsers, one on each controller: each sees what the other does, and that a controller dies."""

import pytest
from playwright.sync_api import Browser, Page, expect

from ..daemon.conftest import pair  # noqa: F401, TID252 - a fixture
from ..daemon.running import PASSWORD, Controller, provision  # noqa: TID252
from .conftest import PATIENCE, WIDE, log_in, url

pytestmark = pytest.mark.root
expect.set_options(timeout=PATIENCE)


@pytest.fixture
def running(pair: tuple[Controller, Controller]) -> tuple[Controller, Controller]:  # noqa: F811 - imported above
    """Both controllers of a subsystem with a virtual disk."""
    for one in pair:
        one.begin()
    for one in pair:
        one.wait_until_ready()
    provision(pair[0])
    return pair


def browser_on(chromium: Browser, controller: Controller, name: str) -> Page:
    """Return a browser of its own in which that user is logged in; it may well complain when its controller dies."""
    page = chromium.new_context(viewport=WIDE, service_workers="block").new_page()
    page.set_default_timeout(PATIENCE)
    log_in(page, controller, name)
    return page


def test_each_sees_what_the_other_does_and_that_a_controller_dies_and_comes_back(
    running: tuple[Controller, Controller], chromium: Browser
) -> None:
    first, second = running
    first.call("POST", "/users", {"name": "eve", "role": "viewer", "password": PASSWORD}, expect=201)
    admin, eve = browser_on(chromium, first, "admin"), browser_on(chromium, second, "eve")
    eve.goto(f"{url(second)}/storage/virtual-disks")
    expect(eve.get_by_role("link", name="v1", exact=True)).to_be_visible()
    admin.goto(f"{url(first)}/storage/virtual-disks/v1")
    admin.get_by_role("button", name="Rename", exact=True).click()
    admin.get_by_label("New name").fill("payroll")
    admin.get_by_role("dialog").get_by_role("button", name="Rename", exact=True).click()
    expect(eve.get_by_role("link", name="payroll", exact=True)).to_be_visible()
    eve.goto(f"{url(second)}/")
    box = eve.locator("section.controller").first
    expect(box).to_contain_text("online")
    first.kill()
    expect(admin.get_by_text("Connection lost.")).to_be_visible()
    expect(box).not_to_contain_text("online")
    first.start()
    expect(box).to_contain_text("online")
    expect(admin.get_by_text("Connection lost.")).to_be_hidden()
    expect(admin.get_by_role("heading", level=1)).to_be_visible()
    for page in (admin, eve):
        page.context.close()
