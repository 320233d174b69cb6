"""What a client says when something else than a QReplica target answers, or nothing."""

import hashlib
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from qreplica.errors import QReplicaError
from qreplica.iscsi.target.driver import Credentials
from qreplica.peer import signing
from qreplica.peer.client import PeerClient
from qreplica.peer.errors import PeerAnswersGarbage, PeerFailed, PeerUnreachable, RemoteRefused, WrongChap
from qreplica.peer.messages import Compare, Release
from qreplica.peer.wire import ANSWER_LIMIT
from qreplica.replication.recovery_errors import BackupVdCannotFollow, BaseMismatch, StaleEpoch

IQN = "iqn.2026-11.org.qreplica:tank"
CHAP = Credentials("user", "a secret of some length")
NODES = {"subsystem": "target", "subsystem_id": "0" * 32, "controller": 1, "nodes": []}


def reply(body: bytes, status: int = 200, headers: str = "") -> Callable[[socket.socket], None]:
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return lambda connection: connection.sendall(head.encode() + body)


def noise(seed: int, length: int) -> bytes:
    return hashlib.shake_128(str(seed).encode()).digest(length)


def problem(error: QReplicaError) -> Callable[[socket.socket], None]:
    return reply(json.dumps(error.problem()).encode(), error.status)


def client(port: int, timeout: float = 10, credentials: Credentials | None = None) -> PeerClient:
    return PeerClient("127.0.0.1", port, credentials, timeout=timeout)


def test_a_right_answer_is_taken(raw_server: Any) -> None:
    server = raw_server(reply(json.dumps(NODES).encode()))
    with client(server.port) as peer:
        assert peer.nodes().subsystem == "target"


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (reply(b"<html><body>It works!</body></html>"), "not as agreed"),
        (reply(b""), "not as agreed"),
        (reply(b'{"subsystem": "x"}'), "not as agreed"),
        (reply(b'{"subsystem": "x", "subsystem_id": "'), "not as agreed"),
        (reply(json.dumps({**NODES, "surprise": 1}).encode()), "not as agreed"),
        (reply(json.dumps({**NODES, "subsystem_id": "../../etc"}).encode()), "not as agreed"),
        (reply(b"\xff\xfe\x00"), "not as agreed"),
        (reply(b"[" * 100_000), "not as agreed"),
        (reply(b"gone", 404), "HTTP status 404 without a reason"),
        (reply(b"<html>proxy</html>", 502), "HTTP status 502 without a reason"),
        (reply(b'{"detail": "no"}', 409), "HTTP status 409 without a reason"),
        (reply(b"", 302, "Location: http://127.0.0.1:1/\r\n"), "HTTP status 302 without a reason"),
        (lambda c: c.sendall(b"220 mail.example ESMTP\r\n500 what?\r\n\r\n"), "no whole HTTP answer"),
        (lambda c: c.sendall(noise(1, 1_000_000)), "no whole HTTP answer"),
        (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), "no whole HTTP answer"),
    ],
)
def test_garbage_is_told_from_an_answer(raw_server: Any, behaviour: Any, reason: str) -> None:
    server = raw_server(behaviour)
    with client(server.port) as peer, pytest.raises(PeerAnswersGarbage, match=reason) as caught:
        peer.nodes()
    assert f"127.0.0.1:{server.port}" in caught.value.sentence


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"end": 65536, "digests": {}}, "those that it was asked about"),
        ({"end": 196608 + 1, "digests": {}}, "those that it was asked about"),
        ({"end": 262144, "digests": {}}, "those that it was asked about"),
        ({"end": 131072, "digests": {"0": "a" * 64}}, "those that it was asked about"),
        ({"end": 131072, "digests": {"65537": "a" * 64}}, "those that it was asked about"),
        ({"end": 131072, "digests": {"131072": "a" * 64}}, "those that it was asked about"),
        ({"end": 131072, "digests": {"65536": "a" * 63}}, "not as agreed"),
        ({"end": 131072, "digests": {"x": "a" * 64}}, "not as agreed"),
        ({"end": 131072, "digests": {"-65536": "a" * 64}}, "not as agreed"),
        ({"end": 131072}, "not as agreed"),
    ],
)
def test_digests_of_other_chunks_than_those_asked_for_are_garbage(
    raw_server: Any, answer: dict[str, Any], reason: str
) -> None:
    server = raw_server(reply(json.dumps(answer).encode()))
    asked = Compare(job="1" * 32, epoch=1, generation=1, manifest="0" * 64, offset=65536, end=200_000, chunk=65536)
    with client(server.port) as peer, pytest.raises(PeerAnswersGarbage, match=reason):
        peer.compare(IQN, asked)


def test_an_endless_body_is_cut_off(raw_server: Any) -> None:
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b" " * 65536)
            sent += 65536

    server = raw_server(flood)
    with client(server.port) as peer, pytest.raises(PeerAnswersGarbage, match="more than 1 MiB"):
        peer.nodes()
    assert sent < 16 * ANSWER_LIMIT


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"])
def test_one_byte_now_and_then_does_not_hold_the_client_for_ever(raw_server: Any, head: bytes) -> None:
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(head or b"HTTP/1.1 200 OK\r\nX: ")
        while not stop.wait(0.02):
            connection.sendall(b"a")

    server = raw_server(drip)
    try:
        with (
            client(server.port, timeout=0.5) as peer,
            pytest.raises(PeerUnreachable, match=r"not complete after 0\.5 s"),
        ):
            peer.nodes()
    finally:
        stop.set()


