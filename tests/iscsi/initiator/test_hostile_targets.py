"""Targets that lie, refuse, break off or speak something else: servers of our own that send what we choose."""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from qreplica.iscsi.errors import (
    ChapRefused,
    CommandFailed,
    InitiatorNotAdmitted,
    LoginRefused,
    NodeUnknown,
    NotIscsi,
    PortalUnreachable,
    SessionLost,
    TargetBusy,
    TargetUnproven,
)
from qreplica.iscsi.initiator import Buffer, Chap, Completion, FoundNode, KeepAlive, Portal, Session, discover
from qreplica.units import KIB, MIB

IQN = "iqn.2024-05.com.example:backup"
INITIATOR = "iqn.2024-05.com.example:initiator"
USER = Chap("replicator", "secret-of-twelve")
NODE = Chap("backup-node", "answer-of-twelve")
TRANSIT, SECURITY, OPERATIONAL, FULL = 0x80, 0, 1, 3
TEXT, SCSI, NOP, LOGOUT, DATA_OUT = 0x04, 0x01, 0x00, 0x06, 0x05

Script = Callable[["Peer"], None]


class Peer:
    """The target's end of a connection, one PDU at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.status_number = 1

    def take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.connection.recv(count - len(data))
            if not more:
                raise ConnectionError
            data += more
        return data

    def request(self) -> tuple[bytes, bytes]:
        header = self.take(48)
        length = int.from_bytes(header[5:8], "big")
        return header, self.take((length + 3) & ~3)[:length]

    def reply(  # noqa: PLR0917 - what a PDU consists of
        self, request: bytes, opcode: int, flags: int, byte2: bytes = b"", data: bytes = b"", tail: bytes = b""
    ) -> None:
        number = int.from_bytes(request[24:28], "big") + (0 if request[0] & 0x40 else 1)
        header = bytes([opcode, flags]) + byte2.ljust(2, b"\0") + len(data).to_bytes(4, "big")
        header += bytes(8) + request[16:20] + bytes(4)
        header += struct.pack(">III", self.status_number, number, number + 64) + tail.ljust(12, b"\0")
        self.status_number += 1
        self.connection.sendall(header + data + bytes(-len(data) % 4))

    def answer_login(self, request: bytes, flags: int, *keys: str, status: int = 0) -> None:
        data = b"".join(key.encode() + b"\0" for key in keys)
        self.reply(request, 0x23, flags, data=data, tail=status.to_bytes(2, "big"))

    def log_in(self) -> None:
        request, _ = self.request()
        self.answer_login(request, TRANSIT | OPERATIONAL << 2 | FULL, "HeaderDigest=None", "TargetPortalGroupTag=1")

    def answer(self, request: bytes, status: int, sense: bytes = b"", flags: int = 0x80, residual: int = 0) -> None:
        data = len(sense).to_bytes(2, "big") + sense if sense else b""
        self.reply(request, 0x21, flags, bytes([0, status]), data, bytes(8) + residual.to_bytes(4, "big"))

    def data_in(self, request: bytes, data: bytes, residual: int = 0) -> None:
        flags = 0x81 | (0x02 if residual else 0)
        self.reply(request, 0x25, flags, data=data, tail=bytes(8) + residual.to_bytes(4, "big"))

    def serve_disk(self, answers: list[Callable[[bytes], None]], blocks: int = 1024) -> None:
        """Be a disk of some blocks whose reads and writes are answered by ``answers`` in turn, then truly."""
        while True:
            request, _ = self.request()
            operation = request[32] if request[0] & 0x3F == SCSI else None
            if request[0] & 0x3F == DATA_OUT:
                continue
            if request[0] & 0x3F == LOGOUT:
                self.reply(request, 0x26, 0x80)
            elif request[0] & 0x3F == NOP:
                self.reply(request, 0x20, 0x80)
            elif operation == 0x9E:
                self.data_in(request, struct.pack(">QI", blocks - 1, 512) + bytes(20))
            elif operation == 0x12:
                self.answer(request, 2, fixed_sense(5, 0x2400))
            elif answers:
                answers.pop(0)(request)
            elif operation == 0x88:
                self.data_in(request, bytes(int.from_bytes(request[20:24], "big")))
            else:
                self.answer(request, 0)


def fixed_sense(key: int, code: int) -> bytes:
    return bytes([0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0]) + code.to_bytes(2, "big") + bytes(4)


@contextmanager
def server(script: Script) -> Iterator[Portal]:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    script(Peer(connection))
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield Portal("127.0.0.1", listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5.0)
        assert not thread.is_alive()


def say(data: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.connection.sendall(data)
        peer.connection.settimeout(5.0)
        peer.take(1 << 20)

    return script


def refuse(status: int) -> Script:
    def script(peer: Peer) -> None:
        request, _ = peer.request()
        peer.answer_login(request, 0, "TargetAddress=192.168.1.15:3260", status=status)

    return script


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00",
        os.urandom(4096).replace(b"\x23", b"\x24", 1).rjust(4097, b"\xff"),
        bytes([0x23, 0, 0, 7]) + bytes(44),
        bytes([0x23, 0, 0, 0, 1]) + bytes(43),
        bytes([0x23, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF]) + bytes(40),
    ],
    ids=["http", "ssh", "nul", "random", "flags", "additional header", "length"],
)
def test_garbage_is_recognised_at_once(data: bytes) -> None:
    with server(say(data)) as portal:
        with pytest.raises(NotIscsi, match="not an iSCSI target"):
            Session.connect(portal, IQN, INITIATOR, timeout=30.0)
        with pytest.raises(NotIscsi):
            discover(portal, INITIATOR, timeout=30.0)


def test_a_server_that_closes_at_once() -> None:
    with (
        server(lambda _peer: None) as portal,
        pytest.raises(PortalUnreachable, match=r"closed the connection|reset|broken pipe"),
    ):
        Session.connect(portal, IQN, INITIATOR, timeout=30.0)


@pytest.mark.parametrize("beginning", [b"", bytes([0x23]), bytes([0x23, 0x87, 0, 0, 0, 0, 0, 16]) + bytes(40)])
def test_a_server_that_never_finishes_its_answer(beginning: bytes) -> None:
    with server(say(beginning)) as portal, pytest.raises(PortalUnreachable, match="not answered within"):
        Session.connect(portal, IQN, INITIATOR, timeout=0.3)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (0x0101, LoginRefused, "moved for a time"),
        (0x0102, LoginRefused, "moved for good"),
        (0x0200, LoginRefused, "error in the request"),
        (0x0201, ChapRefused, "CHAP"),
        (0x0202, InitiatorNotAdmitted, INITIATOR),
        (0x0203, NodeUnknown, IQN),
        (0x0204, NodeUnknown, IQN),
        (0x0206, LoginRefused, "too many connections"),
        (0x0301, LoginRefused, "not ready"),
        (0x0302, LoginRefused, "out of resources"),
        (0x04FF, LoginRefused, "0x04ff"),
    ],
)
def test_refusals_are_told_apart(status: int, error: type[LoginRefused], words: str) -> None:
    with server(refuse(status)) as portal, pytest.raises(error, match=words) as caught:
        Session.connect(portal, IQN, INITIATOR, timeout=30.0)
    assert type(caught.value) is error


def test_a_reply_that_arrives_byte_by_byte_is_a_login() -> None:
    def script(peer: Peer) -> None:
        whole = bytearray()
        plain, peer.connection = (
            peer.connection,
            type("Tap", (), {"sendall": whole.extend, "recv": peer.connection.recv})(),
        )
        peer.log_in()
        peer.connection = plain
        for byte in whole:
            plain.sendall(bytes([byte]))
        peer.serve_disk([])

    with server(script) as portal, Session.connect(portal, IQN, INITIATOR, timeout=30.0) as session:
        assert not session.header_digest
        session.ping()


CHALLENGE = ("CHAP_A=5", "CHAP_I=7", "CHAP_C=0x" + "ab" * 16)
ZERO_PROOF = ("CHAP_N=" + NODE.user, "CHAP_R=0x" + "00" * 16)


def impostor(*replies: tuple[int, tuple[str, ...]]) -> Script:
    def script(peer: Peer) -> None:
        for flags, keys in replies:
            request, _ = peer.request()
            peer.answer_login(request, flags, *keys)
        peer.serve_disk([])

    return script


@pytest.mark.parametrize(
    "script",
    [
        impostor((TRANSIT | SECURITY << 2 | OPERATIONAL, ("AuthMethod=None",))),
        impostor((TRANSIT | SECURITY << 2 | OPERATIONAL, ("AuthMethod=None", *ZERO_PROOF))),
        impostor((TRANSIT | OPERATIONAL << 2 | FULL, ())),
        impostor((SECURITY, ("AuthMethod=CHAP",)), (TRANSIT | SECURITY << 2 | FULL, ZERO_PROOF)),
        impostor((SECURITY, ("AuthMethod=CHAP", *ZERO_PROOF)), (TRANSIT | OPERATIONAL, CHALLENGE)),
        impostor((SECURITY, ("AuthMethod=CHAP",)), (TRANSIT | SECURITY << 2 | OPERATIONAL, CHALLENGE)),
        impostor((SECURITY, (*CHALLENGE, "AuthMethod=CHAP")), (TRANSIT | OPERATIONAL, ZERO_PROOF)),
        impostor((SECURITY, ("AuthMethod=CHAP",)), (SECURITY, CHALLENGE), (TRANSIT | OPERATIONAL, ZERO_PROOF)),
        impostor((SECURITY, ("AuthMethod=CHAP",)), (SECURITY, CHALLENGE), (TRANSIT | OPERATIONAL, ())),
        impostor((SECURITY, ("AuthMethod=CHAP",)), (SECURITY, CHALLENGE), (TRANSIT | OPERATIONAL << 2 | FULL, ())),
    ],
)
def test_no_impostor_gets_past_mutual_chap(script: Script) -> None:
    with server(script) as portal, pytest.raises(TargetUnproven):
        Session.connect(portal, IQN, INITIATOR, chap=USER, mutual=NODE, timeout=30.0)


def disk(*answers: Callable[[Peer], Callable[[bytes], None]]) -> Script:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.serve_disk([answer(peer) for answer in answers])

    return script


def with_status(
    status: int, sense: bytes = b"", flags: int = 0x80, residual: int = 0
) -> Callable[[Peer], Callable[[bytes], None]]:
    return lambda peer: lambda request: peer.answer(request, status, sense, flags, residual)


BUSY, TASK_SET_FULL = with_status(0x08), with_status(0x28)
RESET = with_status(2, fixed_sense(6, 0x2900))
MEDIUM_ERROR = with_status(2, fixed_sense(3, 0x0C00))


def test_a_busy_target_is_asked_again() -> None:
    with server(disk(BUSY, TASK_SET_FULL, BUSY)) as portal, Session.connect(portal, IQN, INITIATOR) as session:
        session.write(1, 0, bytes(512))


def test_a_target_that_stays_busy_is_an_error() -> None:
    with (
        server(disk(*[BUSY] * 6)) as portal,
        Session.connect(portal, IQN, INITIATOR) as session,
        pytest.raises(TargetBusy, match="try again later"),
    ):
        session.write(1, 0, bytes(512))


def test_a_submitted_command_is_not_repeated_for_a_busy_target() -> None:
    with server(disk(TASK_SET_FULL)) as portal, Session.connect(portal, IQN, INITIATOR) as session:
        session.submit_write(1, 1, 0, Buffer(512), 512)
        (completion,) = session.poll(10.0)
        assert isinstance(completion.error, TargetBusy)


def test_a_reset_in_the_middle_is_never_passed_over() -> None:
    with server(disk(with_status(0), RESET, RESET)) as portal, Session.connect(portal, IQN, INITIATOR) as session:
        session.write(1, 0, bytes(512))
        with pytest.raises(CommandFailed, match="unit attention"):
            session.flush(1)
        session.submit_flush(1, 1)
        (completion,) = session.poll(10.0)
        assert isinstance(completion.error, CommandFailed)
        session.flush(1)


def test_news_at_the_first_meeting_are_passed_over() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        for _ in range(3):
            request, _ = peer.request()
            assert request[32] == 0x9E
            peer.answer(request, 2, fixed_sense(6, 0x2900))
        peer.serve_disk([])

    with server(script) as portal, Session.connect(portal, IQN, INITIATOR) as session:
        assert session.capacity(1).blocks == 1024


def test_news_without_end_are_an_error() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        while True:
            request, _ = peer.request()
            peer.answer(request, 2, fixed_sense(6, 0x3F0E))

    with (
        server(script) as portal,
        Session.connect(portal, IQN, INITIATOR, keep_alive=KeepAlive(0.2)) as session,
        pytest.raises(CommandFailed, match=r"unit attention: the list of LUNs .*0x3f0e"),
    ):
        session.capacity(1)


def test_a_submitted_command_is_not_repeated_for_ever() -> None:
    news = with_status(2, fixed_sense(6, 0x3F0E))
    with server(disk(*[news] * 50)) as portal, Session.connect(portal, IQN, INITIATOR) as session:
        session.submit_flush(1, 1)
        ended: list[Completion] = []
        while session.in_flight:
            ended += session.poll(10.0)
        assert [completion.tag for completion in ended] == [1]
        assert isinstance(ended[0].error, CommandFailed)


def test_a_session_that_ends_while_news_are_looked_into_completes_everything() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        looks = 0
        while True:
            request, _ = peer.request()
            if request[32] == 0x9E:
                peer.data_in(request, struct.pack(">QI", 1023, 512) + bytes(20))
            elif request[32] == 0x8A:
                peer.answer(request, 2, fixed_sense(6, 0x3F0E))
            elif (looks := looks + 1) > 3:
                return
            else:
                peer.answer(request, 2, fixed_sense(5, 0x2400))

    with server(script) as portal, Session.connect(portal, IQN, INITIATOR) as session:
        for tag in (1, 2):
            session.submit_write(tag, 1, 0, Buffer(512), 512)
        ended: dict[int, object] = {}
        while session.in_flight:
            ended |= {completion.tag: completion.error for completion in session.poll(30.0)}
        assert set(ended) == {1, 2}
        assert all(isinstance(error, SessionLost) for error in ended.values())


def test_sense_is_told_in_words() -> None:
    with server(disk(MEDIUM_ERROR)) as portal, Session.connect(portal, IQN, INITIATOR) as session:
        with pytest.raises(CommandFailed, match=r"WRITE on LUN 1 .*medium error: .*\(0x0c00\)") as caught:
            session.write(1, 0, bytes(512))
        assert (caught.value.sense_key, caught.value.asc_ascq) == (3, 0x0C00)
        session.write(1, 0, bytes(512))


def test_good_with_bytes_missing_is_not_good() -> None:
    short = with_status(0, flags=0x82, residual=512)
    with server(disk(short, short)) as portal, Session.connect(portal, IQN, INITIATOR) as session:
        with pytest.raises(CommandFailed, match="512 bytes were not transferred"):
            session.write(1, 0, bytes(1024))
        session.submit_write(1, 1, 0, Buffer(1024), 1024)
        (completion,) = session.poll(10.0)
        assert isinstance(completion.error, CommandFailed)


def test_a_short_read_is_an_error() -> None:
    def short(peer: Peer) -> Callable[[bytes], None]:
        return lambda request: peer.data_in(request, bytes(512), residual=512)

    with (
        server(disk(short)) as portal,
        Session.connect(portal, IQN, INITIATOR) as session,
        pytest.raises(CommandFailed, match="512 bytes were not transferred"),
    ):
        session.read(1, 0, 1024)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xff" * 48,
        bytes([0x21, 0x00]) + bytes(46),
        bytes([0x25, 0x81, 0, 0, 0, 0xFF, 0xFF, 0xFF]) + bytes(40),
        bytes([0x21, 0x80, 0, 0, 4]) + bytes(43),
    ],
)
def test_nonsense_in_the_middle_ends_the_session_or_the_wait(nonsense: bytes) -> None:
    def babble(peer: Peer) -> Callable[[bytes], None]:
        def answer(request: bytes) -> None:
            peer.connection.sendall(nonsense[:16] + request[16:20] + nonsense[20:])
            peer.connection.close()

        return answer

    with server(disk(babble)) as portal, Session.connect(portal, IQN, INITIATOR) as session:
        session.submit_write(1, 1, 0, Buffer(512), 512)
        session.submit_write(2, 1, 0, Buffer(512), 512)
        ended: dict[int, object] = {}
        while session.in_flight:
            ended |= {completion.tag: completion.error for completion in session.poll(30.0)}
        assert set(ended) == {1, 2}
        assert isinstance(ended[2], SessionLost)
        assert ended[1] is not None


def test_a_write_refused_before_its_data_were_sent_keeps_its_buffer_until_they_are() -> None:
    """The target refuses as soon as it sees the header, and reads the rest, more than the sockets hold, later."""
    longest = 16 * MIB
    received = bytearray()

    def refuse_early(peer: Peer) -> Callable[[bytes], None]:
        def answer(request: bytes) -> None:
            MEDIUM_ERROR(peer)(request)
            time.sleep(0.2)
            while len(received) < longest - 8 * KIB:
                header, data = peer.request()
                assert header[0] & 0x3F == DATA_OUT
                received.extend(data)

        return answer

    def script(peer: Peer) -> None:
        request, _ = peer.request()
        keys = ("HeaderDigest=None", f"FirstBurstLength={longest}", "MaxRecvDataSegmentLength=8192", "InitialR2T=No")
        peer.answer_login(request, TRANSIT | OPERATIONAL << 2 | FULL, *keys)
        peer.serve_disk([refuse_early(peer)], blocks=longest // 512)

    with server(script) as portal, Session.connect(portal, IQN, INITIATOR) as session:
        buffer = Buffer(longest)
        buffer.view[:] = b"o" * longest
        session.submit_write(1, 1, 0, buffer, longest)
        (completion,) = session.poll(30.0)
        buffer.view[:] = b"n" * longest
        assert isinstance(completion.error, CommandFailed)
        session.write(1, 0, bytes(512))
    assert received == b"o" * (longest - 8 * KIB)


def test_discovery_reads_every_form_of_address() -> None:
    lines = (
        "TargetName=" + IQN,
        "TargetAddress=192.168.1.11:3260,1",
        "TargetAddress=[fe80::15]:3261,2",
        "TargetAddress=storage.example:3260,1",
        "TargetName=iqn.2024-05.com.example:alone",
    )

    def script(peer: Peer) -> None:
        request, _ = peer.request()
        peer.answer_login(request, TRANSIT | OPERATIONAL << 2 | FULL)
        request, _ = peer.request()
        assert request[0] & 0x3F == TEXT
        peer.reply(request, 0x24, 0x80, data=b"".join(line.encode() + b"\0" for line in lines))
        request, _ = peer.request()
        peer.reply(request, 0x26, 0x80)

    with server(script) as portal:
        assert discover(portal, INITIATOR) == [
            FoundNode(IQN, (Portal("192.168.1.11"), Portal("fe80::15", 3261))),
            FoundNode("iqn.2024-05.com.example:alone", ()),
        ]


def test_discovery_without_an_answer_ends() -> None:
    def script(peer: Peer) -> None:
        request, _ = peer.request()
        peer.answer_login(request, TRANSIT | OPERATIONAL << 2 | FULL)
        peer.take(1 << 20)

    with server(script) as portal, pytest.raises(PortalUnreachable, match="discovery was not answered"):
        discover(portal, INITIATOR, timeout=0.3)
