"""Serial numbers of subsystems: ``QR-XXXX-XXXX-XXXX``, ten random characters and two that check them.

The characters are Crockford's base 32 (no I, L, O, U). The last two are the number modulo 1021, a prime, so that one
wrong character and two swapped neighbours are noticed.
"""

import re
import secrets

from qreplica.license.errors import SerialInvalid

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM, _CHECK, _BASE, _PRIME = 10, 2, 32, 1021
_FORM = re.compile(rf"QR-([{_ALPHABET}]{{4}})-([{_ALPHABET}]{{4}})-([{_ALPHABET}]{{4}})")


def new_serial() -> str:
    """Return a fresh serial number, from 50 random bits."""
    return serial_of(secrets.randbelow(_BASE**_RANDOM))


def serial_of(number: int) -> str:
    """Return the serial number that holds ``number``, of 50 bits."""
    text = _characters(number, _RANDOM) + _characters(number % _PRIME, _CHECK)
    return "-".join(("QR", text[:4], text[4:8], text[8:]))


def check_serial(serial: str) -> str:
    """Return ``serial`` in its one form; lower case and spaces around it are let pass. Raises SerialInvalid."""
    found = _FORM.fullmatch(serial.strip().upper())
    if found is None:
        raise SerialInvalid(serial=serial, example=serial_of(0))
    number = 0
    for character in "".join(found.groups())[:_RANDOM]:
        number = number * _BASE + _ALPHABET.index(character)
    if serial_of(number) != found[0]:
        raise SerialInvalid(serial=serial, example=serial_of(0))
    return found[0]


def _characters(number: int, count: int) -> str:
    return "".join(_ALPHABET[number // _BASE**place % _BASE] for place in reversed(range(count)))
