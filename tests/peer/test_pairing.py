"""The key agreement that pairs a node without CHAP."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreplica.peer.errors import MessageInvalid
from qreplica.peer.pairing import HalfKey, Pairing, confirm, pairing_of
from qreplica.state.models import Node

FACTS = {"iqn": "iqn.2026-11.org.qreplica:tank", "job": "1" * 32}


def both(source: HalfKey, target: HalfKey) -> tuple[str, str]:
    publics = {"source": source.public, "target": target.public}
    return source.agree(target.public, **FACTS, **publics), target.agree(source.public, **FACTS, **publics)


def test_both_sides_get_the_same_secret_and_never_the_same_twice() -> None:
    first, second = both(HalfKey(), HalfKey())
    assert first == second
    assert len(first) == 64
    assert both(HalfKey(), HalfKey())[0] != first


def test_the_secret_is_neither_public_half() -> None:
    source, target = HalfKey(), HalfKey()
    assert both(source, target)[0] not in {source.public, target.public}


@pytest.mark.parametrize("changed", [{"iqn": "iqn.2026-11.org.qreplica:other"}, {"job": "2" * 32}])
def test_node_and_job_are_part_of_it(changed: dict[str, str]) -> None:
    source, target = HalfKey(), HalfKey()
    publics = {"source": source.public, "target": target.public}
    assert source.agree(target.public, **FACTS, **publics) != target.agree(
        source.public, **{**FACTS, **changed}, **publics
    )


@given(
    st.sampled_from(["00" * 32, "01" + "00" * 31, "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"])
)
def test_points_of_low_order_are_refused(public: str) -> None:
    half = HalfKey()
    with pytest.raises(MessageInvalid, match="pairing key"):
        half.agree(public, **FACTS, source=public, target=half.public)


def test_a_pairing_shows_no_secret() -> None:
    assert "abcdef" not in repr(Pairing("abcdef", confirmed=True))


def test_confirming_is_idempotent_and_needs_a_pairing() -> None:
    node = Node(pairing_secret="unconfirmed:abc")
    assert pairing_of(node) == Pairing("abc", confirmed=False)
    confirm(node)
    confirm(node)
    assert pairing_of(node) == Pairing("abc", confirmed=True)
    node.pairing_secret = None
    confirm(node)
    assert pairing_of(node) is None
