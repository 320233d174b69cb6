"""The whole conversation between a real client and a real server, over loopback."""

import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

import httpx
import pytest

from qreplica.iscsi import nodes
from qreplica.iscsi.target.driver import Credentials
from qreplica.peer import signing
from qreplica.peer.client import PeerClient
from qreplica.peer.errors import (
    ChapNeeded,
    ChapNotUsed,
    ClockSkew,
    NoSuchNode,
    PairingNeeded,
    PeerAnswersGarbage,
    PeerInternalError,
    PeerUnreachable,
    WrongChap,
    WrongPairing,
)
from qreplica.peer.messages import Abort, Release
from qreplica.peer.pairing import HalfKey, reset_pairing
from qreplica.peer.server import peer_app
from qreplica.replication.recovery_errors import BaseMismatch, ClaimedByAnother, StaleEpoch

from ..serving import served  # noqa: TID252
from .world import BLOCK, IQN, JOB, OTHER_JOB, World, begin_message, claim_message, commit_message

CHAP = Credentials("backups", "a-secret-of-CHAP")


def serving(world: World, controller: int = 1) -> AbstractContextManager[int]:
    """Give the port at which a controller of the world's answers."""
    return served(peer_app(world.database, controller, world.recovery, world.promoter))


@pytest.fixture
def port(world: World) -> Iterator[int]:
    """The port at which the world's peer API answers."""
    with serving(world) as number:
        yield number


@pytest.fixture
def chap(world: World) -> None:
    with world.database.session() as session:
        node = nodes.get(session, "backup-1")
        nodes.set_chap(session, node, chap_user=CHAP.user, chap_secret=CHAP.secret)


def test_anybody_may_see_which_nodes_hold_backup_vds(port: int) -> None:
    with PeerClient("127.0.0.1", port, None) as client:
        answer = client.nodes()
    assert [(node.iqn, node.chap, node.backup_vds) for node in answer.nodes] == [(IQN, False, 1)]
    assert (answer.subsystem, answer.controller) == ("target", 1)


@pytest.mark.usefixtures("chap")
def test_two_generations_with_chap(world: World, port: int) -> None:
    with PeerClient("127.0.0.1", port, CHAP) as client:
        assert [(vd.lun, vd.name, vd.type, vd.claimed_by) for vd in client.backup_vds(IQN).vds] == [
            (1, "b1", "BACKUP", None)
        ]
        lineage = client.claim(IQN, claim_message(1))
        assert lineage.pairing_secret is None
        for generation, letter in ((1, b"x"), (2, b"y")):
            assert not client.begin(IQN, begin_message(1, generation, generation - 1 or None)).resumed
            world.write(lineage.initiator, 0, letter * BLOCK)
            committed = client.commit(IQN, commit_message(1, generation))
            assert committed.point.generation == generation
        assert [point.generation for point in client.lineage(IQN, 1).points] == [1, 2]
        client.release(IQN, Release(job=JOB, epoch=1))
        assert client.backup_vds(IQN).vds[0].claimed_by is None
    assert {number: data[:1] for number, data in world.points().items()} == {1: b"x", 2: b"y"}


@pytest.mark.usefixtures("chap")
def test_wrong_or_missing_chap_changes_nothing(world: World, port: int) -> None:
    before = world.initiators()
    for credentials, error in (
        (Credentials("backups", "another-secret"), WrongChap),
        (Credentials("somebody", CHAP.secret), WrongChap),
        (None, ChapNeeded),
    ):
        with PeerClient("127.0.0.1", port, credentials) as client:
            with pytest.raises(error):
                client.backup_vds(IQN)
            with pytest.raises(error):
                client.claim(IQN, claim_message(1))
    assert world.initiators() == before == frozenset()


