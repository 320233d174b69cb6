"""The target's check of who sends a peer request, against the secrets and the nonces in the database."""

import re
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from qreplica.peer import signing
from qreplica.peer.errors import (
    ChapNeeded,
    ChapNotUsed,
    NoSuchNode,
    PairingNeeded,
    RequestReplayed,
    WrongChap,
    WrongPairing,
)
from qreplica.peer.gate import Caller
from qreplica.peer.pairing import confirm, open_to_pairing, pairing_of
from qreplica.state.database import Database
from qreplica.state.models import Node, PeerNonce

_NODE = re.compile(r"/peer/v1/nodes/(?P<iqn>[^/?]+)/(?P<leaf>[^/?]+)(?:\?.*)?", re.ASCII)

#: What a node without CHAP answers before it is paired.
_UNSIGNED_LEAVES = frozenset({("GET", "backup-vds"), ("POST", "claim")})

#: A request signed up to WINDOW ahead of our clock is accepted until WINDOW after; the rest is for clocks that are set.
_NONCE_LIFE = timedelta(seconds=2 * signing.WINDOW + 60)


def authenticate(database: Database, request: signing.Request, header: str | None) -> Caller | None:
    """Return who signed ``request``; None where none need have: paths that name no node, and a node to be paired.

    A genuine request counts as seen from now on, in the database, so that neither controller obeys it again. Raises
    NoSuchNode, WrongChap, ChapNeeded, ChapNotUsed, WrongPairing, PairingNeeded, SignatureMalformed, ClockSkew,
    RequestReplayed.
    """
    match = _NODE.fullmatch(request.path)
    if match is None:
        return None
    with database.session() as session:
        iqn = unquote(match["iqn"])
        node = session.scalar(select(Node).where(Node.iqn == iqn))
        if node is None:
            raise NoSuchNode(node=iqn[:223])
        if header is None:
            _check_unsigned(session, node, (request.method, match["leaf"]))
            return None
        signature = signing.parse(header)
        caller = Caller(_keys(node, signature), signature)
        if not signing.genuine(caller.keys, signature, request):
            raise _refusal(node, signature)
        signing.check_time(signature, time.time())
        _remember(session, signature.nonce)
        if node.chap_secret is None:
            confirm(node)
        return caller


def _check_unsigned(session: Session, node: Node, asked: tuple[str, str]) -> None:
    if node.chap_secret is not None:
        raise ChapNeeded(node=node.iqn)
    if asked not in _UNSIGNED_LEAVES or not open_to_pairing(session, node):
        raise PairingNeeded(node=node.iqn)


def _keys(node: Node, signature: signing.Signature) -> signing.Keys:
    """Return the keys that the request should have been signed with."""
    if node.chap_secret is not None:
        if signature.name != node.chap_user:
            raise WrongChap(node=node.iqn, user=signature.name)
        return signing.keys(node.chap_secret, node.iqn)
    if signature.name != signing.PAIRING_NAME:
        raise ChapNotUsed(node=node.iqn)
    pairing = pairing_of(node)
    if pairing is None:
        raise WrongPairing(node=node.iqn)
    return signing.keys(pairing.secret, node.iqn)


def _refusal(node: Node, signature: signing.Signature) -> WrongChap | WrongPairing:
    if node.chap_secret is None:
        return WrongPairing(node=node.iqn)
    return WrongChap(node=node.iqn, user=signature.name)


def _remember(session: Session, nonce: str) -> None:
    """Keep the nonce; raise RequestReplayed when it is there already. Drops those that are too old to matter."""
    seen_at = datetime.now(UTC)
    session.execute(delete(PeerNonce).where(PeerNonce.seen_at < seen_at - _NONCE_LIFE))
    session.add(PeerNonce(nonce=nonce, seen_at=seen_at))
    try:
        session.flush()
    except IntegrityError as error:
        raise RequestReplayed from error
