"""Signatures of the peer conversation: both sides prove that they know a node's secret, which never goes over the wire.

Keys. From the secret (a CHAP secret, or a pairing secret) and the node's IQN, HKDF (RFC 5869, SHA-256, no salt) derives
two keys of 32 bytes: ``info`` is ``qreplica-peer-1 request <IQN>`` for requests and ``qreplica-peer-1 answer <IQN>``
for answers. A CHAP response (RFC 1994: a hash over identifier, secret and challenge) is thus never computed with
a key of ours nor the other way round, so that neither protocol can be used to get answers for the other; a request
cannot be reflected as an answer; and nodes that share a secret do not share keys. As with CHAP itself, who listens can
try guesses of a weak secret off-line: secrets should be random.

A request carries ``Authorization: QReplica-HMAC-SHA256 name=N,time=T,nonce=R,mac=M`` with

* N: the CHAP name, base64url without padding (the name ``pairing`` for a pairing secret),
* T: the time, whole seconds since 1970 UTC,
* R: 16 random bytes, hexadecimal,
* M: HMAC-SHA-256 of the request key, hexadecimal, over these lines joined by one newline: ``QReplica-Peer-1 request``,
  method, path with query exactly as sent, SHA-256 of the body in hexadecimal, N, T, R.

None of the lines can hold a newline, so that two different requests never have the same canonical form.

An answer to a signed request carries ``QReplica-Answer: M`` with the HMAC-SHA-256 of the answer key over the lines
``QReplica-Peer-1 answer``, status, SHA-256 of the body, and the request's mac, which stands for its nonce and all else
of it: an answer is good for one request only.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from qreplica.peer.errors import ClockSkew, SignatureMalformed

#: A request's time may differ from the target's clock by this many seconds.
WINDOW = 300

ANSWER_HEADER = "QReplica-Answer"
PAIRING_NAME = "pairing"

_SCHEME = "QReplica-HMAC-SHA256"
_HEADER = re.compile(
    rf"{_SCHEME} name=(?P<name>[A-Za-z0-9_-]{{0,400}}),time=(?P<time>[0-9]{{1,12}}),"
    r"nonce=(?P<nonce>[0-9a-f]{32}),mac=(?P<mac>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Keys:
    """The two keys of a node's secret."""

    request: bytes
    answer: bytes

    def __repr__(self) -> str:
        return "Keys(…)"


@dataclass(frozen=True, slots=True)
class Request:
    """What of a request is signed: the method, path with query as sent, and the body."""

    method: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Signature:
    """The parts of an ``Authorization`` header."""

    name: str
    time: int
    nonce: str
    mac: str

    def header(self) -> str:
        """Return the header's value."""
        return f"{_SCHEME} name={_encode(self.name)},time={self.time},nonce={self.nonce},mac={self.mac}"


def keys(secret: str, iqn: str) -> Keys:
    """Derive the keys that ``secret`` gives for the node ``iqn``."""
    return Keys(request=_derive(secret, f"request {iqn}"), answer=_derive(secret, f"answer {iqn}"))


def sign(keys: Keys, name: str, request: Request, time: int) -> Signature:
    """Sign ``request`` at ``time`` with a fresh nonce."""
    nonce = secrets.token_hex(16)
    return Signature(name, time, nonce, _request_mac(keys, request, name, time, nonce))


def parse(header: str) -> Signature:
    """Read an ``Authorization`` header. Raises SignatureMalformed for what ``Signature.header`` cannot give."""
    match = _HEADER.fullmatch(header)
    if match is None:
        raise SignatureMalformed
    try:
        name = _decode(match["name"])
    except (binascii.Error, UnicodeDecodeError) as error:
        raise SignatureMalformed from error
    signature = Signature(name, int(match["time"]), match["nonce"], match["mac"])
    if signature.header() != header:
        # Base64 and numbers can be spelt in more than one way; only ours is taken.
        raise SignatureMalformed
    return signature


def genuine(keys: Keys, signature: Signature, request: Request) -> bool:
    """Tell whether ``request`` was signed with these keys; takes the same time however wrong the mac is."""
    expected = _request_mac(keys, request, signature.name, signature.time, signature.nonce)
    return hmac.compare_digest(expected, signature.mac)


def check_time(signature: Signature, now: float) -> None:
    """Raise ClockSkew when the request's time is more than WINDOW seconds from ``now``."""
    skew = signature.time - now
    if abs(skew) > WINDOW:
        raise ClockSkew(seconds=round(abs(skew)), direction="ahead of" if skew > 0 else "behind", window=WINDOW)


def sign_answer(keys: Keys, signature: Signature, status: int, body: bytes) -> str:
    """Return the ``QReplica-Answer`` header for the answer to the request that carried ``signature``."""
    return _mac(keys.answer, "answer", str(status), _digest(body), signature.mac)


def answer_genuine(keys: Keys, signature: Signature, status: int, body: bytes, header: str) -> bool:
    """Tell whether the answer comes from who knows the secret, and belongs to this very request."""
    return hmac.compare_digest(sign_answer(keys, signature, status, body).encode(), header.encode())


def _request_mac(keys: Keys, request: Request, name: str, time: int, nonce: str) -> str:
    return _mac(
        keys.request, "request", request.method, request.path, _digest(request.body), _encode(name), str(time), nonce
    )


def _mac(key: bytes, purpose: str, *lines: str) -> str:
    canonical = "\n".join((f"QReplica-Peer-1 {purpose}", *lines))
    return hmac.new(key, canonical.encode(), hashlib.sha256).hexdigest()


def _derive(secret: str, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"qreplica-peer-1 {purpose}".encode()).derive(
        secret.encode()
    )


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _encode(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).rstrip(b"=").decode()


def _decode(text: str) -> str:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
