"""Names, IQNs, CHAP and paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreplica import names
from qreplica.iscsi.target.driver import Credentials, NodeSpec
from qreplica.iscsi.target.validation import check
from qreplica.names import (
    ChapIncomplete,
    ChapNameInvalid,
    ChapSecretInvalid,
    NotAName,
    NotAnInitiator,
    NotAnIqn,
    PathInvalid,
)


@pytest.mark.parametrize("name", ["a", "0", "vd-1", "a.b_c-d", "x" * 63, "9lives"])
def test_names_are_taken(name: str) -> None:
    assert names.check_name(name, "virtual disk") == name


@pytest.mark.parametrize(
    "name",
    ["", " ", "A", "é", "x" * 64, ".hidden", "-x", "_x", "a b", "a/b", "..", "a\n", "a\x00", "a\u0661", "a,b", "$(x)"],
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(NotAName, match="cannot name a virtual disk: use at most 63"):
        names.check_name(name, "virtual disk")


@pytest.mark.parametrize(
    "iqn",
    [
        "iqn.2026-11.org.example",
        "iqn.2026-11.org.example:disks-1",
        "iqn.2026-12.org.example:a:b.c",
        "iqn.2026-11.x:" + "y" * 209,
    ],
)
def test_iqns_are_taken_and_a_target_daemon_takes_them_too(iqn: str) -> None:
    assert names.check_iqn(iqn) == iqn
    check(NodeSpec(1, iqn))


@pytest.mark.parametrize(
    "iqn",
    [
        "",
        "disks",
        "iqn.2026-13.org.example:x",
        "iqn.2026-00.org.example:x",
        "iqn.26-11.org.example:x",
        "iqn.2026-11.:x",
        "iqn.2026-11.-org:x",
        "iqn.2026-11.org.example:",
        "iqn.2026-11.org.example:A",
        "iqn.2026-11.org.example:a_b",
        "iqn.2026-11.org.example:a,b",
        "iqn.2026-11.org.example:a b",
        "iqn.2026-11.org.example:a\n",
        "iqn.٢٠٢٦-11.org.example:x",
        "eui.0123456789abcdef",
        "iqn.2026-11.x:" + "y" * 210,
    ],
)
def test_what_cannot_name_a_node_is_refused(iqn: str) -> None:
    with pytest.raises(NotAnIqn):
        names.check_iqn(iqn)


@given(st.from_regex(names._IQN, fullmatch=True).filter(lambda iqn: len(iqn) <= 223))
def test_every_name_that_is_taken_can_be_served(iqn: str) -> None:
    names.check_iqn(iqn)
    check(NodeSpec(1, iqn))


@given(st.from_regex(names._INITIATOR, fullmatch=True))
def test_every_initiator_that_is_taken_can_be_served(name: str) -> None:
    names.check_initiator(name)
    check(NodeSpec(1, "iqn.2026-11.org.example:x", initiators=frozenset({name})))


@pytest.mark.parametrize(
    "name", ["", "host", "ALL", "10.0.0.1", "iqn.2026-11.x:a,b", "eui.12", "naa.5", "iqn.2026-11.x\n"]
)
def test_what_is_no_initiator_is_refused(name: str) -> None:
    with pytest.raises(NotAnInitiator):
        names.check_initiator(name)


@given(st.from_regex(names._CHAP_USER, fullmatch=True), st.from_regex(r"\A[\x21-\x7e]{12,64}\Z"))
def test_every_chap_that_is_taken_can_be_served(user: str, secret: str) -> None:
    names.check_chap(user, secret)
    check(NodeSpec(1, "iqn.2026-11.org.example:x", chap=Credentials(user, secret)))


def test_no_chap_is_fine() -> None:
    names.check_chap(None, None)


@pytest.mark.parametrize(("user", "secret"), [("user", None), (None, "a-secret-of-enough")])
def test_half_a_chap_is_refused(user: str | None, secret: str | None) -> None:
    with pytest.raises(ChapIncomplete):
        names.check_chap(user, secret)


@pytest.mark.parametrize("user", ["", "a b", "a,b", "é", "x" * 65, "a\n"])
def test_what_is_no_chap_name_is_refused(user: str) -> None:
    with pytest.raises(ChapNameInvalid):
        names.check_chap(user, "a-secret-of-enough")


@pytest.mark.parametrize(
    "secret", ["", "elevenchars", "x" * 65, "with a space in it", "schlüssel-ist-lang", "line\nbreak-here"]
)
def test_what_is_no_chap_secret_is_refused_without_being_told(secret: str) -> None:
    with pytest.raises(ChapSecretInvalid) as caught:
        names.check_chap("user", secret)
    assert not secret or secret not in str(caught.value.problem())


@pytest.mark.parametrize("path", ["/dev/sdb", "/srv/with space/d1.img", "/", "/a..b/c", "/" + "x" * 255])
def test_paths_are_taken(path: str) -> None:
    assert str(names.check_path(path)) == path


@pytest.mark.parametrize(
    "path", ["", "dev/sdb", "./x", "/a/../b", "/..", "/a\n", "/a\x00b", "/\udcff", "/" + "x" * 256, "/x" * 2100]
)
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(PathInvalid):
        names.check_path(path)
