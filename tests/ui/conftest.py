"""A real browser (Debian's Chromium, driven by Playwright) that looks at the pages of real daemons."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize

from benchmarks import browser

from ..daemon.running import NAME, PASSWORD, Controller  # noqa: TID252 - the controllers of the daemon's own tests
from ..faults.conftest import Replication  # noqa: TID252 - two whole subsystems

#: Milliseconds that a page has for anything; a machine may be busy.
PATIENCE = 60_000
#: A desk's screen and a phone's.
WIDE: ViewportSize = {"width": 1280, "height": 860}
PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser. Its driver has an event loop in this thread, in which nothing else of that kind can run meanwhile."""
    with browser.chromium() as started:
        yield started


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A window of a browser that nobody has logged in with; what its console calls an error fails the test."""
    context = chromium.new_context(viewport=WIDE, service_workers="block", ignore_https_errors=True)
    context.set_default_timeout(PATIENCE)
    made = context.new_page()
    wrong: list[str] = []
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    yield made
    context.close()
    assert wrong == []


@pytest.fixture
def picture(page: Page, pytestconfig: pytest.Config, tmp_path: Path) -> Callable[[str], None]:
    """Take a picture of the page as it is, by name."""
    place: Path = pytestconfig.getoption("--pictures") or tmp_path

    def take(name: str) -> None:
        page.screenshot(path=place / f"{name}.png", animations="disabled")

    return take


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    """A controller that runs, and that nobody has set up."""
    made = Controller(tmp_path)
    made.vendor.make_keys()
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Replication]:
    """A source with VD “v1” and a target with backup VD “b1”, and no job yet."""
    made = Replication(tmp_path)
    try:
        made.prepare()
        yield made
    finally:
        made.close()


def url(controller: Controller) -> str:
    """Return where the controller's pages are."""
    return f"{controller.http.base_url.scheme}://127.0.0.1:{controller.listener.getsockname()[1]}"


def log_in(page: Page, controller: Controller, name: str = NAME, password: str = PASSWORD) -> None:
    """Log in, up to the overview."""
    page.goto(f"{url(controller)}/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{url(controller)}/")
