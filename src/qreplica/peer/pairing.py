"""Pairing: how source and target of a node without CHAP come to share a secret that never goes over the wire.

The first claim on such a node is unsigned and carries the public half of a fresh X25519 key (RFC 7748); the answer
carries the target's. Both derive the same secret (HKDF, RFC 5869, over the shared value, with IQN, job and both public
halves as ``info``), and every later request and answer is signed with it. Like any first meeting without a shared
secret this trusts whoever answers first; a node with CHAP has no such moment.

An answer can be lost. So the target keeps a pairing as unconfirmed until the first request signed with it, and until
then the same job may pair anew. A node that no job holds pairs with whoever claims it next.

``Node.pairing_secret`` holds the secret, with ``unconfirmed:`` before it while it is.
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy.orm import Session

from qreplica.peer.errors import MessageInvalid, PairingNeeded
from qreplica.replication.recovery_claims import holder_of_node
from qreplica.state.models import Node

_UNCONFIRMED = "unconfirmed:"


@dataclass(frozen=True, slots=True)
class Pairing:
    """What a node knows of its pairing."""

    secret: str
    confirmed: bool

    def __repr__(self) -> str:
        return f"Pairing(confirmed={self.confirmed})"


class HalfKey:
    """One side's half of the agreement, good for one claim."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw().hex()

    def agree(self, other: str, *, iqn: str, job: str, source: str, target: str) -> str:
        """Return the secret (64 hexadecimal digits) shared with the holder of ``other``.

        ``source`` and ``target`` are the public halves by role. Raises MessageInvalid for a point of low order, which
        would give the same secret with every key.
        """
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(other)))
        except ValueError as error:
            raise MessageInvalid(reason="the pairing key is not usable") from error
        info = f"qreplica-pairing-1 {iqn} {job} {source} {target}".encode()
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(shared).hex()


def pairing_of(node: Node) -> Pairing | None:
    """Return the node's pairing, None when it has none."""
    if node.pairing_secret is None:
        return None
    confirmed = not node.pairing_secret.startswith(_UNCONFIRMED)
    return Pairing(node.pairing_secret.removeprefix(_UNCONFIRMED), confirmed)


def open_to_pairing(session: Session, node: Node) -> bool:
    """Tell whether an unsigned claim may pair: no job has proved a pairing, or no job holds the node any more."""
    pairing = pairing_of(node)
    return pairing is None or not pairing.confirmed or holder_of_node(session, node.id) is None


def pair(session: Session, node: Node, secret: str) -> None:
    """Keep ``secret`` as the node's pairing, unconfirmed, in place of any other. Raises PairingNeeded."""
    if not open_to_pairing(session, node):
        raise PairingNeeded(node=node.iqn)
    node.pairing_secret = _UNCONFIRMED + secret


def confirm(node: Node) -> None:
    """Note that the source has proved to know the pairing secret. Idempotent."""
    if node.pairing_secret is not None:
        node.pairing_secret = node.pairing_secret.removeprefix(_UNCONFIRMED)


def reset_pairing(session: Session, node: Node) -> None:
    """Forget the node's pairing, on the administrator's word. Idempotent.

    The job that holds the node must pair again, and whoever claims in its name first is believed.
    """
    node.pairing_secret = None
    session.flush()
