"""Users, tokens, sessions and the audit log on the command line."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from qreplica.access import tickets

PASSWORD = "correct horse battery"
NEXT = "another horse battery"


@pytest.fixture
def of_bob(logged_in: Any, url: str, tmp_path: Path) -> Any:
    """Give a second person's shell, logged in as operator “bob”."""
    logged_in.run("user", "create", "bob", "operator", QREPLICA_PASSWORD=PASSWORD)
    home = tmp_path / "bob"
    home.mkdir()
    shell = type(logged_in)(home)
    shell.run("--url", url, "login", "--name", "bob", QREPLICA_PASSWORD=PASSWORD)
    return shell


def test_users_are_made_changed_and_deleted(logged_in: Any, of_bob: Any) -> None:
    rows = [line.split()[:3] for line in logged_in.run("user", "list").out.splitlines()[2:]]
    assert rows == [["admin", "admin", "enabled"], ["bob", "operator", "enabled"]]
    assert "has the role viewer now" in logged_in.run("user", "role", "bob", "viewer").out
    assert "needs the role operator" in of_bob.run("job", "start", "nightly", code=6).err
    assert "is disabled now" in logged_in.run("user", "disable", "bob").out
    of_bob.run("vd", "list", code=6)
    assert "is disabled: ask an admin" in of_bob.run("login", "--name", "bob", code=6, QREPLICA_PASSWORD=PASSWORD).err
    logged_in.run("user", "enable", "bob")
    of_bob.run("login", "--name", "bob", QREPLICA_PASSWORD=PASSWORD)
    assert logged_in.run("user", "delete", "bob", code=4).err.startswith("Error: Nothing was done")
    logged_in.run("user", "delete", "bob", "--yes")
    of_bob.run("vd", "list", code=6)
    assert "only enabled admin" in logged_in.run("user", "delete", "admin", "--yes", code=4).err
    assert logged_in.run("user", "create", "x", "root", code=2, QREPLICA_PASSWORD=PASSWORD)


def test_passwords_are_changed_by_their_owner_or_an_admin(logged_in: Any, of_bob: Any) -> None:
    ended = of_bob.run(
        "user", "password", "--password-file", "-", "--new-password-file", "-", stdin=f"{PASSWORD}\n{NEXT}\n"
    )
    assert "Your password was changed" in ended.out
    of_bob.run("login", "--name", "bob", QREPLICA_PASSWORD=NEXT)
    assert "needs the role admin" in of_bob.run("user", "password", "admin", code=6, QREPLICA_PASSWORD=NEXT).err
    logged_in.run("user", "password", "bob", "--password-file", "-", stdin=f"{PASSWORD}\n")
    of_bob.run("vd", "list", code=6)
    of_bob.run("login", "--name", "bob", QREPLICA_PASSWORD=PASSWORD)
    ended = of_bob.run("user", "password", code=6, QREPLICA_PASSWORD="wrong", QREPLICA_NEW_PASSWORD=NEXT)
    assert "present one is not right" in ended.err
    assert "QREPLICA_NEW_PASSWORD" in of_bob.run("user", "password", code=2, QREPLICA_PASSWORD=PASSWORD).err


def test_a_password_is_asked_for_twice_without_echo(logged_in: Any) -> None:
    questions = [("Password for “eve”: ", PASSWORD), ("Repeat for confirmation: ", PASSWORD)]
    shown = logged_in.talk("user", "create", "eve", "viewer", answers=questions)
    assert "User “eve” was made" in shown
    assert PASSWORD not in shown


def test_a_token_is_printed_once_alone_and_can_be_revoked(of_bob: Any, port_of: Any) -> None:
    ended = of_bob.run("token", "create", "robot", "--days", "7")
    token = ended.out.strip()
    assert len(token) == 43
    assert "not shown again" in ended.err
    whose = port_of(token)
    assert (whose["user"], whose["role"], whose["token"]) == ("bob", "viewer", "robot")
    assert "cannot have the role admin" in of_bob.run("token", "create", "up", "--role", "admin", code=6).err
    (row,) = of_bob.run("token", "list", "--json").json()
    assert (row["name"], row["role"]) == ("robot", "viewer")
    assert token not in of_bob.run("token", "list").out
    of_bob.run("token", "revoke", "robot")
    assert port_of(token)["status"] == 401
    assert "You have no token “robot”" in of_bob.run("token", "revoke", "robot", code=3).err


def test_a_browsers_address_is_printed_alone_on_one_line(of_bob: Any, port_of: Any, url: str) -> None:
    (line,) = of_bob.run("web", COLUMNS="40").out.splitlines()
    assert line.startswith(url + tickets.PATH)
    token = tickets.take(line.rpartition("/")[2])
    account = port_of(token)
    assert (account["user"], account["role"], account["token"]) == ("bob", "operator", None)
    assert of_bob.run("web", "--json").json()["url"].startswith(url + tickets.PATH)


@pytest.fixture
def port_of(url: str) -> Any:
    """Give what tells whose a token is."""
    import httpx  # noqa: PLC0415 - here alone

    def ask(token: str) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{url}/api/v1/account", headers=headers, trust_env=False).json()

    return ask


def test_sessions_are_listed_and_revoked(logged_in: Any, of_bob: Any) -> None:
    of_bob.run("session", "list", "--all", code=6)
    (own,) = of_bob.run("session", "list", "--json").json()
    assert own["id"] in logged_in.run("session", "list", "--all", "--json").out
    assert "give one of an id" in of_bob.run("session", "revoke", code=2).err
    of_bob.run("token", "create", "robot")
    of_bob.run("session", "revoke", "--others")
    assert of_bob.run("token", "list").out.strip() == "There are none."
    logged_in.run("session", "revoke", own["id"])
    of_bob.run("session", "list", code=6)
    of_bob.run("login", "--name", "bob", QREPLICA_PASSWORD=PASSWORD)
    logged_in.run("session", "revoke", "--user", "bob")
    of_bob.run("session", "list", code=6)


def test_the_audit_log_is_shown_and_downloaded(logged_in: Any, of_bob: Any, tmp_path: Path) -> None:
    of_bob.run("user", "list", code=6)
    logged_in.run("node", "create", "one")
    table = logged_in.run("audit", "list", COLUMNS="200").out
    assert table.index("create_node") > table.index("list_users")
    assert "role-too-low" in table
    (refused,) = logged_in.run("audit", "list", "--refused", "--user", "bob", "--json").json()
    assert refused["operation"] == "list_users"
    as_csv, as_lines = tmp_path / "a.csv", tmp_path / "a.jsonl"
    logged_in.run("audit", "download", str(as_csv), "--done")
    logged_in.run("audit", "download", str(as_lines), "--done", "--format", "jsonl")
    rows = list(csv.DictReader(as_csv.read_text().splitlines()))
    lines = [json.loads(line) for line in as_lines.read_text().splitlines()]
    assert [row["id"] for row in rows] == [str(line["id"]) for line in lines]
    assert rows[0]["operation"] == "create_node"
    assert as_csv.stat().st_mode & 0o777 == 0o600
    assert "File exists" in logged_in.run("audit", "download", str(as_csv), code=2).err
    assert "needs the role admin" in of_bob.run("audit", "download", str(tmp_path / "b"), code=6).err
    assert not (tmp_path / "b").exists()
    assert "query.since" in logged_in.run("audit", "list", "--since", "yesterday", code=2).err
