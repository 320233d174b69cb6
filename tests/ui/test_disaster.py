"""The worst day in a browser: the copy is promoted, and the side that comes back gives way to it."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from ..daemon.running import HOST  # noqa: TID252
from ..faults.conftest import Replication  # noqa: TID252 - two whole subsystems
from .clicks import click, dialog
from .conftest import PATIENCE, log_in, url

pytestmark = pytest.mark.root
expect.set_options(timeout=PATIENCE)


def test_the_copy_is_promoted_and_the_old_side_gives_way(both: Replication, page: Page) -> None:
    source, target = both.source, both.target
    both.make_job()
    both.host_writes((0, 8))
    both.start()
    both.until("idle")
    log_in(page, target)
    page.goto(f"{url(target)}/storage/virtual-disks/b1")
    click(page, "Promote")
    asked = dialog(page, "Promote b1")
    expect(asked).to_contain_text("Left behind is everything written to the source after the snapshot of generation 1")
    promote = asked.get_by_role("button", name="Promote", exact=True)
    expect(promote).to_be_disabled()
    asked.get_by_label("Type “b1” to confirm").fill("b1")
    promote.click()
    expect(page.get_by_text("“b1” was promoted: attach it to the iSCSI node of its hosts.")).to_be_visible()
    expect(page.get_by_role("button", name="Promote", exact=True)).to_have_count(0)
    assert target.call("GET", "/virtual-disks/b1")["type"] == "RAID"

    both.host_writes((4, 2))
    source.call("DELETE", "/luns/hosts/1", expect=204)
    log_in(page, source)
    page.goto(f"{url(source)}/qreplica/nightly")
    click(page, "Operations on this job")
    dialog(page, "Operations on nightly").get_by_text("Start", exact=True).click()
    dialog(page, "Start nightly").get_by_role("button", name="Start").click()
    expect(page.get_by_text("superseded", exact=True)).to_be_visible()
    expect(page.get_by_text("keep hosts off the source VD").first).to_be_visible()
    click(page, "Operations on this job")
    dialog(page, "Operations on nightly").get_by_text("Give way to the promoted copy").click()
    asked = dialog(page, "Give way of v1")
    expect(asked).to_contain_text("goes back to generation 1")
    expect(asked).to_contain_text(", 2 MiB")
    asked.get_by_label("Type “v1” to confirm").fill("v1")
    asked.get_by_role("button", name="Give way", exact=True).click()
    page.wait_for_url("**/storage/virtual-disks/v1")
    expect(page.get_by_role("definition").filter(has_text="BACKUP")).to_be_visible()
    expect(page.get_by_text("before-rollback-")).to_be_visible()


def test_a_planned_failover_is_followed_to_its_end(
    both: Replication, page: Page, picture: Callable[[str], None]
) -> None:
    source, target = both.source, both.target
    both.make_job()
    both.host_writes((0, 8))
    both.start()
    both.until("idle")
    both.host_writes((4, 2))
    log_in(page, source)
    page.goto(f"{url(source)}/qreplica/nightly")
    click(page, "Operations on this job")
    dialog(page, "Operations on nightly").get_by_text("Planned failover").click()
    expect(page.get_by_text("hosts can only read “v1” on iSCSI node hosts from now on")).to_be_visible()
    begin = page.get_by_role("button", name="Fail over", exact=True)
    expect(begin).to_be_disabled()
    page.get_by_label("Type “v1” to confirm").fill("v1")
    begin.click()
    expect(page.get_by_text("The roles are swapped")).to_be_visible()
    expect(page.get_by_text("0 bytes were lost")).to_be_visible()
    expect(page.get_by_text("under way")).to_have_count(0)
    picture("failover")
    page.get_by_role("link", name="Show “v1”").click()
    page.wait_for_url("**/storage/virtual-disks/v1")
    expect(page.get_by_role("definition").filter(has_text="BACKUP")).to_be_visible()
    assert target.call("GET", "/virtual-disks/b1")["type"] == "RAID"


def test_a_recovery_point_is_tried_while_replication_goes_on(
    both: Replication, page: Page, picture: Callable[[str], None]
) -> None:
    target = both.target
    both.make_job()
    both.host_writes((0, 8))
    both.start()
    both.until("idle")
    (point,) = target.call("GET", "/recovery-points/b1")
    iqn = target.call("POST", "/nodes", {"name": "rehearsal", "initiators": [HOST]}, expect=201)["iqn"]
    log_in(page, target)
    page.goto(f"{url(target)}/storage/virtual-disks/b1")
    click(page, f"Lock or try {point['name']}")
    dialog(page, f"Operations on {point['name']}").get_by_text("Test mount").click()
    asked = dialog(page, f"Test mount of {point['name']}")
    asked.get_by_label("iSCSI node").click()
    page.get_by_role("option", name="rehearsal").click()
    asked.get_by_role("button", name="Make a test mount").click()
    page.wait_for_url("**/storage/virtual-disks/b1-test-1")
    expect(page.get_by_text("Test mount of generation 1, rehearsal/1, made by admin")).to_be_visible()
    with target.log_in(iqn) as session:
        assert session.read(1, 0, 4096) == copied(both, 4096)
        session.write(1, 0, b"test" * 1024)
        session.flush(1)
        both.host_writes((4, 2))
        both.start()
        both.until("idle")
        both.check_copy()
        assert session.read(1, 0, 4096) == b"test" * 1024
    page.goto(f"{url(target)}/storage/virtual-disks/b1")
    expect(page.get_by_text("in-use")).to_be_visible()
    expect(page.get_by_role("link", name="b1-test-1")).to_be_visible()
    picture("test-mount")
    page.get_by_role("link", name="b1-test-1").click()
    page.wait_for_url("**/storage/virtual-disks/b1-test-1")
    click(page, "End the test mount")
    asked = dialog(page, "End b1-test-1")
    asked.get_by_label("Type “b1-test-1” to confirm").fill("b1-test-1")
    asked.get_by_role("button", name="End b1-test-1").click()
    page.wait_for_url("**/storage/virtual-disks/b1")
    assert target.call("GET", "/test-mounts") == []
    assert [one["name"] for one in target.call("GET", "/virtual-disks")] == ["b1"]
    both.check_copy()

    log_in(page, both.source)
    page.goto(f"{url(both.source)}/qreplica/nightly")
    expect(page.get_by_text("The copy was never compared with what was replicated.")).to_be_visible()
    click(page, "Verify")
    dialog(page, "Verify the copy of nightly").get_by_role("button", name="Verify", exact=True).click()
    expect(page.get_by_text("512 MiB of generation 2 were the same on both sides")).to_be_visible()
    picture("verification")


def copied(both: Replication, length: int) -> bytes:
    """What the host reads at the beginning of the source VD."""
    with both.source.log_in(both.iqn) as session:
        return session.read(1, 0, length)
