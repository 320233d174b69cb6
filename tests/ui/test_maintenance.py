"""The maintenance pages in a browser: who may log in, what the controllers show, who is told, and what was done."""

import csv
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from ..daemon.certificates import bring  # noqa: TID252
from ..daemon.running import PASSWORD, Controller, eventually  # noqa: TID252
from .conftest import PATIENCE, PHONE, log_in, url

Picture = Callable[[str], None]
pytestmark = pytest.mark.root
expect.set_options(timeout=PATIENCE)


@pytest.fixture
def controller(controller: Controller) -> Controller:
    """A controller with an administrator, and nothing else."""
    controller.set_up()
    return controller


def part(page: Page, name: str) -> None:
    """Go to a page of the maintenance."""
    page.get_by_role("navigation", name="Maintenance").get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()


def operate(page: Page, user: str, operation: str) -> None:
    page.get_by_role("button", name=f"Operations of {user}").click()
    page.get_by_role("menuitem", name=operation).click()


def test_users_are_made_change_and_go_and_look_after_their_own_logins(
    controller: Controller, page: Page, chromium: Browser, picture: Picture
) -> None:
    log_in(page, controller)
    page.get_by_role("link", name="Maintenance").click()
    part(page, "Users")
    # What the API refuses, it says why; then it is mended in the same dialog.
    page.get_by_role("button", name="Make a user").click()
    page.get_by_label("Name").fill("eve")
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Make the user").click()
    expect(page.get_by_role("alert").filter(has_text="choose a longer one")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make the user").click()
    eve = page.get_by_role("list", name="Users").get_by_role("listitem").filter(has_text="eve")
    expect(eve).to_contain_text("viewer")
    operate(page, "eve", "Change the role")
    page.get_by_role("combobox", name="Role").click()
    page.get_by_role("option", name="operator").click()
    page.get_by_role("button", name="Save").click()
    expect(eve).to_contain_text("operator")
    operate(page, "eve", "Set the password")
    page.get_by_role("textbox", name="Password").fill("another horse battery")
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_text("The password of “eve” was set.")).to_be_visible()
    operate(page, "admin", "Disable")
    page.get_by_role("button", name="Disable", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="admin")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    _as_eve(controller, chromium)
    expect(page.get_by_text("eve: API token robot")).to_be_visible()
    picture("users")
    page.get_by_role("button", name="End API token robot of eve").click()
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_text("eve: API token robot")).to_have_count(0)
    operate(page, "eve", "Delete")
    page.get_by_label("Type “eve” to confirm").fill("eve")
    page.get_by_role("button", name="Delete eve").click()
    expect(eve).to_have_count(0)
    assert [one["name"] for one in controller.call("GET", "/users")] == ["admin"]


def _as_eve(controller: Controller, chromium: Browser) -> None:
    """Change the password, make a token and end another login, in a second browser of an operator."""
    context = chromium.new_context(viewport=PHONE)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    log_in(page, controller, "eve", "another horse battery")
    elsewhere = controller.call("POST", "/login", {"name": "eve", "password": "another horse battery"})["token"]
    page.goto(f"{url(controller)}/maintenance")
    expect(page.get_by_text("this page")).to_be_visible()
    expect(page.get_by_role("navigation", name="Maintenance").get_by_role("link", name="Users")).to_have_count(0)
    page.get_by_role("button", name="End Login from 127.0.0.1").click()
    page.get_by_role("button", name="End the login").click()
    expect(page.get_by_role("button", name="End Login from 127.0.0.1")).to_have_count(0)
    refused = controller.http.get("/account", headers={"Authorization": f"Bearer {elsewhere}"})
    assert refused.status_code == 401
    page.get_by_role("button", name="Make an API token").click()
    page.get_by_label("Name").fill("robot")
    page.get_by_role("button", name="Make the token").click()
    token = page.get_by_role("textbox", name="Token").input_value()
    whose = controller.http.get("/account", headers={"Authorization": f"Bearer {token}"}).json()
    assert (whose["user"], whose["role"], whose["token"]) == ("eve", "viewer", "robot")
    page.get_by_role("button", name="Done").click()
    page.get_by_label("Present password").fill("another horse battery")
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_label("New password again").fill("another")
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_role("alert").filter(has_text="The two passwords differ")).to_be_visible()
    page.get_by_label("New password again").fill(PASSWORD)
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_text("The password was changed.")).to_be_visible()
    controller.call("POST", "/login", {"name": "eve", "password": PASSWORD})
    # What only an admin may see she is refused in the API's words, whatever address she types.
    page.goto(f"{url(controller)}/maintenance/audit")
    expect(page.get_by_text("needs the role admin")).to_be_visible()
    assert page.request.get(f"{url(controller)}/downloads/audit").status == 403
    context.close()


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Controller]:
    """The same, which speaks TLS."""
    made = Controller(tmp_path)
    made.config.write_text(made.text().replace("tls = false", "tls = true"))
    made.http.close()
    base = f"https://127.0.0.1:{made.listener.getsockname()[1]}/api/v1"
    made.http = httpx.Client(base_url=base, verify=False, trust_env=False, timeout=20)  # noqa: S501 - its own maker's
    try:
        made.start()
        made.set_up()
        yield made
    finally:
        made.close()