def test_the_first_claim_pairs_and_nobody_else_gets_in(port: int) -> None:
    with PeerClient("127.0.0.1", port, None) as first:
        lineage = first.claim(IQN, claim_message(1))
        assert lineage.pairing_secret
        first.begin(IQN, begin_message(1, 1, None))
    with PeerClient("127.0.0.1", port, None) as stranger:
        with pytest.raises(PairingNeeded):
            stranger.claim(IQN, claim_message(2, OTHER_JOB))
        with pytest.raises(PairingNeeded):
            stranger.lineage(IQN, 1)
    with (
        PeerClient("127.0.0.1", port, None, pairing_secret="a wrong one of 32 hexadecimal di") as impostor,
        pytest.raises(WrongPairing),
    ):
        impostor.claim(IQN, claim_message(2))
    with PeerClient("127.0.0.1", port, None, pairing_secret=lineage.pairing_secret) as again:
        assert again.claim(IQN, claim_message(2)).in_progress is not None


def test_a_first_claim_whose_answer_was_lost_locks_nobody_out(port: int) -> None:
    with PeerClient("127.0.0.1", port, None) as client:
        client.claim(IQN, claim_message(1))
    with PeerClient("127.0.0.1", port, None) as once_more:
        lineage = once_more.claim(IQN, claim_message(2))
        assert lineage.epoch == 2
        once_more.begin(IQN, begin_message(2, 1, None))


@pytest.mark.usefixtures("chap")
def test_refusals_come_back_as_what_they_were(port: int) -> None:
    with PeerClient("127.0.0.1", port, CHAP) as client:
        client.claim(IQN, claim_message(5))
        with pytest.raises(StaleEpoch):
            client.claim(IQN, claim_message(5))
        with pytest.raises(StaleEpoch):
            client.abort(IQN, Abort(job=JOB, epoch=4))
        with pytest.raises(ClaimedByAnother):
            client.claim(IQN, claim_message(6, OTHER_JOB))
        with pytest.raises(BaseMismatch):
            client.begin(IQN, begin_message(5, 2, 1))


@pytest.mark.usefixtures("chap")
def test_a_recorded_request_is_obeyed_once(world: World, port: int) -> None:
    body = claim_message(1).model_dump_json().encode()
    path = f"/peer/v1/nodes/{IQN}/claim"
    keys = signing.keys(CHAP.secret, IQN)
    signature = signing.sign(keys, CHAP.user, signing.Request("POST", path, body), int(time.time()))
    headers = {"Authorization": signature.header(), "Content-Type": "application/json"}
    with httpx.Client(trust_env=False) as wire, serving(world, controller=2) as other:
        assert wire.post(f"http://127.0.0.1:{port}{path}", content=body, headers=headers).status_code == 200
        for controller in (port, other):
            replayed = wire.post(f"http://127.0.0.1:{controller}{path}", content=body, headers=headers)
            assert replayed.status_code == 401
            assert replayed.json()["type"] == "urn:qreplica:error:request-replayed"
            assert replayed.headers["content-type"] == "application/problem+json"
    assert world.initiators() == frozenset({f"iqn.2026-11.org.qreplica:job-{JOB}:e1"})


def test_a_port_that_nobody_listens_on_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        unused = other.getsockname()[1]
    with PeerClient("127.0.0.1", unused, None) as client, pytest.raises(PeerUnreachable):
        client.nodes()


def test_malformed_messages_are_refused_with_their_place(port: int) -> None:
    with httpx.Client(trust_env=False) as wire:
        for content in (b"", b"{", b'{"job": 1}', b"[" * 1000, b"x" * 100_000):
            answer = wire.post(f"http://127.0.0.1:{port}/peer/v1/nodes/{IQN}/claim", content=content)
            assert 400 <= answer.status_code < 500
            assert answer.headers["content-type"] == "application/problem+json"
        assert wire.get(f"http://127.0.0.1:{port}/docs").status_code == 404


@pytest.mark.usefixtures("chap")
def test_an_answer_that_the_target_did_not_sign_is_no_answer(port: int) -> None:
    """A box in between that swaps the answer of one request for another's."""
    with PeerClient("127.0.0.1", port, CHAP) as client:
        client.claim(IQN, claim_message(1))
        genuine = client._wire.exchange
        swapped = {}

        def exchange(request: object, patience: float) -> object:
            answer = genuine(request, patience)  # type: ignore[arg-type]
            return swapped.setdefault("first", answer)

        client._wire.exchange = exchange  # type: ignore[method-assign, assignment]
        client.lineage(IQN, 1)
        with pytest.raises(PeerAnswersGarbage):
            client.lineage(IQN, 1)


