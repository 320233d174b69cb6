"""Setting up, logging in and out, and which subsystem is meant."""

import json
import socket
import threading
from datetime import timedelta
from typing import Any

import pytest

from qreplica.cli.client import normal
from qreplica.cli.errors import NotAUrl
from qreplica.state.access_models import AccessSession
from qreplica.state.models import Controller, now


def test_setup_logs_in_and_keeps_the_token_for_the_user_alone(world: Any, url: str, shell: Any) -> None:
    ended = shell.execute(
        *("--url", url, "setup", "--name", "admin", "--setup-secret-file", "-", "--password-file", "-", "--as", "lab"),
        stdin=f"{world.setup_secret}\ncorrect horse battery\n",
    )
    assert "Logged in to" in ended.out
    assert "“lab”" in ended.out
    assert shell.credentials.stat().st_mode & 0o777 == 0o600
    assert shell.credentials.parent.stat().st_mode & 0o777 == 0o700
    (login,) = json.loads(shell.credentials.read_text())["logins"]
    assert (login["url"], login["name"], login["user"]) == (url, "lab", "admin")
    assert shell.run("--on", "lab", "rg", "list", "--json").json() == []
    assert shell.run("rg", "list").out.startswith("There are no RAID groups")


def test_login_json_has_no_token(logged_in: Any) -> None:
    ended = logged_in.run("login", "--name", "admin", "--json", QREPLICA_PASSWORD="correct horse battery")
    answer = ended.json()
    assert set(answer) == {"user", "role", "expires_at", "idle_minutes", "url", "saved_as"}
    (login,) = json.loads(logged_in.credentials.read_text())["logins"]
    assert login["token"] not in ended.out + ended.err


def test_logout_ends_the_login_and_the_name(logged_in: Any, url: str) -> None:
    logged_in.run("logout")
    ended = logged_in.run("rg", "list", code=2)
    assert "log in first" in ended.err
    assert logged_in.run("--url", url, "rg", "list", code=6).err.startswith("Error: You are not logged in to")


def test_a_login_that_ended_on_the_subsystem_says_so_and_can_be_logged_out(logged_in: Any, world: Any) -> None:
    with world.database.session() as session:
        session.query(AccessSession).delete()
    ended = logged_in.run("vd", "list", "--json", code=6)
    assert ended.problem()["type"] == "urn:qreplica:error:token-invalid"
    logged_in.run("logout")


def test_a_wrong_password_ends_with_6_and_too_many_with_9(logged_in: Any) -> None:
    for _ in range(5):
        logged_in.run("login", "--name", "admin", code=6, QREPLICA_PASSWORD="not the password")
    problem = logged_in.run("login", "--name", "admin", "--json", code=9, QREPLICA_PASSWORD="x").problem()
    assert problem["status"] == 429


def test_secrets_and_names_are_asked_for_by_name_when_there_is_no_terminal(url: str, shell: Any) -> None:
    ended = shell.run("--url", url, "login", "--json", code=2)
    assert ended.problem()["type"] == "urn:qreplica:error:value-missing"
    ended = shell.run("--url", url, "login", "--name", "admin", code=2)
    assert "--password-file FILE" in ended.err
    assert "QREPLICA_PASSWORD" in ended.err
    ended = shell.run("--url", url, "login", "--name", "admin", "--password-file", "/nowhere", code=2)
    assert "No such file" in ended.err


def test_nobody_listening_ends_with_9(shell: Any) -> None:
    ended = shell.run("--url", "http://127.0.0.1:1", "login", "--name", "a", code=9, QREPLICA_PASSWORD="x")
    assert "cannot be reached" in ended.err


def test_unknown_names_and_damaged_files_are_told(logged_in: Any) -> None:
    assert "saved: none" in logged_in.run("--on", "nope", "rg", "list", code=3).err
    logged_in.credentials.write_text("{]")
    assert "log in again" in logged_in.run("rg", "list", code=2).err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("127.0.0.1:8080", "https://127.0.0.1:8080"),
        ("HTTPS://Box.example", "https://box.example"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_an_address_has_one_form(given: str, expected: str) -> None:
    assert normal(given) == expected


@pytest.mark.parametrize("given", ["ftp://x", "http://", "http://x/path", "http://u:p@x", "http://x:99999999", ""])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(NotAUrl):
        normal(given)


def test_the_other_controller_is_asked_when_the_first_does_not_answer(world: Any, url: str, shell: Any) -> None:
    """It is known from the login; what a controller may have heard is not said again."""
    nobody = "http://127.0.0.1:1"
    shell.execute(
        *("--url", url, "setup", "--name", "admin", "--setup-secret-file", "-", "--password-file", "-"),
        stdin=f"{world.setup_secret}\ncorrect horse battery\n",
    )
    with world.database.session() as session:
        session.add(Controller(number=2, management=nobody))
    shell.run("login", "--name", "admin", QREPLICA_PASSWORD="correct horse battery")
    (login,) = json.loads(shell.credentials.read_text())["logins"]
    assert (login["url"], login["also"]) == (url, [nobody])

    def first(address: str) -> None:
        shell.credentials.write_text(json.dumps({"logins": [login | {"url": address, "also": [url]}]}))

    first(nobody)
    assert shell.run("node", "list", "--json").json() == []
    shell.run("node", "create", "one")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        first(f"http://127.0.0.1:{deaf.getsockname()[1]}")

        def hang_up() -> None:
            while True:
                try:
                    caller, _ = deaf.accept()
                except OSError:
                    return
                caller.recv(1 << 16)
                caller.close()

        answering = threading.Thread(target=hang_up)
        answering.start()
        try:
            assert [one["name"] for one in shell.run("node", "list", "--json").json()] == ["one"]
            assert "cannot be reached" in shell.run("node", "create", "two", code=9).err
        finally:
            deaf.shutdown(socket.SHUT_RDWR)
            answering.join()
    first(url)
    assert [one["name"] for one in shell.run("node", "list", "--json").json()] == ["one"]


def test_a_login_that_lay_unused_is_told_of_and_how_to_go_on(logged_in: Any, world: Any) -> None:
    shown = logged_in.run("login", "--name", "admin", QREPLICA_PASSWORD="correct horse battery").out
    assert "or until it is not used for 30 minutes" in " ".join(shown.split())
    assert logged_in.run("vd", "list", "--json").json() == []
    with world.database.session() as session:
        for row in session.query(AccessSession):
            row.used_at = now() - timedelta(minutes=32)
    ended = logged_in.run("vd", "list", code=6).err
    assert "not used for 30 minutes: log in again with “qreplica login”" in " ".join(ended.split())
    logged_in.run("login", "--name", "admin", QREPLICA_PASSWORD="correct horse battery")
    logged_in.run("vd", "list")
