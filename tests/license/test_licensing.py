"""The license of a subsystem: in force from a start on, until it expires, on each controller by itself."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from qreplica.errors import QReplicaError
from qreplica.events import log
from qreplica.lab.licensing import Vendor
from qreplica.license import document, errors, keys
from qreplica.license.issuing import issue
from qreplica.license.licensing import LicenseState, Licensing
from qreplica.license.serial import serial_of
from qreplica.state.database import Database
from qreplica.state.models import Controller, LicenseKey, Subsystem

from .conftest import NOW, SERIAL

Start = Callable[..., Licensing]


def make(vendor: Vendor, **term: Any) -> bytes:
    return issue(keys.private(vendor.private, str), **{"serial": SERIAL, "licensee": "Example Ltd", "now": NOW, **term})


def events(database: Database) -> list[tuple[str, str]]:
    with database.session(read_only=True) as session:
        return [(one.severity.value, one.kind) for one in reversed(log.recent(session))]


def standing(licensing: Licensing) -> list[tuple[bool, bool]]:
    return [(one.in_force, one.restart_needed) for one in licensing.status().controllers]


def test_without_one_it_is_told_how_to_get_one(start: Start) -> None:
    licensing = start()
    with pytest.raises(errors.NotLicensed, match=f"{SERIAL}: obtain a license key .* “qreplica license upload FILE”"):
        licensing.require()
    status = licensing.status()
    assert (status.state, status.serial, status.license) == (LicenseState.NONE, SERIAL, None)
    assert standing(licensing) == [(False, False), (False, False)]


def test_it_takes_effect_by_a_restart_of_each_controller(start: Start, vendor: Vendor, database: Database) -> None:
    first, second = start(1), start(2)
    status = first.upload(make(vendor, days=365))
    assert status.state is LicenseState.NEEDS_RESTART
    assert "restart the subsystem to make the license take effect" in status.message
    assert standing(first) == [(False, True), (False, True)]
    for one in (first, second):
        with pytest.raises(errors.RestartNeeded, match="restart the subsystem"):
            one.require()
    first = start(1)
    first.require()
    assert standing(second) == standing(first) == [(True, False), (False, True)]
    with pytest.raises(errors.RestartNeeded, match="controller 2"):
        second.require()
    second = start(2)
    second.require()
    assert second.status().state is LicenseState.IN_FORCE
    assert second.status().message == "The license is in force until 2027-11-25T12:00:00Z."
    assert events(database) == [("info", "license-activated")]


def test_the_same_again_changes_nothing(start: Start, vendor: Vendor, database: Database) -> None:
    file = make(vendor)
    start().upload(file)
    licensing = start()
    status = licensing.upload(file)
    assert standing(licensing)[0] == (True, False)
    assert status.license == document.read(file)[0]
    assert events(database) == [("info", "license-activated")]


def test_a_renewal_leaves_the_earlier_one_in_force_until_the_restart(start: Start, vendor: Vendor, clock: Any) -> None:
    start().upload(make(vendor, days=10))
    licensing = start()
    licensing.upload(make(vendor, days=400))
    assert standing(licensing)[0] == (True, True)
    licensing.require()
    clock.passes(days=11)
    assert standing(licensing)[0] == (False, True)
    with pytest.raises(errors.RestartNeeded):
        licensing.require()
    start().require()


def test_an_earlier_one_can_be_put_back(start: Start, vendor: Vendor, database: Database) -> None:
    first, second = make(vendor), make(vendor, days=5)
    licensing = start()
    for file in (first, second, first):
        licensing.upload(file)
    assert licensing.status().license == document.read(first)[0]
    assert licensing.status().state is LicenseState.NEEDS_RESTART
    licensing = start(1)
    with database.session() as session:
        session.get_one(Controller, 2).heartbeat_at = None
    assert licensing.status().message == "The license is in force, without end."
    assert standing(licensing) == [(True, False), (False, False)]


REFUSED: dict[str, tuple[Callable[[Vendor], bytes], type[QReplicaError]]] = {
    "no license": (lambda _: b"hello", errors.NotALicense),
    "truncated": (lambda vendor: make(vendor)[:-20], errors.LicenseTruncated),
    "altered": (lambda vendor: make(vendor).replace(b"Example", b"Exemple"), errors.LicenseAltered),
    "oversized": (lambda vendor: make(vendor) + b" " * 20_000, errors.LicenseTooLarge),
    "another subsystem's": (lambda vendor: make(vendor, serial=serial_of(5)), errors.LicenseOfAnotherSubsystem),
    "not yet valid": (lambda vendor: make(vendor, not_before=NOW + timedelta(seconds=1)), errors.LicenseNotYetValid),
    "expired": (lambda vendor: make(vendor, now=NOW - timedelta(days=9), days=8), errors.LicenseExpired),
}


@pytest.mark.parametrize("which", REFUSED)
def test_what_is_refused_changes_nothing(start: Start, vendor: Vendor, database: Database, which: str) -> None:
    content, error = REFUSED[which]
    start().upload(make(vendor, days=100))
    licensing = start()
    before, told = licensing.status(), events(database)
    with pytest.raises(error):
        licensing.upload(content(vendor))
    assert licensing.status() == before
    assert events(database) == told
    licensing.require()


def test_without_a_trusted_key_nothing_is_taken(database: Database, vendor: Vendor, tmp_path: Path) -> None:
    with pytest.raises(errors.NoVendorTrusted, match="license_keys"):
        Licensing(database, [], 1).upload(make(vendor))
    with pytest.raises(errors.LicenseKeyUnusable, match="No such file"):
        Licensing(database, [tmp_path / "nowhere"], 1).upload(make(vendor))
    with pytest.raises(errors.LicenseKeyUnusable, match="no public key"):
        Licensing(database, [vendor.private], 1).upload(make(vendor))
    assert events(database) == []


def test_one_that_is_not_trusted_any_more_is_not_in_force_after_a_start(
    start: Start, vendor: Vendor, database: Database
) -> None:
    start().upload(make(vendor))
    vendor.public.unlink()
    licensing = start()
    assert licensing.obstacle() is not None
    assert events(database)[-1] == ("error", "license-not-trusted")


def test_a_copied_or_changed_state_has_no_license(start: Start, vendor: Vendor, database: Database) -> None:
    start().upload(make(vendor))
    with database.session() as session:
        session.query(Subsystem).one().serial = serial_of(9)
    assert start().obstacle() is not None
    with database.session() as session:
        session.query(Subsystem).one().serial = SERIAL
        row = session.query(LicenseKey).one()
        row.document = row.document.replace("Example", "Exemple")
    assert start().obstacle() is not None
    with database.session() as session:
        session.query(LicenseKey).one().document = "damaged"
    licensing = start()
    assert licensing.obstacle() is not None
    assert licensing.status().state is LicenseState.NONE
    licensing.tell()
    assert events(database)[-3:] == [("error", "license-not-trusted")] * 3
    licensing.upload(make(vendor))
    start().require()


def test_expiry_is_told_thirty_days_before_and_when_it_comes_once(
    start: Start, vendor: Vendor, database: Database, clock: Any
) -> None:
    start().upload(make(vendor, days=60))
    both = [start(1), start(2)]

    def tell() -> list[tuple[str, str]]:
        for one in both:
            one.tell()
            one.tell()
        return events(database)[1:]

    assert tell() == []
    clock.passes(days=30, seconds=-1)
    assert tell() == []
    clock.passes(seconds=1)
    assert tell() == [("warning", "license-expires-soon")]
    both = [start(1), start(2)]
    clock.passes(days=30, seconds=-1)
    assert tell() == [("warning", "license-expires-soon")]
    for one in both:
        one.require()
    clock.passes(seconds=1)
    assert tell() == [("warning", "license-expires-soon"), ("error", "license-expired")]
    for one in both:
        with pytest.raises(errors.LicenseRanOut, match="cycles that run are finished and no other begins"):
            one.require()
    assert both[0].status().state is LicenseState.EXPIRED
    assert both[0].status().message == str(both[0].obstacle())
    assert start().status().state is LicenseState.EXPIRED


def test_one_that_expired_while_nobody_ran_is_told_of_once_and_not_warned_of(
    start: Start, vendor: Vendor, database: Database, clock: Any
) -> None:
    start().upload(make(vendor, days=3))
    clock.passes(days=100)
    start().tell()
    start().tell()
    assert events(database)[1:] == [("error", "license-expired")]


def test_one_without_end_is_never_news(start: Start, vendor: Vendor, database: Database, clock: Any) -> None:
    start().upload(make(vendor))
    clock.passes(days=30_000)
    licensing = start()
    licensing.tell()
    licensing.require()
    assert events(database) == [("info", "license-activated")]


def test_a_clock_that_was_set_back_is_told(start: Start, vendor: Vendor, clock: Any) -> None:
    start().upload(make(vendor, not_before=NOW))
    licensing = start()
    clock.passes(hours=-1)
    with pytest.raises(errors.LicenseNotBegun, match="its clock says 2026-11-25T11:00:00Z"):
        licensing.require()
    assert licensing.status().state is LicenseState.NOT_YET_VALID
