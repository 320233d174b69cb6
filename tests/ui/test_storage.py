"""The storage pages in a browser: from disks to a virtual disk that a host writes, rolled back and deleted."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from qreplica.units import MIB

from ..daemon.running import HOST, PASSWORD, Controller, provision  # noqa: TID252
from ..faults.conftest import Replication  # noqa: TID252
from .clicks import choose, click, dialog, lose, operate, row
from .conftest import PATIENCE, log_in, url
from .test_accessibility import OVER, judge, still

Picture = Callable[[str], None]
pytestmark = pytest.mark.root
expect.set_options(timeout=PATIENCE)


def test_from_disks_to_a_virtual_disk_that_is_rolled_back_and_deleted(
    controller: Controller, page: Page, picture: Picture
) -> None:
    controller.set_up()
    log_in(page, controller)
    page.get_by_role("link", name="Storage", exact=True).click()
    _make_a_raid_group(page, controller)
    _look_after_it(page, picture)
    _make_a_virtual_disk(page, picture)
    _make_a_node(page, picture)
    iqn = controller.call("GET", "/nodes/hosts")["iqn"]
    with controller.log_in(iqn) as session:
        session.write(1, 0, b"before" + bytes(MIB - 6))
        session.flush(1)
        page.goto(f"{url(controller)}/storage/nodes")
        expect(row(page, HOST).filter(has_text="port 1 of controller 1")).to_be_visible()
        picture("nodes")
        page.goto(f"{url(controller)}/storage/virtual-disks/payroll")
        _take_a_snapshot(page)
        session.write(1, 0, b"after!" + bytes(MIB - 6))
        session.flush(1)
        operate(page, "monday", "Roll the virtual disk back to it")
        asked = dialog(page, "Roll payroll back")
        expect(asked.get_by_text("loses everything written since")).to_contain_text("1 MiB")
        asked.get_by_label("Type “payroll” to confirm").fill("payroll")
        picture("roll-back")
        asked.get_by_role("button", name="Roll back").click()
        # A host would go on with what it remembers; the API says what to do.
        expect(asked.get_by_role("alert")).to_contain_text(f"{HOST} is logged in to node hosts")
    asked.get_by_role("button", name="Roll back").click()
    expect(page.get_by_text("“payroll” was rolled back to “monday”.")).to_be_visible()
    expect(row(page, "before-rollback")).to_be_visible()
    with controller.log_in(iqn) as session:
        assert session.read(1, 0, 512)[:6] == b"before"
    _show_a_snapshot(page, controller)
    _take_all_apart(page)
    for what in ("nodes", "virtual-disks", "raid-groups"):
        assert controller.call("GET", f"/{what}") == []


def _make_a_raid_group(page: Page, controller: Controller) -> None:
    expect(page.get_by_text("There are no disks yet")).to_be_visible()
    for number in (1, 2, 3):
        click(page, "Add a disk")
        asked = dialog(page, "Add a disk")
        asked.get_by_label("Name of the disk").fill(f"d{number}")
        asked.get_by_role("button", name="Image file").click()
        asked.get_by_label("Image file, such as /srv").fill(str(controller.directory / f"{number}.img"))
        asked.get_by_label("Size of a new image file").fill("much")
        if number == 1:
            asked.get_by_role("button", name="Add", exact=True).click()
            expect(asked.get_by_role("alert").filter(has_text="“much” is not a size")).to_be_visible()
        asked.get_by_label("Size of a new image file").fill("2GiB")
        asked.get_by_label("Size of a new image file").press("Enter")
        expect(row(page, f"{number}.img")).to_be_visible()
    click(page, "Make a RAID group")
    asked = dialog(page, "Make a RAID group")
    asked.get_by_label("Name of the RAID group").fill("rg1")
    choose(page, asked, "Disks", "d1 (2 GiB)", among_several=True)
    asked.get_by_role("button", name="Make", exact=True).click()
    expect(asked.get_by_role("alert")).to_contain_text("needs at least 2 disks and got 1")
    choose(page, asked, "Disks", "d2 (2 GiB)", among_several=True)
    asked.get_by_role("button", name="Make", exact=True).click()
    expect(row(page, "rg1").filter(has_text="online")).to_be_visible()


def _look_after_it(page: Page, picture: Picture) -> None:
    page.get_by_role("link", name="rg1").first.click()
    click(page, "Replace a disk")
    asked = dialog(page, "Replace a disk of rg1")
    choose(page, asked, "Disk to replace", "d2")
    choose(page, asked, "Free disk that takes its place", "d3")
    asked.get_by_role("button", name="Replace", exact=True).click()
    expect(row(page, "d3").filter(has_text="online")).to_be_visible()
    expect(row(page, "d2")).to_have_count(0)
    click(page, "Start a scrub")
    dialog(page, "Scrub rg1").get_by_role("button", name="Start the scrub").click()
    expect(row(page, "clean")).to_be_visible()
    click(page, "Scrub schedule")
    asked = dialog(page, "Scrub schedule of rg1")
    asked.get_by_label("Days between scrubs").fill("7")
    asked.get_by_role("button", name="Save").click()
    expect(page.get_by_text("every 7 days")).to_be_visible()
    page.reload()
    expect(row(page, "clean")).to_be_visible()
    picture("raid-group")
    page.get_by_role("link", name="Disks and RAID groups").click()
    operate(page, "d2", "Make it a spare")
    click(page, "Make it a spare")
    expect(row(page, "d2").filter(has_text="spare")).to_be_visible()
    page.reload()
    expect(row(page, "d2").filter(has_text="spare")).to_be_visible()
    picture("storage")


def _make_a_virtual_disk(page: Page, picture: Picture) -> None:
    page.get_by_role("link", name="Virtual disks", exact=True).click()
    click(page, "Make a virtual disk")
    asked = dialog(page, "Make a virtual disk")
    asked.get_by_label("Name of the virtual disk").fill("Payroll!")
    asked.get_by_label("Size, such as").fill("64MiB")
    asked.get_by_role("button", name="Make", exact=True).click()
    expect(asked.get_by_role("alert").filter(has_text="“Payroll!” cannot name a virtual disk")).to_be_visible()
    asked.get_by_label("Name of the virtual disk").fill("payroll")
    picture("create-virtual-disk")
    asked.get_by_role("button", name="Make", exact=True).click()
    expect(row(page, "payroll").filter(has_text="64 MiB")).to_be_visible()
    page.get_by_role("link", name="payroll").click()
    click(page, "Extend")
    asked = dialog(page, "Extend payroll")
    asked.get_by_label("New size").fill("9TiB")
    asked.get_by_role("button", name="Extend").click()
    expect(asked.get_by_role("alert").filter(has_text="needs 9.00 TiB")).to_be_visible()
    asked.get_by_label("New size").fill("128MiB")
    asked.get_by_role("button", name="Extend").click()
    expect(page.get_by_text("128 MiB", exact=True)).to_be_visible()
    click(page, "Rename")
    asked = dialog(page, "Rename payroll")
    asked.get_by_label("New name").fill("wages")
    asked.get_by_role("button", name="Rename").click()
    page.wait_for_url("**/storage/virtual-disks/wages")
    click(page, "Rename")
    dialog(page, "Rename wages").get_by_label("New name").fill("payroll")
    dialog(page, "Rename wages").get_by_role("button", name="Rename").click()
    page.wait_for_url("**/storage/virtual-disks/payroll")


def _make_a_node(page: Page, picture: Picture) -> None:
    page.get_by_role("link", name="iSCSI nodes", exact=True).click()
    click(page, "Make an iSCSI node")
    asked = dialog(page, "Make an iSCSI node")
    asked.get_by_label("Name of the node").fill("hosts")
    asked.get_by_label("Initiator names").fill(HOST)
    asked.get_by_text("CHAP", exact=True).click()
    asked.get_by_label("CHAP name", exact=True).fill("host")
    asked.get_by_label("CHAP secret", exact=True).fill("short")
    asked.get_by_role("button", name="Make", exact=True).click()
    expect(asked.get_by_role("alert").filter(has_text="The CHAP secret cannot be used")).to_be_visible()
    picture("create-node")
    asked.get_by_label("CHAP secret", exact=True).fill("a-secret-of-the-node")
    asked.get_by_role("button", name="Make", exact=True).click()
    page.get_by_role("link", name="hosts", exact=True).click()
    expect(page.get_by_text("initiators prove that they are host")).to_be_visible()
    click(page, "CHAP")
    asked = dialog(page, "CHAP of hosts")
    asked.get_by_label("CHAP name", exact=True).fill("")
    asked.get_by_role("button", name="Save").click()
    expect(page.get_by_text("initiators prove that they are host")).to_have_count(0)
    click(page, "Admitted initiators")
    asked = dialog(page, "Whom hosts admits")
    asked.get_by_label("Initiator names").fill(f"{HOST}\nnobody")
    asked.get_by_role("button", name="Save").click()
    expect(asked.get_by_role("alert").filter(has_text="“nobody” is not an initiator name")).to_be_visible()
    asked.get_by_text("Every initiator").click()
    asked.get_by_role("button", name="Save").click()
    expect(page.get_by_text("every initiator", exact=True)).to_be_visible()
    click(page, "Attach a virtual disk")
    asked = dialog(page, "Attach a virtual disk to hosts")
    choose(page, asked, "Virtual disk", "payroll")
    asked.get_by_role("button", name="Attach", exact=True).click()
    expect(page.get_by_text("“payroll” is LUN 1 of iSCSI node “hosts”.")).to_be_visible()


def _take_a_snapshot(page: Page) -> None:
    click(page, "Take a snapshot")
    asked = dialog(page, "Take a snapshot of payroll")
    asked.get_by_label("Name of the snapshot").fill("monday")
    asked.get_by_role("button", name="Take", exact=True).click()
    expect(asked.get_by_role("alert")).to_contain_text("has 0 B of snapshot space")
    asked.get_by_role("button", name="Cancel").click()
    click(page, "Snapshot space")
    asked = dialog(page, "Snapshot space of payroll")
    asked.get_by_label("Snapshot space, such as").fill("256MiB")
    asked.get_by_role("button", name="Set", exact=True).click()
    expect(page.get_by_text("of 256 MiB")).to_be_visible()
    click(page, "Take a snapshot")
    asked = dialog(page, "Take a snapshot of payroll")
    asked.get_by_label("Name of the snapshot").fill("monday")
    asked.get_by_role("button", name="Take", exact=True).click()
    expect(row(page, "monday")).to_be_visible()
    page.reload()


def _show_a_snapshot(page: Page, controller: Controller) -> None:
    operate(page, "monday", "Show it read-only on an iSCSI node")
    asked = dialog(page, "Show snapshot monday of payroll read-only")
    asked.get_by_label("LUN").fill("7")
    asked.get_by_role("button", name="Attach", exact=True).click()
    expect(row(page, "snapshot monday, read-only")).to_be_visible()
    with controller.log_in(controller.call("GET", "/nodes/hosts")["iqn"]) as session:
        assert session.read(7, 0, 512)[:6] == b"before"
    operate(page, "monday", "Delete")
    asked = dialog(page, "Delete monday")
    asked.get_by_label("Type “monday” to confirm").fill("monday")
    asked.get_by_role("button", name="Delete monday").click()
    expect(asked.get_by_role("alert")).to_contain_text("cannot be deleted")
    asked.get_by_role("button", name="Cancel").click()
    click(page, "Detach LUN 7 of hosts")
    lose(page, "Detach LUN 7", "payroll")
    operate(page, "monday", "Delete")
    lose(page, "Delete monday", "monday")


def _take_all_apart(page: Page) -> None:
    click(page, "Delete")
    asked = dialog(page, "Delete payroll")
    expect(asked.get_by_text("All 128 MiB of virtual disk “payroll” and its snapshot are lost.")).to_be_visible()
    asked.get_by_label("Type “payroll” to confirm").fill("payroll")
    asked.get_by_role("button", name="Delete payroll").click()
    expect(asked.get_by_role("alert")).to_contain_text("cannot be deleted")
    asked.get_by_role("button", name="Cancel").click()
    click(page, "Detach LUN 1 of hosts")
    lose(page, "Detach LUN 1", "payroll")
    click(page, "Delete")
    lose(page, "Delete payroll", "payroll")
    page.wait_for_url("**/storage/virtual-disks")
    expect(page.get_by_text("There is no virtual disk yet")).to_be_visible()
    page.get_by_role("link", name="iSCSI nodes", exact=True).click()
    page.get_by_role("link", name="hosts", exact=True).click()
    click(page, "Delete")
    lose(page, "Delete hosts", "hosts")
    page.wait_for_url("**/storage/nodes")
    page.get_by_role("link", name="Disks and RAID groups").click()
    page.get_by_role("link", name="rg1").first.click()
    click(page, "Add a disk to it")
    asked = dialog(page, "Add a disk to rg1")
    choose(page, asked, "Free disk", "d2 (2 GiB, spare)")
    asked.get_by_role("button", name="Add", exact=True).click()
    expect(row(page, "d2").filter(has_text="online")).to_be_visible()
    click(page, "Delete")
    lose(page, "Delete rg1", "rg1")
    page.wait_for_url("**/storage")
    expect(page.get_by_text("There is no RAID group yet")).to_be_visible()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Replication]:
    """A source VD of which all is quickly written, and a job that replicates it."""
    made = Replication(tmp_path)
    made.size = 64 * MIB
    try:
        made.set_up()
        yield made
    finally:
        made.close()


def test_the_snapshot_space_has_a_mark_where_the_job_runs_by_itself(
    small: Replication, page: Page, picture: Picture
) -> None:
    source = small.source
    source.call("PATCH", "/virtual-disks/v1", {"snapshot_space": "128MiB"})
    small.host_writes((0, 64))
    source.call("POST", "/snapshots", {"vd": "v1", "name": "monday"}, expect=201)
    small.host_writes((0, 40))
    source.call("GET", "/virtual-disks/v1")  # has it counted, which a page that is looked at does not
    log_in(page, source)
    page.goto(f"{url(source)}/storage/virtual-disks")
    expect(page.get_by_role("img", name=re.compile(r"^40[.\d]* MiB of 128 MiB used$"))).to_be_visible()
    source.call("PUT", "/jobs/nightly/schedule", {"repeat": "daily", "times": ["02:00"]})
    marked = page.get_by_role("img", name=re.compile(r"^40[.\d]* MiB of 128 MiB used, the threshold is at 64 MiB$"))
    expect(marked.locator(".bar-mark")).to_have_attribute("style", "left: 50%;")
    picture("virtual-disks")
    page.get_by_role("link", name="v1").click()
    expect(page.get_by_text("At the mark, 64 MiB, its replication job runs by itself.")).to_be_visible()
    expect(marked).to_be_visible()
    picture("virtual-disk")
    # On a phone nothing is wider than the screen.
    page.set_viewport_size({"width": 390, "height": 844})
    pages = ("", "/raid-groups/rg1", "/virtual-disks/v1", "/nodes", "/nodes/hosts", "/virtual-disks")
    for scheme, path in ((scheme, path) for scheme in ("light", "dark") for path in pages):
        page.emulate_media(color_scheme=scheme)
        page.goto(f"{url(source)}/storage{path}")
        expect(page.locator(".listing td").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        picture(f"phone-{scheme}")
    page.goto(f"{url(source)}/storage/virtual-disks/v1")
    click(page, "Delete")
    asked = dialog(page, "Delete v1")
    asked.get_by_label("Type “v1” to confirm").fill("v1")
    asked.get_by_role("button", name="Delete v1").click()
    expect(asked.get_by_role("alert")).to_contain_text("cannot be deleted because")
    picture("phone-refused")


def test_recovery_points_are_locked_and_their_retention_is_tried_and_set(
    small: Replication, page: Page, picture: Picture
) -> None:
    target = small.target
    for _ in range(3):
        small.host_writes((0, 8))
        small.start()
        small.until("idle")
    names = [one["name"] for one in target.call("GET", "/recovery-points/b1")]
    log_in(page, target)
    page.goto(f"{url(target)}/storage/virtual-disks/b1")
    expect(page.get_by_role("heading", name="Recovery points")).to_be_visible()
    expect(page.get_by_text("Kept are the last 8, and those that are locked.")).to_be_visible()
    click(page, f"Lock or try {names[0]}")
    dialog(page, f"Operations on {names[0]}").get_by_text("Lock", exact=True).click()
    asked = dialog(page, f"Lock {names[0]}")
    asked.get_by_label("Why, such as").fill("annual accounts")
    still(page)
    wrong = judge(page, "lock", OVER)
    asked.get_by_role("button", name="Lock", exact=True).click()
    expect(row(page, "annual accounts").filter(has_text="locked")).to_be_visible()
    click(page, "Retention")
    asked = dialog(page, "Retention of b1")
    expect(asked.get_by_role("status")).to_have_text(
        "When the next cycle begins none of the 3 recovery points will go."
    )
    asked.get_by_label("Newest ones kept in any case").fill("1")
    expect(asked.get_by_role("status")).to_have_text("When the next cycle begins 1 of the 3 recovery points will go.")
    still(page)
    wrong += judge(page, "retention", OVER)
    picture("retention")
    asked.get_by_label("Hours of which").fill("-1")
    asked.get_by_role("button", name="Save").click()
    expect(asked.get_by_role("alert").filter(has_text="greater than or equal to 0")).to_be_visible()
    asked.get_by_label("Hours of which").fill("0")
    asked.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Kept are the last 1, and those that are locked.")).to_be_visible()
    expect(row(page, names[1]).filter(has_text="nothing: it goes when the next cycle begins")).to_be_visible()
    still(page)
    wrong += judge(page, "recovery points")
    picture("recovery-points")
    assert wrong == []
    small.start()
    small.until("idle")
    left = [one["name"] for one in target.call("GET", "/recovery-points/b1")]
    assert left[0] == names[0]
    assert names[1] not in left
    assert len(left) == 2
    small.check_copy()
    click(page, f"Lock or try {names[0]}")
    dialog(page, f"Operations on {names[0]}").get_by_text("Unlock", exact=True).click()
    dialog(page, f"Unlock {names[0]}").get_by_role("button", name="Unlock", exact=True).click()
    expect(row(page, "annual accounts")).to_have_count(0)
    assert target.call("GET", "/recovery-points/b1")[0]["kept_by"] == []


def test_nobody_is_offered_what_their_role_may_not_do(controller: Controller, page: Page) -> None:
    provision(controller)
    controller.call("POST", "/snapshots", {"vd": "v1", "name": "monday"}, expect=201)
    pages = {
        "/storage": "d1",
        "/storage/raid-groups/rg1": "d1",
        "/storage/virtual-disks": "v1",
        "/storage/virtual-disks/v1": "monday",
        "/storage/nodes": "hosts",
        "/storage/nodes/hosts": "v1",
    }
    operator = {"/storage/virtual-disks/v1": ["Snapshot space", "Automatic snapshots", "Take a snapshot", "OP."]}
    for name, role, offered in (("eve", "viewer", {}), ("olaf", "operator", operator)):
        controller.call("POST", "/users", {"name": name, "password": PASSWORD, "role": role}, expect=201)
        log_in(page, controller, name)
        for path, shown in pages.items():
            page.goto(url(controller) + path)
            expect(row(page, shown).first).to_be_visible()
            found = page.locator(".frame-main .panel").get_by_role("button").all_inner_texts()
            assert [one for one in found if one.strip()] == offered.get(path, []), path
        page.context.clear_cookies()
    log_in(page, controller, "olaf")
    page.goto(f"{url(controller)}/storage/virtual-disks/v1")
    click(page, "Operations on monday")
    asked = dialog(page, "Operations on monday")
    expect(asked.get_by_role("menuitem")).to_have_count(1)
    asked.get_by_text("Delete", exact=True).click()
    lose(page, "Delete monday", "monday")
    expect(page.get_by_text("It has no snapshots")).to_be_visible()
    click(page, "Automatic snapshots")
    asked = dialog(page, "Automatic snapshots of v1")
    asked.get_by_label("Minutes between two").fill("60")
    asked.get_by_label("How many are kept").fill("999")
    asked.get_by_role("button", name="Save").click()
    expect(asked.get_by_role("alert").filter(has_text="with 999 kept")).to_be_visible()
    asked.get_by_label("How many are kept").fill("2")
    asked.get_by_role("button", name="Save").click()
    expect(page.get_by_text("every 60 minutes, the newest 2 are kept")).to_be_visible()
    expect(row(page, "automatic")).to_be_visible()
    # What is gone is said once, where it was.
    page.goto(f"{url(controller)}/storage/virtual-disks/v2")
    expect(page.get_by_role("alert").filter(has_text="There is no virtual disk “v2”")).to_be_visible()
    expect(page.get_by_role("button", name="Take a snapshot")).to_have_count(0)
