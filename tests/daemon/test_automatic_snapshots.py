"""A controller takes snapshots by itself."""

from datetime import timedelta

import pytest

from qreplica.state.database import Database
from qreplica.state.models import Snapshot

from .running import Controller, eventually, provision

pytestmark = pytest.mark.root


def test_a_schedule_is_followed_also_by_a_daemon_started_later(controller: Controller) -> None:
    controller.start()
    provision(controller)
    controller.call("PUT", "/virtual-disks/v1/automatic-snapshots", {"every_minutes": 60, "keep": 1})
    (first,) = eventually(lambda: controller.call("GET", "/snapshots?vd=v1"))
    assert first["kind"] == "automatic"
    assert first["name"].startswith("auto-20")
    controller.kill()
    _make_older(controller, timedelta(hours=5))
    controller.start()
    eventually(lambda: [one for one in controller.call("GET", "/snapshots?vd=v1") if one["id"] != first["id"]])
    eventually(lambda: len(controller.call("GET", "/snapshots?vd=v1")) == 1)
    (second,) = controller.call("GET", "/snapshots?vd=v1")
    assert second["id"] != first["id"]
    assert [event["kind"] for event in controller.call("GET", "/events") if event["severity"] != "info"] == []


def _make_older(controller: Controller, age: timedelta) -> None:
    database = Database(f"sqlite:///{controller.directory / 'state' / 'qreplica.db'}")
    with database.session() as session:
        snapshot = session.query(Snapshot).one()
        assert snapshot.taken_at is not None
        snapshot.taken_at -= age
    database.dispose()
