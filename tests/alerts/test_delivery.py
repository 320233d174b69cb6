"""Who is told of which events, how often, and what becomes of those that could not be told."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select

from qreplica.alerts import channels
from qreplica.alerts.delivery import Delivery
from qreplica.alerts.errors import AlertChannelExists, AlertNotSent, AlertSecretNeeded
from qreplica.alerts.sending import Alert
from qreplica.alerts.settings import Email, Syslog
from qreplica.errors import NotFound
from qreplica.events import log
from qreplica.names import NotAName
from qreplica.state.alert_models import AlertChannel
from qreplica.state.database import Database
from qreplica.state.models import Event, Severity, Subsystem
from qreplica.state.types import Secret

SETTINGS = Syslog(server="127.0.0.1")


class World:
    def __init__(self, place: Path) -> None:
        Secret.unlock(Fernet.generate_key())
        self.database = Database(f"sqlite:///{place / 'state.db'}")
        self.database.upgrade()
        with self.database.session() as session:
            session.add(Subsystem(name="source", iqn_prefix="iqn.2026-11.org.example"))
        self.told: list[tuple[str, list[str]]] = []
        self.failing: set[str] = set()
        self.tries = 0
        self.time = 0.0
        self.delivery = self.of(1)

    def of(self, controller: int) -> Delivery:
        return Delivery(self.database, controller, send=self.send, clock=lambda: self.time)

    def send(self, name: str, settings: object, secret: str | None, subsystem: str, alerts: Sequence[Alert]) -> None:
        assert (settings, secret, subsystem) == (SETTINGS, None, "source")
        self.tries += 1
        if name in self.failing:
            raise AlertNotSent(name=name, way="a test", reason="it is to fail")
        self.told.append((name, [alert.message for alert in alerts]))

    def make(self, name: str, severity: Severity = Severity.WARNING) -> None:
        with self.database.session() as session:
            channels.create(session, name=name, settings=SETTINGS, severity=severity)

    def happen(self, *messages: str, severity: Severity = Severity.WARNING) -> None:
        with self.database.session() as session:
            for message in messages:
                log.record(session, severity, "kind", "job nightly", message)

    def channel(self, name: str) -> AlertChannel:
        with self.database.session(read_only=True) as session:
            return channels.get(session, name)

    def kinds(self) -> list[str]:
        with self.database.session(read_only=True) as session:
            return [kind for kind in session.scalars(select(Event.kind).order_by(Event.id)) if kind != "kind"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.dispose()


def test_each_is_told_once_of_what_it_is_for_and_comes_after_it_was_made(world: World) -> None:
    world.happen("before")
    world.make("all", Severity.INFO)
    world.make("bad", Severity.ERROR)
    world.happen("news", severity=Severity.INFO)
    world.happen("trouble", severity=Severity.ERROR)
    assert world.delivery.round() is False
    other = "Alerts go by syslog to 127.0.0.1:514 (udp)."
    assert world.told == [("all", [other, "news", "trouble"]), ("bad", ["trouble"])]
    world.told.clear()
    world.delivery.round()
    world.of(2).round()
    assert world.told == []
    assert world.channel("bad").last_sent_at is not None


def test_many_are_told_in_letters_of_fifty(world: World) -> None:
    world.make("team")
    world.happen(*map(str, range(120)))
    rounds = 1
    while world.delivery.round():
        rounds += 1
    assert rounds == 3
    assert [message for _, messages in world.told for message in messages] == [str(number) for number in range(120)]


def test_what_cannot_be_told_is_tried_again_ever_more_rarely_and_hinders_nobody_else(world: World) -> None:
    world.make("broken")
    world.make("team")
    world.failing.add("broken")
    world.happen("trouble")
    for _ in range(600):
        world.delivery.round()
        world.time += 1
    assert world.told == [("team", ["trouble"])]
    assert world.tries - 1 == 9  # after 0, 2, 6, 14, 30, 62, 126, 254 and 510 s
    assert world.kinds().count("alert-not-sent") == 1
    assert "it is to fail" in (world.channel("broken").error or "")
    since = world.channel("broken").failing_since
    assert since is not None
    world.failing.clear()
    world.time += 300
    world.happen("more")
    world.delivery.round()
    assert world.told[-2:] == [("broken", ["trouble", "more"]), ("team", ["more"])]
    assert (world.channel("broken").error, world.channel("broken").failing_since) == (None, None)
    assert world.kinds()[-1] == "alert-sent-again"


def test_another_controller_goes_on_where_one_stopped(world: World) -> None:
    world.make("team")
    world.happen("one")
    world.delivery.round()
    world.happen("two")
    world.of(2).round()
    world.happen("three")
    world.delivery.round()
    assert world.told == [("team", ["one"]), ("team", ["two"]), ("team", ["three"])]


def test_a_channel_made_anew_meanwhile_keeps_its_own_place(world: World) -> None:
    world.make("team")
    world.happen("one")
    send = world.send

    def swap(*arguments: object) -> None:
        send(*arguments)  # type: ignore[arg-type]
        with world.database.session() as session:
            channels.delete(session, "team")
        with world.database.session() as session:
            channels.create(session, name="team", settings=SETTINGS)

    Delivery(world.database, 1, send=swap).round()
    assert world.channel("team").last_sent_at is None
    world.delivery.round()
    assert world.told == [("team", ["one"])]


def test_channels_that_cannot_be_right_are_refused(world: World) -> None:
    world.make("team")
    mail = Email(server="m", user="q", sender="q@example.org", recipients=("a@example.org",))
    with world.database.session() as session:
        with pytest.raises(AlertChannelExists):
            channels.create(session, name="team", settings=SETTINGS)
        with pytest.raises(NotAName):
            channels.create(session, name="a/b", settings=SETTINGS)
        with pytest.raises(AlertSecretNeeded):
            channels.create(session, name="mail", settings=mail)
        with pytest.raises(NotFound):
            channels.delete(session, "mail")
        assert [one.name for one in channels.listing(session)] == ["team"]


def test_secrets_are_encrypted_at_rest(world: World, tmp_path: Path) -> None:
    mail = Email(server="m", user="q", sender="q@example.org", recipients=("a@example.org",))
    with world.database.session() as session:
        channels.create(session, name="mail", settings=mail, secret="open sesame")
    assert world.channel("mail").secret == "open sesame"
    world.database.dispose()
    assert not any(b"open sesame" in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
