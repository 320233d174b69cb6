"""Every failure is a problem body, whatever it is."""

import socket
from typing import Any

import pytest
import structlog.testing

from qreplica.api import disks as module
from qreplica.api.body_limit import LIMIT
from qreplica.state.errors import StateDiskFull


def test_an_unexpected_failure_tells_an_incident_that_is_in_the_log(
    admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        message = "the inner workings"
        raise RuntimeError(message)

    monkeypatch.setattr(module.disks, "listing", broken)
    with structlog.testing.capture_logs() as logs:
        answer = admin.http.get("/api/v1/disks")
    problem = answer.json()
    assert (answer.status_code, problem["type"], problem["exit_code"]) == (500, "urn:qreplica:error:internal-error", 1)
    assert "inner workings" not in answer.text
    assert "Traceback" not in answer.text
    (entry,) = logs
    assert entry["incident"] == problem["fields"]["incident"]
    assert "inner workings" in str(entry["exc_info"])


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v1/nothing"), ("GET", "/"), ("PUT", "/api/v1/disks"), ("GET", "/docs")]
)
def test_what_is_no_route_is_a_problem(admin: Any, method: str, path: str) -> None:
    answer = admin.http.request(method, path)
    assert answer.status_code == 404
    assert answer.json()["type"].endswith("no-such-route")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"nul", b'{"name": "a", "name2": 1e999}'])
def test_a_body_that_is_no_json_object_is_a_problem(admin: Any, content: bytes) -> None:
    answer = admin.http.post("/api/v1/disks", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["type"].endswith("request-invalid")


def test_a_body_that_is_too_large_is_refused_before_anybody_reads_it(stranger: Any) -> None:
    answer = stranger.http.post("/api/v1/login", content=b"x" * (LIMIT + 1))
    assert (answer.status_code, answer.json()["fields"]["limit"]) == (413, LIMIT)


def test_a_body_of_unknown_length_is_refused(stranger: Any) -> None:
    answer = stranger.http.post("/api/v1/login", content=iter([b"x" * 10]))
    assert answer.status_code == 422
    assert answer.json()["places"] == []


@pytest.mark.parametrize("length", ["-1", "+5", "1e3", "²"])
def test_a_length_that_is_no_number_is_refused(port: int, length: str) -> None:
    request = f"POST /api/v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        assert connection.recv(4096).split(b" ")[1] in {b"400", b"422"}


@pytest.mark.usefixtures("world")
def test_a_full_state_disk_is_told_as_such(admin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise StateDiskFull(place="/state/qreplica.db", free=0)

    monkeypatch.setattr(module.disks, "listing", full)
    problem = admin.call("GET", "/disks", expect=507)
    assert problem["exit_code"] == 5
