"""Serial numbers: what is mistyped is noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreplica.license.errors import SerialInvalid
from qreplica.license.serial import _ALPHABET, check_serial, new_serial, serial_of

PLACES = [place for place, character in enumerate(serial_of(0)) if character == "0"]
numbers = st.integers(0, 32**10 - 1)


def test_new_ones_differ_and_are_right() -> None:
    made = {new_serial() for _ in range(200)}
    assert len(made) == 200
    assert all(check_serial(one) == one for one in made)
    assert all(len(one) == 17 and one.startswith("QR-") for one in made)


@given(numbers)
def test_lower_case_and_spaces_around_are_let_pass(number: int) -> None:
    serial = serial_of(number)
    assert check_serial(f"  {serial.lower()}\n") == serial


@given(numbers, st.sampled_from(PLACES), st.sampled_from(_ALPHABET))
def test_one_wrong_character_is_noticed(number: int, place: int, character: str) -> None:
    serial = serial_of(number)
    wrong = serial[:place] + character + serial[place + 1 :]
    if wrong == serial:
        assert check_serial(wrong) == serial
    else:
        with pytest.raises(SerialInvalid):
            check_serial(wrong)


@given(numbers, st.integers(0, 10))
def test_two_swapped_neighbours_are_noticed(number: int, first: int) -> None:
    text = serial_of(number)
    one, other = PLACES[first : first + 2]
    swapped = list(text)
    swapped[one], swapped[other] = text[other], text[one]
    if text[one] == text[other]:
        assert "".join(swapped) == text
    else:
        with pytest.raises(SerialInvalid):
            check_serial("".join(swapped))


@pytest.mark.parametrize(
    "text", ["", "QR", "QR-0000-0000", "0000-0000-0000", "QR-0000-0000-000O", "QR-0000-0000-0000-", "x"]
)
def test_what_is_none_is_refused_and_shown_what_one_looks_like(text: str) -> None:
    with pytest.raises(SerialInvalid, match="QR-0000-0000-0000"):
        check_serial(text)
