"""The pages in a browser, from the first start to a copy that is proved equal."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from ..daemon.running import PASSWORD, Controller  # noqa: TID252
from ..faults.conftest import CHAP, Replication  # noqa: TID252
from .conftest import PATIENCE, log_in, url

Picture = Callable[[str], None]
pytestmark = pytest.mark.root
expect.set_options(timeout=PATIENCE)


def test_the_first_start_makes_an_administrator_and_the_license_page_takes_a_license(
    controller: Controller, page: Page, picture: Picture, tmp_path: Path
) -> None:
    page.goto(url(controller))
    page.wait_for_url("**/setup")
    expect(page.get_by_label("One-time secret")).to_be_visible()
    picture("first-start")
    page.get_by_label("One-time secret").fill("not it")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill("another")
    page.get_by_role("button", name="Make the administrator").click()
    expect(page.get_by_role("alert")).to_contain_text("The two passwords differ")
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name="Make the administrator").click()
    expect(page.get_by_role("alert")).to_contain_text("setup-secret")
    page.get_by_label("One-time secret").fill((tmp_path / "state" / "setup-secret").read_text().strip())
    page.get_by_role("button", name="Make the administrator").click()
    page.wait_for_url(f"{url(controller)}/")
    expect(page.get_by_text("Controller 1", exact=True)).to_be_visible()
    # Without a license there is no QReplica page, and somebody who knows its address is told so.
    expect(page.get_by_role("link", name="QReplica", exact=True)).to_have_count(0)
    page.get_by_role("link", name="QReplica license").click()
    upload = page.locator("input[type=file]")
    upload.set_input_files({"name": "holiday.jpg", "mimeType": "image/jpeg", "buffer": b"no license"})
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_text("This is not a license file")).to_be_visible()
    serial = re.search(r"QR(?:-\w{4}){3}", page.inner_text("body"))
    assert serial is not None
    content = controller.vendor.license(serial[0])
    upload.set_input_files({"name": "license.json", "mimeType": "application/json", "buffer": content})
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(
        page.get_by_role("dialog").get_by_text("restart the subsystem to make the license take effect")
    ).to_be_visible()
    picture("license")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("needs a restart")).to_be_visible()


def test_a_job_is_made_run_and_deleted_as_in_the_white_paper(both: Replication, page: Page, picture: Picture) -> None:
    both.host_writes((0, 24))
    source = both.source
    log_in(page, source)
    page.get_by_role("link", name="QReplica", exact=True).click()
    _create(page, both, picture)
    row = page.get_by_role("row").filter(has_text="nightly")
    expect(row).to_contain_text("no copy yet")
    row.get_by_role("button", name="Operations on nightly").click()
    page.get_by_role("dialog").get_by_text("Start", exact=True).click()
    expect(page.get_by_text("The whole of “v1” (512 MiB) is copied to “b1”.")).to_be_visible()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(row).not_to_contain_text("no copy yet")
    both.until("idle")
    both.check_copy()
    both.host_writes((4, 2))
    both.start()
    both.until("idle")
    picture("jobs")
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("heading", name="RAID groups")).to_be_visible()
    expect(page.get_by_role("link", name="nightly")).to_be_visible()
    picture("overview")
    page.get_by_role("link", name="nightly").click()
    expect(page.get_by_role("heading", name="nightly")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="committed")).to_have_count(2)
    picture("job")
    page.get_by_role("button", name="Operations on this job").click()
    page.get_by_role("dialog").get_by_text("Schedule", exact=True).click()
    page.get_by_label("Times, such as 02:00, 14:30").fill("25:00")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert").filter(has_text="times")).to_be_visible()
    # What would run when is shown before it is saved.
    page.get_by_label("Times, such as 02:00, 14:30").fill("02:00, 14:30")
    page.get_by_role("button", name="By week").click()
    expect(page.get_by_text("weekly needs weekdays")).to_be_visible()
    page.get_by_role("button", name="By day").click()
    expect(page.get_by_text("Runs every day at 02:00 and 14:30 (UTC), next:")).to_be_visible()
    expect(page.get_by_text(re.compile(r"^\d{4}-\d\d-\d\d (02:00|14:30):00$"))).to_have_count(5)
    source.call("GET", "/jobs/nightly/schedule", expect=404)
    picture("schedule")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("every day at 02:00 and 14:30").first).to_be_visible()
    page.get_by_role("button", name="Operations on this job").click()
    page.get_by_role("dialog").get_by_text("Delete", exact=True).click()
    delete = page.get_by_role("button", name="Delete nightly")
    expect(delete).to_be_disabled()
    page.get_by_label("Type “nightly” to confirm").fill("nightly")
    delete.click()
    expect(page.get_by_text("“nightly” was deleted.")).to_be_visible()
    assert source.call("GET", "/jobs") == []


def _create(page: Page, both: Replication, picture: Picture) -> None:
    """Go through the wizard."""
    page.get_by_role("button", name="Create").click()
    page.get_by_text("v1 (512 MiB)").click()
    page.get_by_label("Name of the job").fill("nightly")
    page.get_by_role("button", name="Next").click()
    page.get_by_label("IP address of the iSCSI port").fill("127.0.0.1")
    page.get_by_text("TCP ports, if they are not the usual ones").click()
    page.get_by_label("TCP port of the iSCSI portal").fill(str(both.target.iscsi_port))
    page.get_by_label("TCP port of the peer conversation").fill(str(both.target.peer_port))
    page.get_by_role("button", name="Next").click()
    # Without CHAP the node refuses, and the page says why.
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("alert").filter(has_text="CHAP")).to_be_visible()
    page.get_by_label("CHAP name").fill(CHAP["chap_user"])
    page.get_by_label("CHAP secret").fill(CHAP["chap_secret"])
    page.get_by_role("button", name="Next").click()
    page.get_by_text("LUN 1: b1 (512 MiB)").click()
    picture("create-job")
    page.get_by_role("button", name="Create").last.click()


def test_a_page_left_open_after_the_login_ended_does_nothing(both: Replication, page: Page) -> None:
    both.make_job()
    source = both.source
    log_in(page, source)
    page.goto(f"{url(source)}/qreplica/nightly")
    page.get_by_role("button", name="Operations on this job").click()
    page.get_by_role("dialog").get_by_text("Start", exact=True).click()
    confirm = page.get_by_role("button", name="Start", exact=True)
    expect(confirm).to_be_visible()
    # Clicked by the page itself, in the same instant in which it looks again and finds that it is logged out.
    element = confirm.element_handle()
    source.call("DELETE", "/account/sessions", expect=204)
    element.evaluate("button => button.click()")
    page.wait_for_url("**/login")
    assert source.call("GET", "/jobs/nightly")["cycle"] is None
    page.goto(f"{url(source)}/qreplica/nightly")
    page.wait_for_url("**/login")


def test_a_viewer_is_offered_nothing_that_changes_anything(both: Replication, page: Page) -> None:
    both.make_job()
    source = both.source
    source.call("POST", "/users", {"name": "eve", "password": PASSWORD, "role": "viewer"}, expect=201)
    log_in(page, source, "eve")
    page.goto(f"{url(source)}/qreplica")
    page.get_by_role("row").filter(has_text="nightly").get_by_role("button").click()
    expect(page.get_by_text("Your role may only look")).to_be_visible()
    for name in ("Create", "Configuration"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    page.goto(f"{url(source)}/license")
    expect(page.get_by_text("The license is in force")).to_be_visible()
    expect(page.locator("input[type=file]")).to_have_count(0)


def test_what_a_page_still_offers_to_a_role_that_was_taken_away_is_refused(both: Replication, page: Page) -> None:
    both.make_job()
    source = both.source
    source.call("POST", "/users", {"name": "otto", "password": PASSWORD, "role": "operator"}, expect=201)
    log_in(page, source, "otto")
    page.goto(f"{url(source)}/qreplica/nightly")
    page.get_by_role("button", name="Operations on this job").click()
    page.get_by_role("dialog").get_by_text("Start", exact=True).click()
    confirm = page.get_by_role("dialog").get_by_role("button", name="Start", exact=True)
    expect(confirm).to_be_visible()
    source.call("PATCH", "/users/otto", {"role": "viewer"})
    confirm.click()
    expect(page.get_by_role("alert").filter(has_text="operator")).to_be_visible()
    assert source.call("GET", "/jobs/nightly")["cycle"] is None
