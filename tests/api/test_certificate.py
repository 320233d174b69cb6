"""The TLS certificate, as it is asked for by REST."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qreplica.access import certificate_pem
from qreplica.daemon import certificate, certificate_watch
from qreplica.state.models import Controller


def _load(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


certificates = _load("qreplica_certificates_of_rest", Path(__file__).parents[1] / "daemon" / "certificates.py")


@pytest.fixture
def given(tmp_path: Path) -> dict[str, str]:
    shown, key = certificates.bring(tmp_path, host="box.example")
    return {"certificate": shown.read_text(), "key": key.read_text()}


def start(world: Any) -> Any:
    """Take over what a controller does about its certificate at its start; return what it shows."""
    shown = certificate.choose(world.services.config, world.database, ["127.0.0.1"])
    with world.database.session() as session:
        certificate_watch.note(session.get_one(Controller, 1), shown)
    return shown


def test_a_certificate_is_uploaded_shown_and_deleted(world: Any, admin: Any, given: dict[str, str]) -> None:
    own = start(world)
    before = admin.call("GET", "/certificate")
    assert (before["uploaded"], before["controllers"][0]["source"]) == (None, "own")
    assert before["controllers"][0]["certificate"]["fingerprint"] == own.fingerprint
    facts = certificate_pem.facts_of(given["certificate"])
    answer = admin.call("PUT", "/certificate", given)
    assert answer["uploaded"]["fingerprint"] == facts.fingerprint
    assert answer["uploaded"]["names"] == ["box.example"]
    (one,) = answer["controllers"]
    assert (one["restart_needed"], one["next_fingerprint"]) == (True, facts.fingerprint)
    assert "when it was restarted: “qreplica subsystem restart”" in answer["message"]
    assert start(world).fingerprint == facts.fingerprint
    answer = admin.call("GET", "/certificate")
    assert answer["controllers"][0]["certificate"] == answer["uploaded"]
    assert answer["controllers"][0]["restart_needed"] is False
    assert "restart" not in answer["message"]
    answer = admin.call("DELETE", "/certificate")
    (one,) = answer["controllers"]
    assert (answer["uploaded"], one["restart_needed"], one["next_fingerprint"]) == (None, True, own.fingerprint)
    admin.call("DELETE", "/certificate")
    assert start(world) == own
    assert admin.call("GET", "/certificate")["controllers"][0]["restart_needed"] is False


def test_the_key_is_in_no_answer_no_audit_entry_and_no_event(admin: Any, given: dict[str, str]) -> None:
    secret = given["key"].splitlines()[1]
    answers = [admin.http.put("/api/v1/certificate", json=given).text]
    wrong = given | {"certificate": given["key"]}
    answers.append(admin.http.put("/api/v1/certificate", json=wrong).text)
    answers.append(admin.http.put("/api/v1/certificate", json=given | {"key": given["key"] * 99}).text)
    answers.append(admin.http.put("/api/v1/certificate", json={"certificate": 7, "key": given["key"]}).text)
    answers += [admin.http.get(f"/api/v1/{path}").text for path in ("certificate", "audit", "events")]
    assert not any(secret in one for one in answers)
    entry = next(one for one in admin.call("GET", "/audit") if one["operation"] == "upload_certificate")
    assert json.loads(entry["details"] or "{}") == {}


def test_what_is_refused_changes_nothing(world: Any, admin: Any, given: dict[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    _, other_key = certificates.bring(other)
    for body, status, kind in (
        (given | {"key": other_key.read_text()}, 422, "certificate-not-fit"),
        (given | {"certificate": "nothing"}, 422, "certificate-not-fit"),
        (given | {"certificate": "ü\x00😀"}, 422, "certificate-not-fit"),
        ({"certificate": given["certificate"]}, 422, "request-invalid"),
        (given | {"certificate": "x" * 70_000}, 413, "request-too-large"),
    ):
        assert admin.call("PUT", "/certificate", body, expect=status)["type"] == f"urn:qreplica:error:{kind}"
    assert admin.call("GET", "/certificate")["uploaded"] is None
    plain = world.services.config.model_copy(update={"tls": False})
    object.__setattr__(world.services, "config", plain)
    assert admin.call("PUT", "/certificate", given, expect=409)["type"] == "urn:qreplica:error:tls-off"


def test_a_monitoring_system_sees_when_it_ends(world: Any, admin: Any, given: dict[str, str]) -> None:
    admin.call("PUT", "/certificate", given)
    start(world)
    metrics = admin.http.get("/metrics").text
    end = certificate_pem.facts_of(given["certificate"]).ends_at.timestamp()
    (line,) = [one for one in metrics.splitlines() if one.startswith("qreplica_certificate_expiry_timestamp_seconds{")]
    assert float(line.partition(" ")[2]) == end
