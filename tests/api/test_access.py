"""Who is let in, and where."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from qreplica.api.access import OPEN

#: What each open operation answers to an empty request.
OPEN_ANSWERS = {
    ("GET", "/api/v1/setup"): 200,
    ("POST", "/api/v1/setup"): 422,
    ("POST", "/api/v1/login"): 422,
    ("GET", "/api/v1/health"): 200,
    ("GET", "/api/v1/openapi.json"): 200,
    ("GET", "/metrics"): 401,
}


def routes(world: Any) -> list[tuple[str, str]]:
    """Return every method and path that the application really answers, whatever its description says."""

    def walk(found: list[Any]) -> Iterator[tuple[str, str]]:
        for route in found:
            included = getattr(route, "original_router", None)
            if included is not None:
                yield from walk(included.routes)
            else:
                yield from ((method, route.path) for method in route.methods - {"HEAD"})

    described = [(method.upper(), path) for path, item in world.app.openapi()["paths"].items() for method in item]
    return sorted({*walk(world.app.routes), *described})


def filled(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: "1" if match[1] == "number" else "anything", path)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}])
def test_every_route_but_the_listed_ones_answers_401_without_a_token(
    world: Any, stranger: Any, headers: dict[str, str]
) -> None:
    walked = routes(world)
    assert len(walked) >= 40
    for method, path in walked:
        answer = stranger.http.request(method, filled(path), headers=headers)
        expected = OPEN_ANSWERS.get((method, path), 401)
        assert answer.status_code == expected, (method, path, answer.text)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
        if answer.status_code == 401:
            assert answer.headers["www-authenticate"] == "Bearer"


def test_the_list_of_open_routes_is_what_is_open(world: Any) -> None:
    assert set(OPEN) == {path for _, path in OPEN_ANSWERS}
    assert set(OPEN_ANSWERS) <= set(routes(world))


def test_health_tells_nothing(stranger: Any) -> None:
    assert stranger.call("GET", "/health") == {"status": "ok"}


def test_setup_works_once_and_login_gives_a_token_that_logout_ends(world: Any, stranger: Any) -> None:
    stranger.set_up(world)
    assert not (world.directory / "setup-secret").exists()
    assert stranger.call("GET", "/disks") == []
    problem = stranger.call("POST", "/setup", {"setup_secret": "x", "name": "b", "password": "y" * 12}, expect=409)
    assert problem["type"] == "urn:qreplica:error:already-set-up"
    stranger.call("POST", "/logout", expect=204)
    assert stranger.call("GET", "/disks", expect=401)["exit_code"] == 6


def test_a_wrong_setup_secret_and_a_short_password_are_refused(world: Any, stranger: Any) -> None:
    body = {"setup_secret": "wrong", "name": "admin", "password": "long enough it is"}
    assert stranger.call("POST", "/setup", body, expect=401)["type"].endswith("wrong-setup-secret")
    body = {"setup_secret": world.setup_secret, "name": "admin", "password": "too short"}
    assert stranger.call("POST", "/setup", body, expect=422)["type"].endswith("password-too-short")


def test_failed_logins_are_slowed_with_retry_after_and_logged_as_events(admin: Any) -> None:
    body = {"name": "admin", "password": "not the password"}
    for _ in range(5):
        assert admin.http.post("/api/v1/login", json=body).status_code == 401
    slowed = admin.http.post("/api/v1/login", json=body)
    assert slowed.status_code == 429
    assert 1 <= int(slowed.headers["retry-after"]) <= 2
    events = admin.call("GET", "/events?severity=warning")
    assert [event["kind"] for event in events] == ["login-failed"] * 5


def test_no_secret_is_in_any_answer_or_problem(admin: Any) -> None:
    secret = "a-very-secret-secret"
    node = {"name": "n", "chap_user": "u", "chap_secret": secret}
    answers = [
        admin.http.post("/api/v1/nodes", json=node),
        admin.http.get("/api/v1/nodes/n"),
        admin.http.post("/api/v1/nodes", json={**node, "bogus": 1}),
        admin.http.post("/api/v1/nodes", json={**node, "chap_secret": [secret]}),
        admin.http.post("/api/v1/nodes", json={"name": "m", "chap_secret": secret}),
        admin.http.post("/api/v1/login", json={"name": "admin", "password": secret}),
        admin.http.get("/api/v1/events"),
    ]
    assert [answer.status_code for answer in answers] == [201, 200, 422, 422, 422, 401, 200]
    for answer in answers:
        assert secret not in answer.text


def test_the_metrics_token_opens_the_metrics_and_nothing_else(world: Any, stranger: Any) -> None:
    file = world.directory / "metrics-token"
    assert file.stat().st_mode & 0o777 == 0o600
    headers = {"Authorization": f"Bearer {file.read_text().strip()}"}
    assert stranger.http.get("/metrics", headers=headers).status_code == 200
    assert stranger.http.get("/api/v1/disks", headers=headers).status_code == 401


def test_an_administrators_token_reads_the_metrics_too(admin: Any) -> None:
    assert admin.http.get("/metrics").status_code == 200
