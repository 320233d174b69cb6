"""What the owner of a backup VD is told of its live state, and who is told nothing."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from qreplica.errors import QReplicaError
from qreplica.iscsi import nodes
from qreplica.iscsi.target.driver import Credentials
from qreplica.peer import messages, signing
from qreplica.peer.client import PeerClient
from qreplica.peer.errors import ChapNeeded, NoSuchNode, NoSuchRoute, WrongChap
from qreplica.peer.server import peer_app
from qreplica.replication import digests
from qreplica.replication.digests import Look
from qreplica.replication.digests import digest as digest_of
from qreplica.replication.recovery_errors import BeyondBackupVd, ManifestMismatch, NotBegun, NotClaimed, StaleEpoch
from qreplica.storage.driver import BLOCK
from qreplica.units import MIB

from ..serving import served  # noqa: TID252 - what serves an application
from .world import IQN, JOB, OTHER_JOB, SIZE, World, begin_message, commit_message, digest

CHAP = Credentials("backups", "a-secret-of-CHAP")


def compare_message(epoch: int, generation: int, offset: int = 0, job: str = JOB, **changes: Any) -> messages.Compare:
    facts: dict[str, Any] = {
        "job": job,
        "epoch": epoch,
        "generation": generation,
        "manifest": digest(generation),
        "offset": offset,
        "end": SIZE,
        "chunk": BLOCK,
    }
    return messages.Compare(**{**facts, **changes})


def begun(world: World, epoch: int = 1, generation: int = 1) -> str:
    """Claim the backup VD and begin a full copy; return who may write it."""
    initiator = world.claim(epoch).initiator
    world.recovery.begin(IQN, begin_message(epoch, generation, None))
    return initiator


def told(world: World, message: messages.Compare) -> dict[int, str | None]:
    """Return all that is told, look after look."""
    found: dict[int, str | None] = {}
    while True:
        answer = world.recovery.compare(IQN, message)
        assert message.tells(answer.end, answer.digests)
        found.update(answer.digests)
        if answer.end == message.end:
            return found
        message = message.model_copy(update={"offset": answer.end})


def test_the_owner_is_told_what_the_live_vd_holds(world: World) -> None:
    initiator = begun(world)
    assert told(world, compare_message(1, 1)) == {}
    for number in range(6):
        world.write(initiator, number * BLOCK, bytes([number]) * BLOCK)
    assert told(world, compare_message(1, 1)) == {
        number * BLOCK: digest_of(bytes([number]) * BLOCK) for number in range(6)
    }
    whole = digest_of(b"".join(bytes([number]) * BLOCK for number in (4, 5, 0, 0)))
    assert told(world, compare_message(1, 1, 4 * BLOCK, chunk=4 * BLOCK)) == {4 * BLOCK: whole}


def test_after_a_roll_back_it_is_told_what_that_brought_back(world: World) -> None:
    initiator = begun(world)
    world.write(initiator, 0, b"x" * BLOCK)
    world.recovery.commit(IQN, commit_message(1, 1))
    world.recovery.begin(IQN, begin_message(1, 2, 1))
    world.write(initiator, 0, b"y" * BLOCK)
    world.write(initiator, BLOCK, b"y" * BLOCK)
    begun(world, 2, 3)
    assert told(world, compare_message(2, 3)) == {0: digest_of(b"x" * BLOCK)}


def test_nobody_else_is_told_anything(world: World) -> None:
    refused: list[tuple[messages.Compare, type[QReplicaError]]] = [(compare_message(1, 1), NotClaimed)]
    check(world, refused)
    world.claim(1)
    check(world, [(compare_message(1, 1), NotBegun)])
    begun(world, 2)
    refused = [
        (compare_message(1, 1), StaleEpoch),
        (compare_message(3, 1), NotClaimed),
        (compare_message(2, 1, job=OTHER_JOB), NotClaimed),
        (compare_message(2, 2), NotBegun),
        (compare_message(2, 1, manifest=digest(9)), ManifestMismatch),
        (compare_message(2, 1, end=SIZE + BLOCK), BeyondBackupVd),
    ]
    check(world, refused)
    with pytest.raises(NoSuchNode):
        world.recovery.compare(IQN + ".elsewhere", compare_message(2, 1))
    world.recovery.commit(IQN, commit_message(2, 1))
    check(world, [(compare_message(2, 1), NotBegun)])


def check(world: World, refused: list[tuple[messages.Compare, type[QReplicaError]]]) -> None:
    for message, error in refused:
        with pytest.raises(error):
            world.recovery.compare(IQN, message)


@pytest.mark.parametrize("what", ["a claim", "an abort", "a release", "a generation"])
def test_an_answer_that_comes_too_late_is_refused(world: World, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk is read, another owner comes, or what is in progress is rolled back."""
    initiator = begun(world)
    world.write(initiator, 0, b"x" * BLOCK)
    happens: dict[str, Callable[[], object]] = {
        "a claim": lambda: world.claim(2),
        "an abort": lambda: world.recovery.abort(IQN, messages.Abort(job=JOB, epoch=1)),
        "a release": lambda: world.recovery.release(IQN, messages.Release(job=JOB, epoch=1)),
        "a generation": lambda: world.recovery.begin(IQN, begin_message(1, 2, None)),
    }

    real = digests.look

    def look(*arguments: Any) -> Look:
        found = real(*arguments)
        happens[what]()
        return found

    monkeypatch.setattr(digests, "look", look)
    with pytest.raises((StaleEpoch, NotClaimed, NotBegun)):
        world.recovery.compare(IQN, compare_message(1, 1))