def test_chap_that_the_node_cannot_check_is_told(port: int) -> None:
    with PeerClient("127.0.0.1", port, CHAP) as client, pytest.raises(ChapNotUsed, match="leave both empty"):
        client.backup_vds(IQN)


def test_a_node_that_is_not_there_is_told(port: int) -> None:
    with PeerClient("127.0.0.1", port, CHAP) as client, pytest.raises(NoSuchNode, match="elsewhere"):
        client.backup_vds(IQN + ".elsewhere")


@pytest.mark.usefixtures("chap")
@pytest.mark.parametrize(("skew", "words"), [(400, "ahead of"), (-400, "behind")])
def test_clocks_that_differ_are_told(port: int, monkeypatch: pytest.MonkeyPatch, skew: int, words: str) -> None:
    real = float(int(time.time()))
    monkeypatch.setattr("qreplica.peer.client.time", Clock(real + skew))
    monkeypatch.setattr("qreplica.peer.authentication.time", Clock(real))
    with PeerClient("127.0.0.1", port, CHAP) as client, pytest.raises(ClockSkew, match=f"400 s {words}"):
        client.backup_vds(IQN)


class Clock:
    """Stands for the ``time`` module of one of the two subsystems."""

    def __init__(self, now: float) -> None:
        self._now = now

    def time(self) -> float:
        return self._now


def test_after_a_reset_the_same_job_pairs_anew(world: World, port: int) -> None:
    with PeerClient("127.0.0.1", port, None) as client:
        client.claim(IQN, claim_message(1))
        client.begin(IQN, begin_message(1, 1, None))
        with world.database.session() as session:
            reset_pairing(session, nodes.get(session, "backup-1"))
        with pytest.raises(WrongPairing, match="pair the job again"):
            client.commit(IQN, commit_message(1, 1))
    with PeerClient("127.0.0.1", port, None) as another, pytest.raises(ClaimedByAnother):
        another.claim(IQN, claim_message(2, OTHER_JOB))
    with PeerClient("127.0.0.1", port, None) as again:
        again.claim(IQN, claim_message(2))
        assert again.begin(IQN, begin_message(2, 1, None)).resumed


def test_after_a_release_another_job_pairs_and_the_release_can_be_repeated(port: int) -> None:
    with PeerClient("127.0.0.1", port, None) as first:
        first.claim(IQN, claim_message(1))
        for _ in range(2):
            first.release(IQN, Release(job=JOB, epoch=1))
    with PeerClient("127.0.0.1", port, None) as second:
        epoch = second.backup_vds(IQN).vds[0].epoch + 1
        assert second.claim(IQN, claim_message(epoch, OTHER_JOB)).pairing_secret


def test_the_pairing_secret_is_in_no_message(port: int) -> None:
    half = HalfKey()
    claim = claim_message(1, pairing_key=half.public)
    with httpx.Client(trust_env=False) as wire:
        url = f"http://127.0.0.1:{port}/peer/v1/nodes/{IQN}/claim"
        headers = {"Content-Type": "application/json"}
        answer = wire.post(url, content=claim.model_dump_json(), headers=headers)
    theirs = answer.json()["pairing_key"]
    secret = half.agree(theirs, iqn=IQN, job=JOB, source=half.public, target=theirs)
    assert "pairing_secret" not in answer.json()
    for sent in (claim.model_dump_json(), answer.text, str(answer.headers)):
        assert secret not in sent


def test_a_fault_of_the_targets_own_is_told_without_its_inside(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the inside")

    with serving(world) as port, PeerClient("127.0.0.1", port, None) as client:
        client.claim(IQN, claim_message(1))
        monkeypatch.setattr(world.recovery, "lineage", fail)
        with pytest.raises(PeerInternalError, match="RuntimeError") as caught:
            client.lineage(IQN, 1)
    assert "the inside" not in caught.value.sentence
    assert "the inside" in caplog.text


def test_a_request_that_never_ends_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qreplica.peer.gate.REQUEST_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = f"POST /peer/v1/nodes/{IQN}/claim HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        connection.sendall(head.encode() + b"{")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"urn:qreplica:error:message-too-slow" in answer