def test_a_certificate_is_uploaded_shown_after_a_restart_and_deleted(
    secure: Controller, page: Page, picture: Picture, tmp_path: Path
) -> None:
    log_in(page, secure)
    page.goto(f"{url(secure)}/maintenance/certificate")
    expect(page.get_by_text("made by the controller itself")).to_be_visible()
    upload, (chain, key) = page.get_by_role("button", name="Upload"), bring(tmp_path, host="box.example")
    expect(upload).to_be_disabled()
    _choose(page, "Browse the certificate", chain)
    _choose(page, "Browse the key", chain)
    upload.click()
    expect(page.get_by_role("alert").filter(has_text="there is no key in PEM form")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    _choose(page, "Browse the key", key)
    upload.click()
    expect(page.get_by_text("The certificate was uploaded.")).to_be_visible()
    expect(upload).to_be_disabled()
    expect(page.get_by_text("After a restart")).to_be_visible()
    picture("certificate")
    page.get_by_role("button", name="Restart the subsystem").click()
    expect(page.get_by_role("dialog")).to_contain_text("this page is away while its controller restarts")
    started = secure.call("GET", "/controllers")[0]["started_at"]
    page.get_by_role("button", name="Restart now").click()
    expect(page.get_by_text("The controllers restart, one after the other.")).to_be_visible()
    # A page that is open meanwhile says in the console that it cannot reach the controller.
    page.goto("about:blank")
    eventually(lambda: _restarted(secure, started))
    page.goto(f"{url(secure)}/maintenance/certificate")
    expect(page.get_by_text("uploaded here")).to_be_visible()
    expect(page.get_by_text("“box.example”", exact=True).first).to_be_visible()
    page.get_by_role("button", name="Delete the uploaded certificate").click()
    expect(page.get_by_role("dialog")).to_contain_text("Its key is gone for good")
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_text("The uploaded certificate was deleted.")).to_be_visible()
    assert secure.call("GET", "/certificate")["uploaded"] is None


def _choose(page: Page, button: str, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=button).click()
    chooser.value.set_files(file)
    expect(page.get_by_text(file.name).filter(visible=True).first).to_be_visible()


def _restarted(controller: Controller, started: str) -> bool:
    try:
        (one,) = controller.call("GET", "/controllers")
    except httpx.TransportError:
        assert controller.process is not None
        assert controller.process.poll() is None, controller.log.read_text()[-4000:]
        return False
    return one["started_at"] != started and not one["restarting"]


def test_receivers_are_told_and_the_time_zone_is_set(controller: Controller, page: Page, picture: Picture) -> None:
    log_in(page, controller)
    page.goto(f"{url(controller)}/maintenance/alerts")
    expect(page.get_by_text("Nobody is told of events yet")).to_be_visible()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as told:
        told.bind(("127.0.0.1", 0))
        told.settimeout(PATIENCE / 1000)
        page.get_by_role("button", name="Add a receiver").click()
        page.get_by_label("Name", exact=True).fill("night-watch")
        page.get_by_role("button", name="Syslog").click()
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_role("alert").filter(has_text="no name or address of a server")).to_be_visible()
        page.get_by_label("Syslog server").fill("127.0.0.1")
        page.get_by_label("Port", exact=True).fill(str(told.getsockname()[1]))
        page.get_by_role("button", name="Add", exact=True).click()
        page.get_by_role("button", name="Send a test to night-watch").click()
        expect(page.get_by_text("“night-watch” has taken the test alert.")).to_be_visible()
        assert b"qreplica" in told.recv(4096).lower()
    picture("alerts")
    page.get_by_role("button", name="Delete night-watch").click()
    expect(page.get_by_role("dialog")).to_contain_text("no longer told by syslog to 127.0.0.1")
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("Nobody is told of events yet")).to_be_visible()
    part(page, "Time zone and restart")
    page.get_by_role("button", name="Restart controller 1").click()
    expect(page.get_by_role("dialog")).to_contain_text("hosts lose their disks")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Change the time zone").click()
    page.get_by_label("Time zone", exact=True).fill("Europe/Berl")
    page.get_by_role("option", name="Europe/Berlin").click()
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(page.get_by_role("definition").filter(has_text="Europe/Berlin")).to_be_visible()
    assert controller.call("GET", "/time-zone") == {"time_zone": "Europe/Berlin"}
    picture("time-zone")


def test_the_logs_are_filtered_turned_over_and_downloaded(controller: Controller, page: Page, picture: Picture) -> None:
    for _ in range(60):
        controller.call("PUT", "/time-zone", {"time_zone": "UTC"})
    controller.call("PUT", "/time-zone", {"time_zone": "Mars/Base"}, expect=422)
    log_in(page, controller)
    page.goto(f"{url(controller)}/maintenance/audit")
    rows = page.get_by_role("row").filter(has_text="put_time_zone")
    expect(rows).not_to_have_count(0)
    picture("audit-log")
    page.get_by_label("Operation").fill("put_time_zone")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Older").click()
    expect(rows).to_have_count(11)
    expect(page.get_by_role("button", name="Older")).to_be_disabled()
    page.get_by_role("button", name="Newest").click()
    expect(rows).to_have_count(50)
    page.get_by_label("Outcome").click()
    page.get_by_role("option", name="refused or failed").click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("Mars/Base")
    (wanted,) = controller.call("GET", "/audit?operation=put_time_zone&refused=true")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as JSON").click()
    assert [json.loads(line) for line in download.value.path().read_text().splitlines()] == [wanted]
    part(page, "Event log")
    page.get_by_label("Holds the text").fill("LOGGED IN")
    shown = page.get_by_role("row").filter(has_text="logged in")
    events = controller.call("GET", "/events?contains=logged in")
    expect(shown).to_have_count(len(events))
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    assert download.value.suggested_filename == "qreplica-events.csv"
    with download.value.path().open(newline="") as file:
        assert [row["message"] for row in csv.DictReader(file)] == [one["message"] for one in events]
    page.get_by_label("To", exact=True).fill("2001-01-01")
    expect(page.get_by_text("Nothing in the log matches")).to_be_visible()
