"""Alert channels on the command line."""

from typing import Any


def test_channels_of_every_kind(logged_in: Any) -> None:
    run = logged_in.run
    assert "Nobody is told of events" in run("alert", "list").out
    password = logged_in.home / "password"
    password.write_text("open sesame\n")
    made = run(
        *("alert", "email", "team", "--server", "mail.example.org", "--sender", "q@example.org"),
        *("--recipient", "a@example.org", "--recipient", "b@example.org", "--severity", "error"),
        *("--user", "q", "--password-file", str(password)),
    )
    assert "e-mail to a@example.org, b@example.org over mail.example.org:587" in made.out
    run("alert", "syslog", "log", "--server", "127.0.0.1")
    run("alert", "webhook", "hook", "--url", "http://127.0.0.1:9/", "--key-file", str(password))
    listed = run("alert", "list", "--json")
    assert [(one["name"], one["severity"], one["authenticated"]) for one in listed.json()] == [
        ("hook", "warning", True),
        ("log", "warning", False),
        ("team", "error", True),
    ]
    assert "open sesame" not in listed.out
    assert "A test alert was sent" in run("alert", "test", "log").out
    assert "check its settings" in run("alert", "test", "hook", code=7).err
    run("alert", "syslog", "log", "--server", "127.0.0.1", code=4)
    run("alert", "syslog", "else", "--server", "no such server", code=2)
    run("alert", "delete", "log", "--yes")
    run("alert", "delete", "log", "--yes", code=3)
