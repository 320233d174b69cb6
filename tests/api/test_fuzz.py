"""Whatever anybody sends to any operation, with any role: no fault of ours, nothing that the role forbids."""

import copy
import hashlib
import itertools
import json
import socket
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import schemathesis
from argon2 import PasswordHasher
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from qreplica.access.roles import Role
from qreplica.api.operations import LEAST_ROLE
from qreplica.api.problems import Problem
from qreplica.names import PathInvalid
from qreplica.names import check_path as real_check_path
from qreplica.state.access_models import AccessSession, User
from qreplica.state.models import now
from qreplica.storage import disks, loop_devices

EXAMPLES = 12
#: Nothing in the tests' subsystem can do what these tell of.
ALLOWED_5XX = {502, 507}
METHODS = ("get", "post", "put", "patch", "delete")
#: Of Schemathesis: the answer has a status, a media type and a form that the description tells of.
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
#: What there is, by the name of the part of the path that it fits.
KNOWN = {
    "name": ["rg1", "payroll", "mail", "copy", "hosts", "nightly", "d1", "d4", "s1", "fuzz-viewer", "fuzz-admin"],
    "vd": ["payroll", "mail", "copy"],
    "point": ["7", "recovery-7"],
    "node": ["hosts"],
    "number": [1, 2, 4],
    "controller": [1, 2],
    "address": ["192.168.1.11"],
    "port": [3260],
    "session": ["x"],
}
EVIL = [
    *("a/b", "../../etc/passwd", "/", "//", ".", "..", "...", ".hidden", "a.b.", "-rf", "--help", "A", " ", "a b"),
    *("%2e%2e", "%", "$(id)", "'; DROP TABLE users; --", '"', "\\", "a,b", "a;b", "a#b", "a?b=c", "~", "null", "0"),
    *("\x00", "a\x00b", "a\nb", "a\r\nSet-Cookie: x", "\t", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u202e", "\ufeff"),
    *("ü", "имя", "名前", "שם", "नाम", "😀", "e\u0301", "ﬁ", "x" * 1000, "é" * 1000, "a" * 64),
]


class Box:
    """A stocked subsystem that listens."""

    def __init__(self, world: Any, port: int) -> None:
        self.world = world
        self.base = f"http://127.0.0.1:{port}"
        self.hash = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse battery")
        self.http = httpx.Client(base_url=self.base, trust_env=False, timeout=60)

    def token(self, role: Role) -> str:
        """Return a login of a user with the role, whatever earlier requests did to it."""
        user, token = f"fuzz-{role}", f"token-{role}"
        digest = hashlib.sha256(token.encode()).hexdigest()
        with self.world.database.session() as session:
            session.merge(User(name=user, role=role, password_hash=self.hash, enabled=True, created_at=now()))
            session.flush()
            later = now() + timedelta(hours=1)
            row = AccessSession(id=f"id-{role}", digest=digest, user=user, expires_at=later, used_at=now())
            row.created_at = now()
            session.merge(row)
        return token

    def headers(self, role: Role | None) -> dict[str, str]:
        return {} if role is None else {"Authorization": f"Bearer {self.token(role)}"}


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    from qreplica_worlds import World, served  # noqa: PLC0415 - conftest.py has loaded it by then

    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="qreplica-test-", dir=place) as name, pytest.MonkeyPatch.context() as patch:
        world = World(Path(name) / "source")
        with served(world.app) as port:
            keep_indoors(patch, Path(name), port)
            made = Box(world, port)
            stock(made)
            yield made
            made.http.close()
        world.close()


