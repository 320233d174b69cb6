"""Alert channels by REST."""

import socket
from typing import Any

import pytest


def test_a_channel_is_made_tried_and_deleted(admin: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        settings = {"kind": "syslog", "server": "127.0.0.1", "port": server.getsockname()[1]}
        made = admin.call("POST", "/alerts", {"name": "log", "settings": settings}, expect=201)
        assert (made["severity"], made["authenticated"], made["error"]) == ("warning", False, None)
        assert admin.call("GET", "/alerts") == [made]
        admin.call("POST", "/alerts/log/test", expect=204)
        assert b"This is a test of alert channel" in server.recv(65536)
    admin.call("POST", "/alerts", {"name": "log", "settings": settings}, expect=409)
    admin.call("DELETE", "/alerts/log", expect=204)
    admin.call("DELETE", "/alerts/log", expect=404)
    admin.call("POST", "/alerts/log/test", expect=404)


def test_a_channel_that_cannot_be_reached_says_so_and_no_secret_is_told(admin: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {"kind": "webhook", "url": f"http://127.0.0.1:{port}/"}
    made = admin.call("POST", "/alerts", {"name": "hook", "settings": settings, "secret": "open sesame"}, expect=201)
    assert made["authenticated"] is True
    problem = admin.call("POST", "/alerts/hook/test", expect=502)
    assert problem["type"].endswith(":alert-not-sent")
    assert "open sesame" not in str(admin.call("GET", "/alerts")) + str(problem)


def test_a_channel_of_no_kind_is_refused(admin: Any) -> None:
    admin.call("POST", "/alerts", {"name": "x", "settings": {"kind": "pigeon"}}, expect=422)
    admin.call("POST", "/alerts", {"name": "a/b", "settings": {"kind": "syslog", "server": "m"}}, expect=422)
    mail = {"kind": "email", "server": "m", "user": "q", "sender": "q@example.org", "recipients": ["a@example.org"]}
    problem = admin.call("POST", "/alerts", {"name": "mail", "settings": mail}, expect=422)
    assert problem["type"].endswith(":alert-secret-needed")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": "syslog", "server": ""}, "no name or address of a server, such as"),
        ({"kind": "syslog", "server": "box\n"}, "no name or address of a server, such as"),
        ({"kind": "webhook", "url": "box"}, "no HTTP address, such as"),
        ({"kind": "email", "server": "m", "sender": "q", "recipients": ["a@b"]}, "no mail address, such as"),
    ],
)
def test_an_address_that_is_none_is_refused_in_words(admin: Any, settings: dict[str, Any], told: str) -> None:
    problem = admin.call("POST", "/alerts", {"name": "x", "settings": settings}, expect=422)
    assert told in problem["detail"]
