"""A vendor, and a license of its for a subsystem that there is."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from qreplica.lab.licensing import Vendor
from qreplica.license import keys
from qreplica.license.issuing import issue
from qreplica.license.licensing import Licensing
from qreplica.license.serial import serial_of
from qreplica.state.database import Database
from qreplica.state.models import Controller, Subsystem

SERIAL = serial_of(123_456_789)
NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="session")
def trusted(key: Ed25519PrivateKey) -> dict[str, Ed25519PublicKey]:
    return {keys.fingerprint(key.public_key()): key.public_key()}


@pytest.fixture(scope="session")
def good(key: Ed25519PrivateKey) -> bytes:
    return issue(
        key,
        serial=SERIAL,
        licensee="Müller & Söhne “Backup” GmbH",
        now=NOW,
        not_before=NOW,
        expires_at=NOW + timedelta(days=365),
    )


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def passes(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    made = Vendor(tmp_path / "vendor-key.pub")
    made.make_keys()
    return made


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """The state of a subsystem with two controllers."""
    made = Database(f"sqlite:///{tmp_path / 'qreplica.db'}")
    made.upgrade()
    with made.session() as session:
        session.add(Subsystem(name="source", serial=SERIAL, iqn_prefix="iqn.2026-11.org.qreplica"))
        session.add_all([Controller(number=number, heartbeat_at=NOW) for number in (1, 2)])
    yield made
    made.dispose()


@pytest.fixture
def start(database: Database, vendor: Vendor, clock: Clock) -> Callable[[int], Licensing]:
    """Start a controller, as far as its license goes."""

    def started(number: int = 1) -> Licensing:
        made = Licensing(database, [vendor.public], number, clock)
        made.begin()
        return made

    return started
