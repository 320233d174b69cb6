"""A license on real controllers: without one nothing replicates, and it takes effect by a restart, one by one."""

import contextlib
import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from qreplica.errors import RemoteFailed

from .running import Controller, eventually, provision

pytestmark = pytest.mark.root


def test_a_license_is_in_force_after_a_restart(controller: Controller) -> None:
    controller.vendor.make_keys()
    controller.start()
    controller.set_up()
    serial = controller.call("GET", "/subsystem")["serial"]
    where = {"address": "127.0.0.1", "peer_port": controller.peer_port}
    refused = controller.call("POST", "/jobs/discover", where, expect=403)
    assert refused["type"] == "urn:qreplica:error:not-licensed"
    assert serial in refused["detail"]
    file = controller.vendor.license(serial)
    uploaded = controller.http.post("/license", content=file).json()
    assert uploaded["state"] == "needs-restart"
    assert "restart the subsystem to make the license take effect" in uploaded["message"]
    assert uploaded["controllers"] == [{"number": 1, "in_force": False, "restart_needed": True}]
    refused = controller.call("POST", "/jobs/discover", where, expect=403)
    assert refused["type"] == "urn:qreplica:error:license-needs-restart"

    before, tgtd = controller.pid, controller.tgtd()
    (asked,) = controller.call("POST", "/controllers/1/restart", expect=202)
    assert asked["restarting"] is True
    until_restarted(controller)
    assert controller.process is not None
    assert controller.process.poll() is None
    assert (controller.pid, controller.tgtd() != tgtd) == (before, True)
    license_ = controller.call("GET", "/license")
    assert license_["state"] == "in-force"
    assert license_["controllers"] == [{"number": 1, "in_force": True, "restart_needed": False}]
    assert controller.call("POST", "/jobs/discover", where)["nodes"] == []
    kinds = [event["kind"] for event in controller.call("GET", "/events")][::-1]
    order = ["license-activated", "restart-asked", "restart-begun", "controller-started"]
    assert [kind for kind in kinds if kind in order][-4:] == order
    assert controller.terminate() == 0


def controllers(controller: Controller) -> list[dict[str, Any]] | None:
    """Return the controllers as one of them lists them; None while it ends: it hangs up on whoever is idle."""
    try:
        listed: list[dict[str, Any]] = controller.call("GET", "/controllers")
    except httpx.TransportError:
        return None
    return listed


def until_restarted(controller: Controller) -> list[dict[str, Any]]:
    """Wait until all the controllers that were asked to restart are back."""

    def look() -> list[dict[str, Any]] | None:
        listed = controllers(controller)
        return listed if listed and not any(one["restarting"] for one in listed) else None

    found = eventually(look)
    assert found is not None
    return found


def held(controller: Controller) -> int:
    """Return how many descriptors of its management socket the daemon has."""
    wanted = f"socket:[{os.fstat(controller.listener.fileno()).st_ino}]"
    found = 0
    for descriptor in Path(f"/proc/{controller.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(descriptor.readlink()) == wanted
    return found


def test_each_restart_and_a_kill_find_the_same_socket(controller: Controller) -> None:
    controller.start()
    controller.set_up()
    before = held(controller)
    for _ in range(3):
        controller.call("POST", "/controllers/1/restart", expect=202)
        until_restarted(controller)
        # One that was kept once too often would be one more each time.
        assert held(controller) == before
    controller.kill()
    controller.start()
    assert controller.call("GET", "/controllers")[0]["restarting"] is False


def test_what_is_told_to_end_while_it_is_to_restart_ends(controller: Controller) -> None:
    controller.start()
    controller.set_up()
    controller.call("POST", "/controllers/1/restart", expect=202)
    controller.process.send_signal(signal.SIGTERM)
    assert controller.process.wait(60) in {0, -signal.SIGTERM}


def blocks(data: bytes) -> list[bytes]:
    return [data[at : at + 4096] for at in range(0, len(data), 4096)]


def test_both_restart_one_after_the_other_while_a_host_writes(pair: tuple[Controller, Controller]) -> None:
    """At every moment one of the two serves, and all that a host wrote by either is there."""
    first, second = pair
    for one in pair:
        one.config.write_text(one.text() + "[cluster]\nrestart_pause_seconds = 0\n")
        one.start()
    iqn = provision(first)
    second.http.headers["Authorization"] = first.http.headers["Authorization"]
    pids = [one.pid for one in pair]
    ended = threading.Event()
    seen: list[tuple[bool, bool]] = []

    def watch() -> None:
        while not ended.wait(0.01):
            serves = first.ready
            both = serves, second.ready
            if serves == first.ready:  # else they were not so at one moment
                seen.append(both)

    watcher = threading.Thread(target=watch)
    watcher.start()
    written = write = random.Random(5).randbytes(1 << 20)
    try:
        with first.log_in(iqn) as session:
            session.write(1, 0, written)
        first.call("POST", "/subsystem/restart", expect=202)
        by = 0
        while (listed := controllers(second)) is None or any(one["restarting"] for one in listed):
            try:
                with pair[by].log_in(iqn) as session:
                    write = random.Random(len(seen)).randbytes(1 << 20)
                    session.write(1, 0, write)
                    session.flush(1)
            except RemoteFailed:
                by = 1 - by
            else:
                written = write
    finally:
        ended.set()
        watcher.join()
    assert (True, True) in seen
    assert (False, True) in seen
    assert (True, False) in seen
    assert (False, False) not in seen
    assert [one.pid for one in pair] == pids
    for one in pair:
        with one.log_in(iqn) as session:
            # Of a write that was cut off any part may be there.
            found = blocks(session.read(1, 0, 1 << 20))
            assert all(one in either for one, *either in zip(found, blocks(written), blocks(write), strict=True))
    kinds = [(one["kind"], one["controller"]) for one in first.call("GET", "/events")]
    assert sorted(one for one in kinds if one[0] == "restart-begun") == [("restart-begun", 1), ("restart-begun", 2)]


def test_the_second_does_not_restart_while_the_first_is_not_back(pair: tuple[Controller, Controller]) -> None:
    first, second = pair
    for one in pair:
        one.config.write_text(one.text() + "[cluster]\nrestart_pause_seconds = 0\n")
        one.start()
    first.set_up()
    second.http.headers["Authorization"] = first.http.headers["Authorization"]
    good = first.config.read_text()
    first.config.write_text("nonsense")
    first.call("POST", "/controllers/1/restart", expect=202)
    assert first.process is not None
    assert first.process.wait(60) == 2
    second.call("POST", "/controllers/2/restart", expect=202)
    pid = second.pid
    assert [one["restarting"] for one in second.call("GET", "/controllers")] == [True, True]
    second.call("POST", "/controllers/1/restart", expect=409)
    first.config.write_text(good)
    first.start()
    back = until_restarted(first)
    assert back[1]["started_at"] > back[0]["started_at"]
    assert second.pid == pid
    assert second.process is not None
    assert second.process.poll() is None