def keep_indoors(patch: pytest.MonkeyPatch, directory: Path, port: int) -> None:
    """Let nothing that is asked for reach the network, or a file outside of ``directory``."""
    connect = socket.socket.connect

    def only_to_us(self: socket.socket, address: Any) -> None:
        if address != ("127.0.0.1", port):
            raise ConnectionRefusedError(111, "Connection refused")
        connect(self, address)

    def no_names(host: Any, *others: Any, **more: Any) -> Any:
        if host != "127.0.0.1":
            raise socket.gaierror(-2, "Name or service not known")
        return getaddrinfo(host, *others, **more)

    def check_path(path: str) -> Path:
        checked = real_check_path(path)
        if not checked.is_relative_to(directory):
            raise PathInvalid(path=path, reason="it is outside of the test")
        return checked

    getaddrinfo = socket.getaddrinfo
    patch.setattr(socket.socket, "connect", only_to_us)
    patch.setattr(socket, "getaddrinfo", no_names)
    patch.setattr(disks, "check_path", check_path)
    patch.setattr(loop_devices, "attach", lambda image: image)
    patch.setattr(loop_devices, "detach", lambda _: None)


def stock(box: Box) -> None:
    box.world.add_disks("d1", "d2", "d3", "d4")
    box.http.headers.update(box.headers(Role.ADMIN))
    for path, body in (
        ("/raid-groups", {"name": "rg1", "level": "raid1", "disks": ["d1", "d2"]}),
        ("/virtual-disks", {"name": "payroll", "raid_group": "rg1", "size": "1GiB"}),
        ("/virtual-disks", {"name": "mail", "raid_group": "rg1", "size": "1GiB"}),
        ("/virtual-disks", {"name": "copy", "raid_group": "rg1", "size": "1GiB", "type": "BACKUP"}),
        ("/nodes", {"name": "hosts"}),
        ("/luns", {"node": "hosts", "vd": "mail"}),
    ):
        answer = box.http.post(f"/api/v1{path}", json=body)
        assert answer.status_code == 201, answer.text
    assert box.http.patch("/api/v1/virtual-disks/payroll", json={"snapshot_space": "1GiB"}).status_code == 200
    assert box.http.post("/api/v1/snapshots", json={"vd": "payroll", "name": "s1"}).status_code == 201
    box.world.add_job("nightly", "payroll")
    box.world.add_point("copy", 7)
    del box.http.headers["Authorization"]


def operations(box: Box, method: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the path and description of every operation of a method."""
    paths = box.world.app.openapi()["paths"]
    return [(path, item[method]) for path, item in sorted(paths.items()) if method in item]


def shares() -> Iterator[list[str]]:
    """Yield a quarter of the evil texts at a time, so that each gets to many places without taking long."""
    return itertools.cycle(EVIL[start::4] for start in range(4))


def judge(answer: Any, operation: dict[str, Any], role: Role | None) -> None:
    """Fail unless ``answer`` is what the role gets, and a problem says why if it is a refusal."""
    status = answer.status_code
    assert status < 500 or status in ALLOWED_5XX, answer.text
    if status >= 400:
        media = answer.headers["content-type"]  # Schemathesis has a list of each header
        assert (media if isinstance(media, str) else media[0]) == "application/problem+json"
        problem = Problem.model_validate_json(answer.content)
        assert problem.status == status
        assert problem.detail
        assert problem.exit_code > 0
    if LEAST_ROLE not in operation:
        return
    kind = answer.json()["type"].rpartition(":")[2] if status >= 400 else ""
    if kind == "request-too-large":
        return  # which is said before anything is read, or anybody known
    if role is None:
        assert (status, kind) == (401, "token-missing")
    elif not role.may(Role(operation[LEAST_ROLE])):
        assert (status, kind) == (403, "role-too-low")
    else:
        assert status != 401
        assert kind != "role-too-low"


def without_security(description: dict[str, Any]) -> dict[str, Any]:
    """Return a description by which nobody makes tokens up: the roles' are sent."""
    bare = copy.deepcopy(description)
    del bare["components"]["securitySchemes"]
    for item in bare["paths"].values():
        for operation in item.values():
            operation.pop("security", None)
    return bare


@pytest.mark.parametrize("method", METHODS)
def test_every_operation_with_every_role(box: Box, method: str) -> None:
    """What is sent is made from the description, both as it says and not; answers have to be as it says."""
    schema = schemathesis.openapi.from_dict(without_security(box.world.app.openapi()))
    found = operations(box, method)
    assert found
    for path, described in found:
        operation = schema[path][method.upper()]
        takes_something = described.get("parameters") or "requestBody" in described
        modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE] if takes_something else [GenerationMode.POSITIVE]
        cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])

        @given(case=cases, role=st.sampled_from([None, *Role]), known=st.booleans(), data=st.data())
        @settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        def send(case: Any, role: Role | None, known: bool, data: Any) -> None:  # noqa: FBT001 - hypothesis gives it
            parts = case.path_parameters or {}
            for part in parts:
                if known and part in KNOWN:
                    parts[part] = data.draw(st.sampled_from(KNOWN[part]))
            answer = case.call(base_url=box.base, headers=box.headers(role))
            if any("/" in str(value) or str(value) in {"", ".", ".."} for value in parts.values()):
                judge(answer, {}, role)  # it may have gone to another operation
            else:
                judge(answer, described, role)  # noqa: B023 - called before the next one is looked at
                case.validate_response(answer, checks=CHECKS)

        send()


