"""The white paper in a browser, on a lab: license, QReplica port, backup VD, job, second path, schedule, a death."""

import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from benchmarks.files import check_equal
from qreplica.lab import lab as labs
from qreplica.lab.administration import CommandLine, login_environment
from qreplica.lab.commands import inside, run
from qreplica.lab.host import Request
from qreplica.lab.licensing import Vendor
from qreplica.lab.parts import Parts
from qreplica.lab.topology import TESTS, Lab, Side
from qreplica.units import MIB

from .clicks import choose, click, dialog, row
from .conftest import PATIENCE, WIDE

Picture = Callable[[str], None]
pytestmark = [pytest.mark.root, pytest.mark.e2e]
expect.set_options(timeout=PATIENCE)
SIZE, WRITTEN = 256 * MIB, 48 * MIB
CHAP = ("replica", secrets.token_hex(8))


class Two:
    """The two subsystems of a lab; the administrator's password is the lab's."""

    def __init__(self, lab: Lab, urls: dict[Side, str]) -> None:
        self.lab = lab
        self.urls = urls
        self.source, self.target = (CommandLine(lab, side) for side in Side)
        self._secret_file = lab.directory / "secret"
        self._secret_file.touch(0o600)
        self._secret_file.write_text(CHAP[1])

    def url(self, number: int) -> str:
        """Where a controller of the source is managed."""
        found = {(one.subsystem, one.number): one.url for one in labs.state(self.lab)}
        return str(found[Side.SOURCE, number])

    def address(self, side: Side, number: int) -> str:
        """The address of the first port of a controller."""
        return self.lab.controller(side, number).ports[0].address

    def prepare(self) -> None:
        """Make what the white paper takes for granted: RGs, a VD that a host writes, nodes."""
        chap = ("--chap-user", CHAP[0], "--chap-secret-file", str(self._secret_file))
        for there, node in ((self.source, "host"), (self.target, "backups")):
            there("rg", "create", "rg1", "--level", "raid1", "--disk", "disk1", "--disk", "disk2")
            there("node", "create", node, *chap)
        self.source("vd", "create", "payroll", "--rg", "rg1", "--size", str(SIZE))
        self.source("lun", "create", "host", "payroll", "--lun", "1")

    def host_writes(self, seed: bytes) -> None:
        """Have a host write all of the first bytes of the VD."""
        image = self.lab.directory / "image"
        image.write_bytes((seed * (WRITTEN // len(seed) + 1))[:WRITTEN])
        request = Request(
            verb="write-image",
            address=self.address(Side.SOURCE, 1),
            node=self.source("node", "show", "host")["iqn"],
            chap_user=CHAP[0],
            chap_secret=CHAP[1],
            image=image,
        )
        argv = inside(self.lab.host, sys.executable, "-m", "qreplica.lab.host")
        run(argv, stdin=request.model_dump_json(), env=login_environment(self.lab), timeout=120)

    def file(self, side: Side, vd: str) -> Path:
        """The file that is a VD."""
        there = self.source if side is Side.SOURCE else self.target
        (group,) = (one for one in (self.lab.controller(side).state_dir / "rg").iterdir() if one.is_dir())
        return group / "vds" / str(there("vd", "show", vd)["id"]) / "live" / "disk"


@pytest.fixture
def two() -> Iterator[Two]:
    """A lab whose source has no license yet."""
    lab = Lab(f"w{os.getpid()}", TESTS)
    with labs.passing(lab, print, licensed=False) as urls:
        yield Two(lab, urls)


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A window of a browser, which may well complain when its controller is away."""
    context = chromium.new_context(viewport=WIDE, service_workers="block", ignore_https_errors=True)
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


def log_in(page: Page, two: Two, url: str) -> None:
    page.goto(f"{url}/login")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(two.lab.password_file.read_text().strip())
    click(page, "Log in")
    page.wait_for_url(f"{url}/")


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 2 * PATIENCE / 1000
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def next_(asked: Locator) -> None:
    asked.get_by_role("button", name="Next").locator("visible=true").click()


def alert(asked: Locator, text: str) -> None:
    expect(asked.get_by_role("alert").filter(has_text=text)).to_be_visible()


def test_the_whole_paper(two: Two, page: Page, picture: Picture) -> None:
    two.prepare()
    log_in(page, two, two.urls[Side.TARGET])
    _make_the_backup_vd(page)
    source = two.url(1)
    log_in(page, two, source)
    _activate_the_license(page, two)
    _enable_the_qreplica_port(page, picture)
    _be_told_that_space_is_short(page, two)
    _make_the_job(page, two, picture)
    two.host_writes(b"first ")
    _start(page)
    done = row(page, "payroll-job").filter(has_text="idle")
    expect(done).not_to_contain_text("no copy yet")
    check_equal(two.file(Side.SOURCE, "payroll"), two.file(Side.TARGET, "payroll-copy"), WRITTEN)
    _add_a_second_path(page, two, picture)
    _schedule(page)
    _configure(page, picture)
    _be_told_that_the_node_is_taken(page, two)
    two.host_writes(b"second ")
    _see_a_controller_die_in_the_middle(page, two)
    check_equal(two.file(Side.SOURCE, "payroll"), two.file(Side.TARGET, "payroll-copy"), WRITTEN)


def _make_the_backup_vd(page: Page) -> None:
    page.get_by_role("link", name="Storage", exact=True).click()
    page.get_by_role("link", name="Virtual disks", exact=True).click()
    click(page, "Make a virtual disk")
    asked = dialog(page, "Make a virtual disk")
    asked.get_by_label("Name of the virtual disk").fill("payroll-copy")
    asked.get_by_label("Size, such as").fill("256MiB")
    asked.get_by_text("BACKUP").first.click()
    asked.get_by_role("button", name="Make", exact=True).click()
    page.get_by_role("link", name="payroll-copy").click()
    click(page, "Attach to an iSCSI node")
    asked = dialog(page, "Attach payroll-copy")
    expect(asked).to_contain_text("backups")
    asked.get_by_role("button", name="Attach", exact=True).click()
    expect(page.get_by_text("“payroll-copy” is LUN 1 of iSCSI node “backups”.")).to_be_visible()


def _activate_the_license(page: Page, two: Two) -> None:
    page.get_by_role("link", name="QReplica license").click()
    serial = two.source("subsystem", "show")["serial"]
    expect(page.get_by_text(serial).first).to_be_visible()
    content = Vendor(two.lab.vendor_public_key).license(serial, days=365)
    upload = {"name": "my.license", "mimeType": "application/json", "buffer": content}
    page.locator("input[type=file]").set_input_files(upload)  # type: ignore[arg-type] # a file of our own making
    click(page, "Upload")
    asked = dialog(page, "Restart the subsystem")
    expect(asked).to_contain_text("restart the subsystem to make the license take effect")
    asked.get_by_role("button", name="Restart now").click()
    until(lambda: all(one["in_force"] for one in two.source("license", "show")["controllers"]))
    page.reload()
    expect(page.get_by_text("The license is in force")).to_be_visible()


def _enable_the_qreplica_port(page: Page, picture: Picture) -> None:
    page.get_by_role("link", name="Network").click()
    click(page, "Operations of port 4 of controller 1")
    page.get_by_role("menu").get_by_text("Enable QReplica").click()
    dialog(page, "Enable QReplica").get_by_role("button", name="Enable QReplica").click()
    expect(page.get_by_text("QReplica port", exact=True)).to_have_count(2)
    expect(page.get_by_role("dialog")).to_have_count(0)
    picture("network")


def _be_told_that_space_is_short(page: Page, two: Two) -> None:
    two.source("vd", "create", "archive", "--rg", "rg1", "--size", "8GiB")
    page.get_by_role("link", name="QReplica", exact=True).click()
    click(page, "Create")
    asked = dialog(page, "Create a replication job")
    expect(asked.get_by_text("archive: There is not enough space for the creation")).to_be_visible()
    expect(asked.get_by_text("needs 16 GiB (2 times its size)")).to_be_visible()
    asked.get_by_role("button", name="Cancel").click()
    two.source("vd", "delete", "archive", "--yes")


def _make_the_job(page: Page, two: Two, picture: Picture) -> None:
    click(page, "Create")
    asked = dialog(page, "Create a replication job")
    asked.get_by_text("payroll (256 MiB)").click()
    asked.get_by_label("Name of the job").fill("payroll-job")
    next_(asked)
    asked.get_by_label("IP address of the iSCSI port").fill("nowhere")
    next_(asked)
    alert(asked, "nowhere")
    asked.get_by_label("IP address of the iSCSI port").fill(two.address(Side.TARGET, 1))
    next_(asked)
    asked.get_by_label("CHAP name").fill(CHAP[0])
    asked.get_by_label("CHAP secret").fill("not-the-secret")
    next_(asked)
    alert(asked, "CHAP")
    asked.get_by_label("CHAP secret").fill(CHAP[1])
    next_(asked)
    asked.get_by_text("LUN 1: payroll-copy (256 MiB)").click()
    picture("create-job")
    asked.get_by_role("button", name="Create").click()
    expect(row(page, "payroll-job")).to_contain_text("no copy yet")


def _start(page: Page) -> None:
    click(page, "Operations on payroll-job")
    dialog(page, "Operations on payroll-job").get_by_text("Start", exact=True).click()
    dialog(page, "Start payroll-job").get_by_role("button", name="Start").click()


def _operate(page: Page, operation: str) -> None:
    click(page, "Operations on this job")
    dialog(page, "Operations on payroll-job").get_by_text(operation, exact=True).click()


def _add_a_second_path(page: Page, two: Two, picture: Picture) -> None:
    page.get_by_role("link", name="payroll-job").click()
    _operate(page, "Create multi-path")
    asked = dialog(page, "Create multi-path on payroll-job")
    asked.get_by_label("IP address of the iSCSI port").fill(two.address(Side.TARGET, 2))
    next_(asked)
    asked.get_by_label("CHAP name").fill(CHAP[0])
    asked.get_by_label("CHAP secret").fill(CHAP[1])
    next_(asked)
    asked.get_by_text("LUN 1: payroll-copy").click()
    picture("multi-path")
    asked.get_by_role("button", name="Add the path").click()
    expect(page.get_by_text("standby", exact=True)).to_have_count(2)


def _schedule(page: Page) -> None:
    _operate(page, "Schedule")
    asked = dialog(page, "Schedule of payroll-job")
    asked.get_by_role("button", name="By month").click()
    choose(page, asked, "Days of the month", "31", among_several=True)
    expect(asked.get_by_text(re.compile("^Runs every month on the 31st, or the month's last day"))).to_be_visible()
    asked.get_by_role("button", name="Save").click()
    expect(page.get_by_text("every month on the 31st").first).to_be_visible()


def _configure(page: Page, picture: Picture) -> None:
    page.get_by_role("link", name="QReplica", exact=True).click()
    click(page, "Configuration")
    asked = dialog(page, "QReplica configuration")
    expect(asked.get_by_label("Snapshot space, in sizes of the source VD")).to_have_value("2")
    asked.get_by_label("Snapshot threshold, in percent").fill("0")
    asked.get_by_role("button", name="Save").click()
    alert(asked, "threshold")
    asked.get_by_label("Snapshot threshold, in percent").fill("60")
    asked.get_by_text("Restart the job an hour later if it failed").click()
    picture("configuration")
    asked.get_by_role("button", name="Save").click()
    expect(asked).to_have_count(0)


def _be_told_that_the_node_is_taken(page: Page, two: Two) -> None:
    two.source("vd", "create", "other", "--rg", "rg1", "--size", "64MiB")
    click(page, "Create")
    asked = dialog(page, "Create a replication job")
    asked.get_by_text("other (64 MiB)").click()
    expect(asked.get_by_text("payroll: ")).to_be_visible()
    next_(asked)
    asked.get_by_label("IP address of the iSCSI port").fill(two.address(Side.TARGET, 1))
    next_(asked)
    expect(asked.get_by_text("QReplica does not log on to the same node twice")).to_be_visible()
    asked.get_by_role("button", name="Back").locator("visible=true").click()
    page.keyboard.press("Escape")
    page.reload()


def _see_a_controller_die_in_the_middle(page: Page, two: Two) -> None:
    """Kill the first controller of the source, whose job the other one ends, and look there."""
    page.get_by_role("link", name="payroll-job").click()
    _operate(page, "Edit")
    asked = dialog(page, "Edit payroll-job")
    asked.get_by_label("Bandwidth limit, in MiB a second").fill("2")
    asked.get_by_label("RPO goal, in minutes").fill("30")
    asked.get_by_role("button", name="Save").click()
    expect(asked).to_have_count(0)
    _operate(page, "Start")
    dialog(page, "Start payroll-job").get_by_role("button", name="Start").click()
    expect(page.get_by_text("transfer")).to_be_visible()
    (first,) = Parts(two.lab).daemon(Side.SOURCE, 1)
    os.kill(first, signal.SIGKILL)
    other = two.url(2)
    log_in(page, two, other)
    page.goto(f"{other}/qreplica/payroll-job")
    expect(page.get_by_text("transfer")).to_be_visible()
    expect(page.get_by_text("(goal 30m)")).to_be_visible()
    _operate(page, "Edit")
    asked = dialog(page, "Edit payroll-job")
    asked.get_by_label("Bandwidth limit, in MiB a second").fill("")
    asked.get_by_role("button", name="Save").click()
    expect(page.get_by_role("row").filter(has_text="committed")).to_have_count(2)
    page.goto(f"{other}/")
    expect(page.locator("section.controller").first).not_to_contain_text("online")
    expect(page.locator("section.controller").last).to_contain_text("runs the jobs of controller 1 too")
