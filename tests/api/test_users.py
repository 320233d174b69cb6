"""Roles, users, their sessions and the audit log, as they are asked for by REST."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from qreplica.access import tickets
from qreplica.access.roles import Role
from qreplica.api.access import OPEN
from qreplica.api.operations import LEAST_ROLE

PASSWORD = "correct horse battery"
METHODS = ("get", "post", "put", "patch", "delete")


class Staff:
    """A client for each role, logged in as a user of that name."""

    def __init__(self, admin: Any, port: int) -> None:
        self.admin = admin
        self.port = port
        self.clients: list[httpx.Client] = []

    def client(self, token: str) -> httpx.Client:
        base = f"http://127.0.0.1:{self.port}/api/v1"
        headers = {"Authorization": f"Bearer {token}"}
        client = httpx.Client(base_url=base, trust_env=False, timeout=30, headers=headers)
        self.clients.append(client)
        return client

    def hire(self, name: str, role: str) -> httpx.Client:
        self.admin.call("POST", "/users", {"name": name, "role": role, "password": PASSWORD}, expect=201)
        return self.log_in(name)

    def log_in(self, name: str, password: str = PASSWORD) -> httpx.Client:
        answer = self.admin.call("POST", "/login", {"name": name, "password": password})
        assert (answer["user"], set(answer)) == (name, {"user", "role", "token", "expires_at", "idle_minutes"})
        return self.client(answer["token"])


@pytest.fixture
def staff(admin: Any, port: int) -> Iterator[Staff]:
    made = Staff(admin, port)
    yield made
    for client in made.clients:
        client.close()


def operations(world: Any) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, item in world.app.openapi()["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def test_every_operation_states_the_role_that_it_needs_or_is_open(world: Any) -> None:
    found = operations(world)
    for _, path, operation in found:
        assert (LEAST_ROLE in operation) != (path in OPEN), path
        if LEAST_ROLE in operation:
            assert operation[LEAST_ROLE] in set(Role)
            assert {"401", "403"} <= operation["responses"].keys()
    names = [operation["operationId"] for _, _, operation in found]
    assert len(set(names)) == len(names)


def test_the_roles_are_what_the_documentation_says(world: Any) -> None:
    needed = {operation["operationId"]: operation.get(LEAST_ROLE) for _, _, operation in operations(world)}
    reading = {operation["operationId"] for method, _, operation in operations(world) if method == "get"}
    own = {
        *("log_out", "change_own_password", "make_token", "log_browser_in"),
        *("revoke_own_sessions", "revoke_own_session"),
    }
    for name, role in needed.items():
        if role == "viewer":
            assert name in reading | own, name
    assert {name for name, role in needed.items() if role == "operator"} >= {
        *("create_job", "start_job", "stop_job", "delete_job", "add_path", "remove_path", "discover"),
        *("list_backup_vds", "create_snapshot", "delete_snapshot", "change_virtual_disk", "schedule_snapshots"),
        "fail_back",
    }
    assert {name for name, role in needed.items() if role == "admin"} >= {
        *("roll_back", "delete_virtual_disk", "extend_virtual_disk", "create_raid_group", "delete_disk", "set_chap"),
        *("list_users", "create_user", "list_sessions", "list_audit", "download_audit", "release_claim"),
    }


def test_a_role_that_is_too_low_is_named_and_noted(staff: Staff) -> None:
    operator = staff.hire("bob", "operator")
    answer = operator.delete("/virtual-disks/payroll")
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    problem = answer.json()
    assert problem["type"] == "urn:qreplica:error:role-too-low"
    assert (problem["fields"]["needed"], problem["fields"]["role"], problem["exit_code"]) == ("admin", "operator", 6)
    assert "www-authenticate" not in answer.headers
    assert operator.get("/users").status_code == 403
    assert operator.get("/virtual-disks").status_code == 200
    found = staff.admin.call("GET", "/audit?user=bob&refused=true")
    assert [(one["operation"], one["subject"], one["status"], one["problem"], one["role"]) for one in found] == [
        ("list_users", "/api/v1/users", 403, "role-too-low", "operator"),
        ("delete_virtual_disk", "/api/v1/virtual-disks/payroll", 403, "role-too-low", "operator"),
    ]


def test_a_role_is_asked_for_before_the_body_is_read(staff: Staff) -> None:
    viewer = staff.hire("eve", "viewer")
    answer = viewer.post("/disks", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 403
    del viewer.headers["Authorization"]
    answer = viewer.post("/disks", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 401


def test_a_change_of_role_and_disabling_count_at_once(staff: Staff) -> None:
    client = staff.hire("eve", "viewer")
    assert client.get("/users").status_code == 403
    assert staff.admin.call("PATCH", "/users/eve", {"role": "admin"})["role"] == "admin"
    assert client.get("/users").status_code == 200
    assert staff.admin.call("PATCH", "/users/eve", {"enabled": False})["enabled"] is False
    assert client.get("/disks").status_code == 401
    refused = staff.admin.call("POST", "/login", {"name": "eve", "password": PASSWORD}, expect=403)
    assert refused["type"].endswith("user-disabled")


def test_the_last_admin_stays(staff: Staff) -> None:
    for method, path, body in (
        ("PATCH", "/users/admin", {"role": "viewer"}),
        ("PATCH", "/users/admin", {"enabled": False}),
        ("DELETE", "/users/admin", None),
    ):
        assert staff.admin.call(method, path, body, expect=409)["type"].endswith("last-admin")
    staff.hire("second", "admin")
    staff.admin.call("DELETE", "/users/admin", expect=204)
    staff.admin.call("GET", "/users", expect=401)


def test_ones_own_account(staff: Staff) -> None:
    eve, elsewhere = staff.hire("eve", "viewer"), staff.log_in("eve")
    account, (session,) = eve.get("/account").json(), eve.get("/account/sessions").json()[1:]
    assert account == {"user": "eve", "role": "viewer", "session": session["id"], "token": None}
    body = {"password": "wrong", "new_password": "another horse battery"}
    assert eve.put("/account/password", json=body).json()["type"].endswith("wrong-password")
    body["password"] = PASSWORD
    assert eve.put("/account/password", json=body).status_code == 204
    assert elsewhere.get("/account").status_code == 401
    assert eve.get("/account").status_code == 200
    staff.log_in("eve", "another horse battery")


def test_tokens_are_made_used_listed_and_revoked(staff: Staff) -> None:
    bob = staff.hire("bob", "operator")
    answer = bob.post("/account/tokens", json={"name": "backup", "role": "viewer", "days": 30})
    assert answer.status_code == 201
    robot = staff.client(answer.json()["token"])
    whose = robot.get("/account").json()
    assert (whose["user"], whose["role"], whose["token"]) == ("bob", "viewer", "backup")
    assert robot.post("/jobs/nightly/start").status_code == 403
    assert robot.post("/account/tokens", json={"name": "more"}).json()["type"].endswith("login-needed")
    assert bob.post("/account/tokens", json={"name": "up", "role": "admin"}).status_code == 403
    login, token = sorted(bob.get("/account/sessions").json(), key=lambda one: one["name"] or "")
    assert (token["name"], token["role"], token["used_from"]) == ("backup", "viewer", "127.0.0.1")
    assert (login["name"], login["address"]) == (None, "127.0.0.1")
    assert "token" not in token
    everybodys = staff.admin.call("GET", "/sessions")
    assert {one["user"] for one in everybodys} == {"admin", "bob"}
    other = next(one["id"] for one in everybodys if one["user"] == "admin")
    assert bob.delete(f"/account/sessions/{other}").status_code == 404
    assert bob.delete(f"/account/sessions/{token['id']}").status_code == 204
    assert robot.get("/account").status_code == 401
    staff.admin.call("DELETE", f"/sessions/{login['id']}", expect=204)
    assert bob.get("/account").status_code == 401


def test_a_browser_is_logged_in_as_who_asks_for_it_and_a_token_may_not_ask(staff: Staff) -> None:
    bob = staff.hire("bob", "operator")
    answer = bob.post("/account/browser-login")
    assert (answer.status_code, answer.json()["seconds"]) == (201, 600)
    secret = tickets.take(answer.json()["path"].removeprefix(tickets.PATH))
    assert secret is not None
    browser = staff.client(secret)
    account = browser.get("/account").json()
    assert (account["user"], account["role"], account["token"]) == ("bob", "operator", None)
    robot = staff.client(bob.post("/account/tokens", json={"name": "robot"}).json()["token"])
    assert robot.post("/account/browser-login").json()["type"].endswith("login-needed")
    assert len(bob.get("/account/sessions").json()) == 3


def test_all_sessions_of_a_user_are_revoked(staff: Staff) -> None:
    one, other = staff.hire("bob", "operator"), staff.log_in("bob")
    one.post("/account/tokens", json={"name": "t"})
    assert one.delete("/account/sessions").status_code == 204
    assert (one.get("/account").status_code, other.get("/account").status_code) == (200, 401)
    assert len(one.get("/account/sessions").json()) == 1
    staff.admin.call("DELETE", "/users/bob/sessions", expect=204)
    assert one.get("/account").status_code == 401


def test_every_change_is_audited_with_what_was_asked_for_but_no_secret(staff: Staff) -> None:
    secret = "a-very-secret-secret"
    body = {"name": "n", "chap_user": "u", "chap_secret": secret, "initiators": ["iqn.2026-11.org.example:h"]}
    staff.admin.call("POST", "/nodes", body, expect=201)
    staff.admin.call("POST", "/nodes", body, expect=409)
    staff.admin.call("DELETE", "/nodes/n", expect=204)
    staff.admin.call("POST", "/users", {"name": "x", "role": "viewer", "password": secret}, expect=201)
    staff.admin.call("POST", "/users", {"name": "x", "role": "viewer", "password": [secret]}, expect=422)
    newest_first = staff.admin.call("GET", "/audit")
    seen = [(one["operation"], one["subject"], one["status"], one["problem"]) for one in newest_first]
    assert seen == [
        ("create_user", "/api/v1/users", 422, "request-invalid"),
        ("create_user", "/api/v1/users", 201, None),
        ("delete_node", "/api/v1/nodes/n", 204, None),
        ("create_node", "/api/v1/nodes", 409, newest_first[3]["problem"]),
        ("create_node", "/api/v1/nodes", 201, None),
        ("log_in", "/api/v1/login", 200, None),
        ("set_up", "/api/v1/setup", 204, None),
    ]
    assert json.loads(newest_first[4]["details"]) == {key: body[key] for key in ("name", "chap_user", "initiators")}
    assert json.loads(newest_first[1]["details"]) == {"name": "x", "role": "viewer"}
    assert newest_first[0]["details"] is None
    assert {one["user"] for one in newest_first} == {"admin"}
    assert {one["address"] for one in newest_first} == {"127.0.0.1"}
    assert secret not in json.dumps(newest_first)
    assert staff.admin.call("GET", "/audit?limit=1&before=2")[0]["operation"] == "set_up"


def test_failed_logins_are_audited_and_floods_of_strangers_are_not(staff: Staff) -> None:
    staff.admin.call("POST", "/login", {"name": "mallory", "password": "x"}, expect=401)
    staff.admin.call("POST", "/login", {"name": "\x1b[31m", "password": "x"}, expect=401)
    stranger = staff.client("wrong")
    for _ in range(3):
        assert stranger.post("/disks", json={}).status_code == 401
        assert stranger.post("/nothing", json={}).status_code == 404
        assert stranger.post("/login", json={}).status_code == 422
    found = staff.admin.call("GET", "/audit?refused=true")
    assert [(one["operation"], one["user"], one["role"], one["problem"]) for one in found] == [
        ("log_in", None, None, "wrong-login"),
        ("log_in", "mallory", None, "wrong-login"),
    ]


def test_what_reads_is_not_audited(staff: Staff) -> None:
    before = staff.admin.call("GET", "/audit")
    for path in ("/disks", "/users", "/nodes/nothing"):
        staff.admin.http.get(f"/api/v1{path}")
    assert staff.admin.call("GET", "/audit") == before


def test_the_audit_log_is_downloaded_whole(staff: Staff) -> None:
    for number in range(3):
        staff.admin.call("POST", "/nodes", {"name": f"n{number}"}, expect=201)
    listed = staff.admin.call("GET", "/audit?operation=create_node")
    answer = staff.admin.http.get("/api/v1/audit/download?operation=create_node&format=jsonl")
    assert [json.loads(line) for line in answer.text.splitlines()] == listed
    answer = staff.admin.http.get("/api/v1/audit/download?operation=create_node")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["details"] for row in rows] == [one["details"] for one in listed]
    assert list(rows[0]) == list(listed[0])
    nobody = staff.admin.http.get("/api/v1/audit/download?user=nobody").text
    assert nobody.splitlines() == [",".join(listed[0])]


def test_the_event_log_is_found_by_what_it_tells_and_downloaded_whole(staff: Staff) -> None:
    for name in ("bob", "bobby", "eve"):
        staff.hire(name, "viewer")
    for name in ("bob", "bobby", "eve"):
        staff.admin.call("POST", "/login", {"name": name, "password": "no"}, expect=401)
    listed = staff.admin.call("GET", "/events?contains=BOB&severity=warning")
    assert len(listed) == 2
    older = staff.admin.call("GET", f"/events?severity=warning&contains=bob&before={listed[0]['id']}")
    assert older == listed[1:]
    assert staff.admin.call("GET", "/events?contains=bob&until=2026-01-01T00:00:00Z") == []
    answer = staff.admin.http.get("/api/v1/events/download?severity=warning&contains=bob&format=jsonl")
    assert [json.loads(line) for line in answer.text.splitlines()] == listed
    answer = staff.admin.http.get("/api/v1/events/download?severity=warning&contains=bob")
    assert answer.headers["content-disposition"] == 'attachment; filename="qreplica-events.csv"'
    assert [row["message"] for row in csv.DictReader(io.StringIO(answer.text))] == [one["message"] for one in listed]