@pytest.mark.parametrize("method", METHODS)
def test_names_that_no_object_has(box: Box, method: str) -> None:
    """Slashes, dots, control characters, a thousand characters, other scripts: in the path, as an admin."""
    headers, evils = box.headers(Role.ADMIN), shares()
    for path, described in operations(box, method):
        parts = [part for part in ("name", "vd", "point", "node", "session", "address") if f"{{{part}}}" in path]
        for part in parts:
            for evil in next(evils):
                filled = path.replace(f"{{{part}}}", quote(evil, safe=""))
                filled = filled.format_map({key: values[0] for key, values in KNOWN.items()})
                answer = box.http.request(method.upper(), filled, headers=headers, json=example_of(box, described))
                judge(answer, {}, Role.ADMIN)
                # What stands for “here” and “above” a client takes out itself.
                refused = answer.status_code in {404, 409, 422} or not evil.strip("/.") or evil in KNOWN[part]
                assert refused, (method, filled, answer.status_code, answer.text)


@pytest.mark.parametrize("method", ["post", "put", "patch"])
def test_texts_that_no_member_takes(box: Box, method: str) -> None:
    """The same in each text of a body, in place of what the description shows; and half of a surrogate pair."""
    evils = shares()
    for path, described in operations(box, method):
        example = example_of(box, described)
        filled = path.format_map({key: values[0] for key, values in KNOWN.items()})
        for member in [key for key, value in (example or {}).items() if isinstance(value, str)]:
            for evil in [*next(evils), "\ud800", "x\udfff"]:
                body = json.dumps({**(example or {}), member: evil})
                headers = box.headers(Role.ADMIN) | {"Content-Type": "application/json"}
                answer = box.http.request(method.upper(), filled, headers=headers, content=body)
                judge(answer, {}, Role.ADMIN)


def example_of(box: Box, described: dict[str, Any]) -> dict[str, Any] | None:
    """Return the example of an operation's body."""
    if "requestBody" not in described:
        return None
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    if "$ref" not in schema:
        return None  # a file, byte for byte
    name = schema["$ref"].rpartition("/")[2]
    example: dict[str, Any] = box.world.app.openapi()["components"]["schemas"][name]["examples"][0]
    return example


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"name": ' + b"9" * 60_000 + b"}",
        b"\xff" * 1000,
        b'{"name": 1e400, "role": NaN}',
        b"\x00",
        b'"' + b"\\ud800" * 1000 + b'"',
    ],
)
def test_bodies_that_break_parsers(box: Box, body: bytes) -> None:
    for path in ("/api/v1/users", "/api/v1/login", "/api/v1/jobs"):
        headers = box.headers(Role.ADMIN) | {"Content-Type": "application/json"}
        answer = box.http.post(path, content=body, headers=headers)
        judge(answer, {}, Role.ADMIN)
        assert answer.status_code == 422
