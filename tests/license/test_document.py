"""License files: what the vendor signed is believed, nothing else, and each refusal has its name."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qreplica.errors import QReplicaError
from qreplica.license import document, errors, keys
from qreplica.license.document import genuine, signed
from qreplica.license.issuing import issue
from qreplica.license.reading import LIMIT
from qreplica.license.serial import serial_of

from .conftest import NOW, SERIAL

#: All that may become of bytes that are no license of the vendor's.
REFUSALS = (
    errors.NotALicense,
    errors.LicenseTooLarge,
    errors.LicenseTruncated,
    errors.LicenseRepeats,
    errors.LicenseAltered,
    errors.LicenseTooNew,
    errors.LicenseOfAnotherVendor,
)
same_inputs = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_what_was_issued_is_read_back(good: bytes, trusted: Any) -> None:
    found = genuine(good, trusted)
    assert (found.serial, found.licensee, found.feature) == (SERIAL, "Müller & Söhne “Backup” GmbH", "qreplica")
    assert (found.issued_at, found.not_before, found.expires_at) == (NOW, NOW, NOW + timedelta(days=365))
    assert json.loads(good)["expires_at"] == "2027-11-25T12:00:00Z"
    assert len(good) * 10 < LIMIT


licensees = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=200)


@given(st.integers(0, 32**10 - 1), licensees, st.none() | st.integers(1, 36_525))
def test_whatever_is_issued_is_genuine_and_in_the_one_form(number: int, licensee: str, days: int | None) -> None:
    key = Ed25519PrivateKey.generate()
    file = issue(key, serial=serial_of(number), licensee=licensee, now=NOW, days=days)
    found = genuine(file, {document.fingerprint_of(key): key.public_key()})
    assert (found.serial, found.licensee) == (serial_of(number), licensee)
    assert (found.expires_at is None) == (days is None)
    assert signed(found, key) == file


def test_no_change_of_a_byte_verifies_whichever(good: bytes, trusted: Any) -> None:
    """Each bit of each byte, and each byte taken away or doubled."""
    changed = [good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :] for at in range(len(good)) for bit in range(8)]
    changed += [good[:at] + good[at + 1 :] for at in range(len(good))]
    changed += [good[:at] + good[at : at + 1] + good[at:] for at in range(len(good))]
    for content in changed:
        if content != good:
            with pytest.raises(REFUSALS):
                genuine(content, trusted)


@same_inputs
@given(data=st.data(), byte=st.integers(0, 255))
def test_no_other_byte_anywhere_verifies(good: bytes, trusted: Any, data: st.DataObject, byte: int) -> None:
    at = data.draw(st.integers(0, len(good) - 1))
    content = good[:at] + bytes([byte]) + good[at + 1 :]
    if content == good:
        assert genuine(content, trusted).serial == SERIAL
    else:
        with pytest.raises(REFUSALS):
            genuine(content, trusted)


def test_every_truncation_is_called_that(good: bytes, trusted: Any) -> None:
    for length in range(1, len(good)):
        with pytest.raises(errors.LicenseTruncated):
            genuine(good[:length], trusted)


@given(st.binary(max_size=4096))
def test_random_bytes_are_no_license(trusted: Any, content: bytes) -> None:
    with pytest.raises(REFUSALS):
        genuine(content, trusted)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=50),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=20), inner, max_size=4)
    ),
    max_leaves=8,
)


@same_inputs
@given(
    changes=st.dictionaries(
        st.sampled_from([*document.License.model_fields, "signature", "more", "\ud800"]), values, min_size=1
    )
)
def test_no_value_of_any_type_in_any_field_verifies(good: bytes, trusted: Any, changes: dict[str, Any]) -> None:
    before = json.loads(good)
    for form in ({"indent": 2, "ensure_ascii": False}, {}):
        content = (json.dumps({**before, **changes}, **form) + "\n").encode(errors="surrogatepass")
        if content != good:
            with pytest.raises(REFUSALS):
                genuine(content, trusted)


NOT_LICENSES: dict[str, tuple[bytes, type[QReplicaError]]] = {
    "nothing": (b"", errors.NotALicense),
    "no text": (b"\xff\xfe\x00", errors.NotALicense),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), errors.NotALicense),
    "another JSON": (b'{"format": "something", "format": "else"}', errors.NotALicense),
    "a list": (b"[]", errors.NotALicense),
    "deep": (b"[" * LIMIT, errors.NotALicense),
    "a long number": (b"9" * LIMIT, errors.NotALicense),
    "at the limit": (b" " * LIMIT, errors.NotALicense),
    "above the limit": (b" " * (LIMIT + 1), errors.LicenseTooLarge),
}


@pytest.mark.parametrize("which", NOT_LICENSES)
def test_what_is_no_license_is_called_that(trusted: Any, which: str) -> None:
    content, error = NOT_LICENSES[which]
    with pytest.raises(error):
        genuine(content, trusted)


CHANGES: dict[str, tuple[Callable[[str], str], type[QReplicaError]]] = {
    "another serial": (lambda text: text.replace(SERIAL, serial_of(1)), errors.LicenseAltered),
    "later end": (lambda text: text.replace("2027-11-25", "2028-11-25"), errors.LicenseAltered),
    "no end": (lambda text: text.replace('"2027-11-25T12:00:00Z"', "null"), errors.LicenseAltered),
    "another name": (lambda text: text.replace("Müller", "Meier"), errors.LicenseAltered),
    "one line": (lambda text: json.dumps(json.loads(text)), errors.LicenseAltered),
    "escapes": (lambda text: json.dumps(json.loads(text), indent=2) + "\n", errors.LicenseAltered),
    "line ends": (lambda text: text.replace("\n", "\r\n"), errors.LicenseAltered),
    "a byte order mark": (lambda text: "\ufeff" + text, errors.NotALicense),
    "more behind": (lambda text: text + text, errors.LicenseAltered),
    "a field twice": (lambda text: text.replace('  "serial"', '  "serial": "x",\n  "serial"'), errors.LicenseRepeats),
    "a field more": (lambda text: text.replace('  "serial"', '  "more": 1,\n  "serial"'), errors.LicenseAltered),
    "a field less": (lambda text: text.replace('  "feature": "qreplica",\n', ""), errors.LicenseAltered),
    "a version on": (lambda text: text.replace('"version": 1', '"version": 2'), errors.LicenseTooNew),
    "a true version": (lambda text: text.replace('"version": 1', '"version": true'), errors.LicenseAltered),
    "no signature": (lambda text: text[: text.index(',\n  "signature"')] + "\n}\n", errors.LicenseAltered),
    "an empty signature": (lambda text: text[: text.rindex('e": "')] + 'e": ""\n}\n', errors.LicenseAltered),
}  # fmt: skip


@pytest.mark.parametrize("which", CHANGES)
def test_what_was_done_to_a_license_is_told(good: bytes, trusted: Any, which: str) -> None:
    change, error = CHANGES[which]
    changed = change(good.decode())
    assert changed != good.decode()
    with pytest.raises(error):
        genuine(changed.encode(), trusted)


def test_another_vendors_is_called_that_also_when_it_claims_our_key(good: bytes, key: Any, trusted: Any) -> None:
    other = Ed25519PrivateKey.generate()
    theirs = issue(other, serial=SERIAL, licensee="x", now=NOW)
    with pytest.raises(errors.LicenseOfAnotherVendor, match=keys.fingerprint(key.public_key())):
        genuine(theirs, trusted)
    license_, _ = document.read(good)
    with pytest.raises(errors.LicenseAltered):
        genuine(signed(license_, other), trusted)


def test_the_bits_of_base64_that_mean_nothing_are_looked_at_too(good: bytes, trusted: Any) -> None:
    signature = json.loads(good)["signature"]
    assert signature.endswith("==")
    other = signature[:-3] + chr(ord(signature[-3]) + 1) + "=="
    assert base64.b64decode(other) == base64.b64decode(signature)
    with pytest.raises(errors.LicenseAltered):
        genuine(good.replace(signature.encode(), other.encode()), trusted)


def test_the_wrong_feature_and_serial_are_told(key: Any, trusted: Any, good: bytes) -> None:
    license_, _ = document.read(good)
    other = genuine(signed(license_.model_copy(update={"feature": "dedup"}), key), trusted)
    with pytest.raises(errors.LicenseOfAnotherFeature, match="“dedup”"):
        other.check_for(SERIAL)
    with pytest.raises(errors.LicenseOfAnotherSubsystem, match=serial_of(7)):
        license_.check_for(serial_of(7))
    license_.check_for(SERIAL)


def test_it_is_valid_from_its_first_to_before_its_last_second(good: bytes) -> None:
    license_, _ = document.read(good)
    end = NOW + timedelta(days=365)
    with pytest.raises(errors.LicenseNotYetValid, match="2026-11-25T12:00:00Z"):
        license_.check_at(NOW - timedelta(microseconds=1))
    license_.check_at(NOW)
    license_.check_at(end - timedelta(microseconds=1))
    with pytest.raises(errors.LicenseExpired, match="2027-11-25T12:00:00Z"):
        license_.check_at(end)


@pytest.mark.parametrize(
    ("term", "reason"),
    [
        ({"days": 0}, "0 days"),
        ({"days": 10**9}, "1000000000 days"),
        ({"days": 1, "expires_at": NOW + timedelta(days=1)}, "both"),
        ({"expires_at": NOW}, "already"),
        ({"not_before": NOW + timedelta(days=2), "expires_at": NOW + timedelta(days=1)}, "already"),
        ({"licensee": ""}, "1 to 200"),
        ({"licensee": "x" * 201}, "1 to 200"),
        ({"licensee": "a\nb"}, "printable"),
        ({"licensee": " a"}, "printable"),
    ],
)
def test_nonsense_is_not_issued(key: Any, term: dict[str, Any], reason: str) -> None:
    with pytest.raises(errors.TermInvalid, match=reason):
        issue(key, **{"serial": SERIAL, "licensee": "x", "now": NOW, **term})
    with pytest.raises(errors.SerialInvalid):
        issue(key, serial="QR-1", licensee="x", now=NOW)
