import mmap

import pytest

from qreplica.iscsi.errors import ChapInvalid, IscsiNameInvalid, PortalInvalid
from qreplica.iscsi.initiator import Buffer, Chap, KeepAlive, Portal, is_zero
from qreplica.iscsi.initiator._libiscsi import ffi
from qreplica.iscsi.initiator.model import check_iscsi_name


@pytest.mark.parametrize(
    ("address", "port", "text"),
    [("192.168.1.11", 3260, "192.168.1.11:3260"), ("fe80::1", 860, "[fe80::1]:860"), ("::1", 3260, "[::1]:3260")],
)
def test_a_portal_is_written_as_libiscsi_reads_it(address: str, port: int, text: str) -> None:
    assert str(Portal(address, port)) == text


@pytest.mark.parametrize(
    ("address", "port"), [("", 3260), ("target.example", 3260), ("1.2.3", 3260), ("::1", 0), ("::1", 65536)]
)
def test_what_is_no_portal_is_refused(address: str, port: int) -> None:
    with pytest.raises(PortalInvalid, match="IP address"):
        Portal(address, port)


@pytest.mark.parametrize(
    "name",
    ["iqn.2004-08.jp.qsan:p300q-000a2b3c", "iqn.2024-12.com.example", "eui.02004567A425678D", "naa.52004567BA64678D"],
)
def test_iscsi_names_are_accepted(name: str) -> None:
    assert check_iscsi_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "disk1",
        "eui.12",
        "iqn.2024-13.com.example",
        "iqn.2024-05.com.example:a b",
        "iqn.2024-05.com.example:a\0",
        "iqn.2024-05.com.example:" + "x" * 200,
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(IscsiNameInvalid, match="not an iSCSI name"):
        check_iscsi_name(name)


def test_a_secret_is_never_shown() -> None:
    assert "rose" not in repr(Chap("user", "rosebud-rosebud"))


@pytest.mark.parametrize(
    ("user", "secret"), [("", "x" * 12), ("u", ""), ("u", "s" * 256), ("u", "a\0b"), ("u\n", "secret")]
)
def test_chap_information_that_cannot_work_is_refused(user: str, secret: str) -> None:
    with pytest.raises(ChapInvalid) as caught:
        Chap(user, secret)
    assert not secret or secret not in str(caught.value)


@pytest.mark.parametrize(("interval", "intervals"), [(0.0, 2), (-1.0, 2), (5.0, 1)])
def test_a_keep_alive_that_cannot_work_is_refused(interval: float, intervals: int) -> None:
    with pytest.raises(ValueError, match="keep-alive"):
        KeepAlive(interval, intervals)


@pytest.mark.parametrize("length", [0, 1, 2, 15, 16, 17, 31, 32, 33, 100, 4096])
def test_zeros_are_told_from_the_rest_at_every_place(length: int) -> None:
    assert is_zero(bytes(length))
    for at in range(length):
        data = bytearray(length)
        data[at] = 1
        assert not is_zero(data)
        assert is_zero(data, at)


def test_a_buffer_is_aligned_to_pages_and_knows_zeros() -> None:
    buffer = Buffer(8192)
    assert int(ffi.cast("uintptr_t", buffer.data)) % mmap.PAGESIZE == 0
    assert buffer.size == len(buffer.view) == 8192
    assert buffer.is_zero()
    buffer.view[5000] = 7
    assert not buffer.is_zero()
    assert buffer.is_zero(0, 5000)
    assert buffer.is_zero(5001)
    assert not buffer.is_zero(5000, 1)
    for start, length in ((-1, 1), (0, 8193), (8192, 1), (0, -1)):
        with pytest.raises(ValueError, match="not within"):
            buffer.is_zero(start, length)
    with pytest.raises(ValueError, match="not within"):
        is_zero(b"abc", 4)