def test_it_changes_nothing_and_waits_for_no_claim(world: World) -> None:
    """A read that hangs must not keep the next owner waiting."""
    begun(world)
    before = world.live().read_bytes(), world.steps.taken
    with world.serving.alone(IQN):
        assert world.recovery.compare(IQN, compare_message(1, 1)).end == SIZE
    assert (world.live().read_bytes(), world.steps.taken) == before


# Over the wire.


@pytest.fixture
def chap(world: World) -> None:
    with world.database.session() as session:
        node = nodes.get(session, "backup-1")
        nodes.set_chap(session, node, chap_user=CHAP.user, chap_secret=CHAP.secret)


@pytest.mark.usefixtures("chap")
def test_only_who_has_the_nodes_secret_may_ask(world: World) -> None:
    with served(peer_app(world.database, 1, world.recovery, world.promoter)) as port:
        with PeerClient("127.0.0.1", port, CHAP) as client:
            initiator = begun(world)
            world.write(initiator, 2 * BLOCK, b"z" * BLOCK)
            answer = client.compare(IQN, compare_message(1, 1))
            assert answer.digests == {2 * BLOCK: digest_of(b"z" * BLOCK)}
            with pytest.raises(StaleEpoch):
                client.compare(IQN, compare_message(0, 1))
        for credentials, error in ((Credentials(CHAP.user, "another-secret"), WrongChap), (None, ChapNeeded)):
            with PeerClient("127.0.0.1", port, credentials) as client, pytest.raises(error):
                client.compare(IQN, compare_message(1, 1))


#: Unaligned, outside, too fine, too coarse, or no ranges at all.
NONSENSE: list[dict[str, Any]] = [
    {"offset": 1},
    {"offset": 512},
    {"offset": BLOCK, "chunk": 2 * BLOCK},
    {"offset": SIZE},
    {"offset": -BLOCK},
    {"offset": 1 << 200},
    {"end": 0},
    {"end": -1},
    {"chunk": 0},
    {"chunk": 512},
    {"chunk": 2 * MIB},
    {"chunk": 65537},
    {"manifest": "x"},
    {"surprise": 1},
]


@pytest.mark.usefixtures("chap")
def test_ranges_that_make_no_sense_are_refused(world: World) -> None:
    begun(world)
    path, keys = f"/peer/v1/nodes/{IQN}/compare", signing.keys(CHAP.secret, IQN)
    with (
        served(peer_app(world.database, 1, world.recovery, world.promoter)) as port,
        httpx.Client(trust_env=False) as wire,
    ):
        for changes in NONSENSE:
            body = compare_message(1, 1).model_dump() | changes
            request = wire.build_request("POST", f"http://127.0.0.1:{port}{path}", json=body)
            signed = signing.Request("POST", path, request.read())
            request.headers["Authorization"] = signing.sign(keys, CHAP.user, signed, int(time.time())).header()
            answer = wire.send(request)
            assert answer.status_code == 422, changes
            assert answer.json()["type"] == "urn:qreplica:error:message-invalid"


@pytest.mark.usefixtures("chap")
def test_a_target_of_an_older_version_does_not_know_the_question(world: World) -> None:
    app = peer_app(world.database, 1, world.recovery, world.promoter)
    app.router.routes[:] = [route for route in app.router.routes if not getattr(route, "path", "").endswith("/compare")]
    begun(world)
    with served(app) as port, PeerClient("127.0.0.1", port, CHAP) as client, pytest.raises(NoSuchRoute):
        client.compare(IQN, compare_message(1, 1))
