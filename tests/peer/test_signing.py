"""Signatures: any change of any part is refused, and neither secret nor key shows anywhere."""

import dataclasses
import hashlib
import hmac
import re

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import assume, given
from hypothesis import strategies as st

from qreplica.peer import signing
from qreplica.peer.errors import ClockSkew, SignatureMalformed

IQN = "iqn.2026-11.org.qreplica:tank"
SECRET = "correct horse battery"
KEYS = signing.keys(SECRET, IQN)

texts = st.text(max_size=40)
secrets = st.text(min_size=1, max_size=40)
names = st.text(max_size=60)
methods = st.sampled_from(["GET", "POST"])
paths = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)
requests = st.builds(signing.Request, methods, paths, st.binary(max_size=80))
times = st.integers(0, 10**11)


@given(requests, names, times)
def test_what_was_signed_is_genuine_also_after_the_wire(request: signing.Request, name: str, time: int) -> None:
    signature = signing.sign(KEYS, name, request, time)
    arrived = signing.parse(signature.header())
    assert arrived == signature
    assert signing.genuine(KEYS, arrived, request)


@given(requests, names, times, st.data())
def test_a_change_of_any_part_is_refused(request: signing.Request, name: str, time: int, data: st.DataObject) -> None:
    signature = signing.sign(KEYS, name, request, time)
    part = data.draw(st.sampled_from(["method", "path", "body", "name", "time", "nonce", "mac"]))
    other = {
        "method": methods,
        "path": paths,
        "body": st.binary(max_size=80),
        "name": names,
        "time": times,
        "nonce": st.text("0123456789abcdef", min_size=32, max_size=32),
        "mac": st.text("0123456789abcdef", min_size=64, max_size=64),
    }
    value = data.draw(other[part])
    holder = request if part in {"method", "path", "body"} else signature
    assume(getattr(holder, part) != value)
    changed = dataclasses.replace(holder, **{part: value})
    if part in {"method", "path", "body"}:
        assert not signing.genuine(KEYS, signature, changed)
    else:
        assert not signing.genuine(KEYS, changed, request)


@given(requests, requests, times)
def test_parts_cannot_be_shifted_into_each_other(first: signing.Request, second: signing.Request, time: int) -> None:
    assume(first != second)
    signature = signing.sign(KEYS, "user", first, time)
    assert not signing.genuine(KEYS, signature, second)


@given(requests, secrets, st.sampled_from([IQN, IQN + "2"]))
def test_another_secret_or_node_is_refused(request: signing.Request, secret: str, iqn: str) -> None:
    assume((secret, iqn) != (SECRET, IQN))
    signature = signing.sign(KEYS, "user", request, 1)
    assert not signing.genuine(signing.keys(secret, iqn), signature, request)


@given(requests, st.integers(100, 599), st.binary(max_size=80), st.data())
def test_an_answer_is_good_for_one_request_only(
    request: signing.Request, status: int, body: bytes, data: st.DataObject
) -> None:
    signature = signing.sign(KEYS, "user", request, 1)
    proof = signing.sign_answer(KEYS, signature, status, body)
    assert signing.answer_genuine(KEYS, signature, status, body, proof)
    again = signing.sign(KEYS, "user", request, 1)
    assert not signing.answer_genuine(KEYS, again, status, body, proof)
    other_status = data.draw(st.integers(100, 599).filter(lambda value: value != status))
    assert not signing.answer_genuine(KEYS, signature, other_status, body, proof)
    other_body = data.draw(st.binary(max_size=80).filter(lambda value: value != body))
    assert not signing.answer_genuine(KEYS, signature, status, other_body, proof)
    other_proof = data.draw(texts.filter(lambda value: value != proof))
    assert not signing.answer_genuine(KEYS, signature, status, body, other_proof)