def test_silence_ends_after_the_timeout(raw_server: Any) -> None:
    stop = threading.Event()
    server = raw_server(lambda _: stop.wait(30))
    try:
        with client(server.port, timeout=0.3) as peer, pytest.raises(PeerUnreachable):
            peer.nodes()
    finally:
        stop.set()


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"])
def test_a_target_that_dies_before_its_answer_is_unreachable(raw_server: Any, start: bytes) -> None:
    server = raw_server(lambda connection: connection.sendall(start))
    with client(server.port) as peer, pytest.raises(PeerUnreachable, match="closed the connection before it answered"):
        peer.nodes()


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_a_failure_of_the_peer(raw_server: Any, seed: int) -> None:
    server = raw_server(lambda connection: connection.sendall(noise(seed, 250 * seed)))
    with client(server.port) as peer, pytest.raises(PeerFailed):
        peer.nodes()


def test_a_refused_connection_names_the_address(raw_server: Any) -> None:
    server = raw_server(lambda _: None)
    server_port = server.port
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert port != server_port
    with client(port) as peer, pytest.raises(PeerUnreachable, match=f"127.0.0.1:{port}.*refused.*check the address"):
        peer.nodes()


def test_an_interface_that_is_not_there_is_unreachable() -> None:
    peer = PeerClient("127.0.0.1", 1, None, interface="no-such-if0")
    with peer, pytest.raises(PeerUnreachable):
        peer.nodes()


def test_proxy_settings_of_the_environment_are_not_followed(raw_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = raw_server(reply(b"proxied"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    server = raw_server(reply(json.dumps(NODES).encode()))
    with client(server.port) as peer:
        peer.nodes()
    assert not proxy.requests
    assert len(server.requests) == 1


@pytest.mark.parametrize("proof", ["", "0" * 64, "é", "x" * 10_000])
def test_a_success_that_is_not_signed_by_the_node_is_garbage(raw_server: Any, proof: str) -> None:
    body = json.dumps({"subsystem": "t", "subsystem_id": "0" * 32, "vds": []}).encode()

    def answer(connection: socket.socket) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{signing.ANSWER_HEADER}: ".encode()
        connection.sendall(head + proof.encode("latin-1") + b"\r\n\r\n" + body)

    server = raw_server(answer)
    with client(server.port, credentials=CHAP) as peer, pytest.raises(PeerAnswersGarbage, match="not signed"):
        peer.backup_vds(IQN)


def test_a_replayed_answer_is_garbage(raw_server: Any) -> None:
    body = json.dumps({"subsystem": "t", "subsystem_id": "0" * 32, "vds": []}).encode()
    keys = signing.keys(CHAP.secret, IQN)
    old = signing.sign(keys, CHAP.user, signing.Request("GET", f"/peer/v1/nodes/{IQN}/backup-vds", b""), 1)
    header = f"{signing.ANSWER_HEADER}: {signing.sign_answer(keys, old, 200, body)}\r\n"
    server = raw_server(reply(body, headers=header))
    with client(server.port, credentials=CHAP) as peer, pytest.raises(PeerAnswersGarbage, match="not signed"):
        peer.backup_vds(IQN)


def test_a_release_answered_by_another_box_is_not_believed(raw_server: Any) -> None:
    server = raw_server(reply(b"", 204))
    with client(server.port, credentials=CHAP) as peer, pytest.raises(PeerAnswersGarbage):
        peer.release(IQN, Release(job="0" * 32, epoch=1))


def test_an_unsigned_refusal_is_believed_only_where_the_target_cannot_sign(raw_server: Any) -> None:
    for error in (StaleEpoch(epoch=1, job="j", vd="v", current=2), BaseMismatch(offered="a", vd="v", newest="b")):
        server = raw_server(problem(error))
        with client(server.port, credentials=CHAP) as peer, pytest.raises(PeerAnswersGarbage, match="refusal"):
            peer.backup_vds(IQN)
    server = raw_server(problem(WrongChap(node=IQN, user="user")))
    with client(server.port, credentials=CHAP) as peer, pytest.raises(WrongChap):
        peer.backup_vds(IQN)


def test_refusals_come_back_as_the_errors_that_they_were(raw_server: Any) -> None:
    error = BackupVdCannotFollow(vd="b1", size=1 << 30, source_size=2 << 30, group="rg1", free=0, needed=1 << 30)
    server = raw_server(problem(error))
    with client(server.port) as peer, pytest.raises(BackupVdCannotFollow) as caught:
        peer.backup_vds(IQN)
    assert caught.value.sentence == error.sentence
    assert caught.value.fields == error.fields


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("quantum-flux", {}),
        ("histories-diverged", {"vd": "b1"}),
        ("stale-epoch", {"epoch": 1}),
        (
            "backup-vd-cannot-follow",
            {"vd": 1, "size": "x", "source_size": 1, "group": "rg1", "free": 0, "needed": 1},
        ),
    ],
)
def test_unknown_kinds_and_fields_keep_the_targets_sentence(raw_server: Any, kind: str, fields: dict[str, Any]) -> None:
    body = {"type": f"urn:qreplica:error:{kind}", "detail": "The flux\x1b[2J is low: wait.", "fields": fields}
    server = raw_server(reply(json.dumps(body).encode(), 409))
    with client(server.port) as peer, pytest.raises(RemoteRefused) as caught:
        peer.backup_vds(IQN)
    assert "The flux�[2J is low: wait." in caught.value.sentence
    assert caught.value.fields["remote_kind"] == kind


def test_no_secret_is_in_what_was_sent(raw_server: Any) -> None:
    server = raw_server(reply(b"{}"))
    with client(server.port, credentials=CHAP) as peer, pytest.raises(PeerFailed):
        peer.release(IQN, Release(job="0" * 32, epoch=1))
    sent = server.requests[0]
    assert b"QReplica-HMAC-SHA256" in sent
    assert CHAP.secret.encode() not in sent