def test_a_request_cannot_be_reflected_as_an_answer() -> None:
    assert KEYS.request != KEYS.answer
    signature = signing.sign(KEYS, "user", signing.Request("GET", "/", b""), 1)
    assert not signing.answer_genuine(KEYS, signature, 200, b"", signature.mac)


@given(st.text(max_size=120))
def test_no_header_but_ours_can_be_read(header: str) -> None:
    with pytest.raises(SignatureMalformed):
        signing.parse(header)


@given(requests, names, times, st.integers(0, 300), st.characters())
def test_a_header_with_one_character_changed_is_unreadable_or_refused(
    request: signing.Request, name: str, time: int, position: int, character: str
) -> None:
    header = signing.sign(KEYS, name, request, time).header()
    position %= len(header)
    assume(header[position] != character)
    try:
        changed = signing.parse(header[:position] + character + header[position + 1 :])
    except SignatureMalformed:
        return
    assert not signing.genuine(KEYS, changed, request)


@pytest.mark.parametrize("respelt", ["name=dXNlcg,time=01,", "name=dXNlch,time=1,", "name=dXNlcg==,time=1,"])
def test_a_second_spelling_of_the_same_header_is_refused(respelt: str) -> None:
    header = signing.sign(KEYS, "user", signing.Request("GET", "/", b""), 1).header()
    assert "name=dXNlcg,time=1," in header
    with pytest.raises(SignatureMalformed):
        signing.parse(header.replace("name=dXNlcg,time=1,", respelt))


@pytest.mark.parametrize("skew", [-signing.WINDOW, -1, 0, 1, signing.WINDOW])
def test_clocks_may_differ_by_the_window(skew: int) -> None:
    signing.check_time(signing.Signature("user", 10_000 + skew, "", ""), 10_000)


@pytest.mark.parametrize(("skew", "words"), [(301, "301 s ahead of"), (-301, "301 s behind")])
def test_clocks_that_differ_by_more_are_told_by_how_much(skew: int, words: str) -> None:
    with pytest.raises(ClockSkew, match=words):
        signing.check_time(signing.Signature("user", 10_000 + skew, "", ""), 10_000)


def test_every_signature_has_a_nonce_of_its_own() -> None:
    request = signing.Request("GET", "/", b"")
    nonces = {signing.sign(KEYS, "user", request, 1).nonce for _ in range(100)}
    assert len(nonces) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", nonce) for nonce in nonces)


@given(requests, names)
def test_the_secret_is_in_nothing_that_is_sent_or_shown(request: signing.Request, name: str) -> None:
    assume(SECRET not in name)
    signature = signing.sign(KEYS, name, request, 1)
    for text in (signature.header(), signing.sign_answer(KEYS, signature, 200, b""), repr(KEYS), repr(signature)):
        assert SECRET not in text
        assert KEYS.request.hex() not in text
        assert repr(KEYS.request) not in text


def test_the_canonical_form_is_the_documented_one() -> None:
    """Recomputed here from the module's description, so that a change of it shows."""

    def key(info: str) -> bytes:
        return HKDF(SHA256(), 32, None, info.encode()).derive(SECRET.encode())

    def mac(key: bytes, *lines: str) -> str:
        return hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).hexdigest()

    body = b'{"job": "x"}'
    digest = hashlib.sha256(body).hexdigest()
    request = signing.Request("POST", "/peer/v1/nodes/x/claim?a=b", body)
    signature = signing.sign(KEYS, "user", request, 1_700_000_000)
    assert signature.mac == mac(
        key(f"qreplica-peer-1 request {IQN}"),
        "QReplica-Peer-1 request",
        "POST",
        "/peer/v1/nodes/x/claim?a=b",
        digest,
        "dXNlcg",
        "1700000000",
        signature.nonce,
    )
    assert signing.sign_answer(KEYS, signature, 200, body) == mac(
        key(f"qreplica-peer-1 answer {IQN}"), "QReplica-Peer-1 answer", "200", digest, signature.mac
    )
