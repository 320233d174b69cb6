"""Turns what the shim reports, endings and completions, into our errors."""

import os
import re
from dataclasses import dataclass, replace

from _cffi_backend import FFI

from qreplica.errors import QReplicaError
from qreplica.iscsi.errors import (
    ChapRefused,
    CommandFailed,
    InitiatorNotAdmitted,
    InterfaceUnusable,
    LoginRefused,
    LunMissing,
    NodeUnknown,
    NotIscsi,
    PortalUnreachable,
    ReservationConflict,
    SessionLost,
    TargetBusy,
    TargetUnproven,
    WriteProtected,
)
from qreplica.iscsi.initiator import sense
from qreplica.iscsi.initiator._libiscsi import ffi, lib
from qreplica.iscsi.initiator.model import Portal

# Login status classes and details (RFC 7143, 11.13.5).
_CHAP_FAILED = 0x0201
_NOT_ADMITTED = 0x0202
_NOT_FOUND = 0x0203
_REMOVED = 0x0204
_STATUS_WORDS = {
    0x0101: "the node has moved for a time",
    0x0102: "the node has moved for good",
    0x0200: "it found an error in the request",
    0x0205: "it speaks another version of iSCSI",
    0x0206: "it has too many connections",
    0x0300: "it has an error of its own",
    0x0301: "it is not ready for service",
    0x0302: "it is out of resources",
}

_ERRNO = re.compile(r"(?:errno|socket) ?:\s?(\d+)|\((\d+)\)")


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a session is with, for sentences. ``given`` says what CHAP information we had, without secrets."""

    portal: Portal
    node: str
    initiator: str
    interface: str | None
    given: str


@dataclass(frozen=True, slots=True)
class Ending:
    """Why the shim ended a session: its code, the errno or login status, libiscsi's words."""

    code: int
    detail: int
    text: str


def _words_of(ending: Ending) -> str:
    """Return the system's words for an errno, also where only libiscsi's text names one; else that text."""
    match = _ERRNO.search(ending.text)
    if ending.code == lib.QR_SOCKET_ERROR or match is not None:
        number = ending.detail if match is None else int(match[1] or match[2])
        return f"the connection failed ({os.strerror(number).lower()})"
    return f"the initiator library gave up ({ending.text.removeprefix('libiscsi:').split(' [')[0].strip()})"


def _refusal(peer: Peer, status: int) -> QReplicaError:
    facts = {"portal": peer.portal, "node": peer.node, "initiator": peer.initiator}
    if status == _CHAP_FAILED:
        return ChapRefused(given=peer.given, **facts)
    if status == _NOT_ADMITTED:
        return InitiatorNotAdmitted(**facts)
    if status in (_NOT_FOUND, _REMOVED):
        return NodeUnknown(**facts)
    return LoginRefused(reason=_STATUS_WORDS.get(status, f"login status 0x{status:04x}"), **facts)


def login_error(peer: Peer, ending: Ending) -> QReplicaError:
    """Return why no session came about."""
    if ending.code == lib.QR_REFUSED:
        return _refusal(peer, ending.detail)
    if ending.code == lib.QR_UNPROVEN or (ending.code == lib.QR_LIBRARY and "CHAP" in ending.text):
        return TargetUnproven(portal=peer.portal, node=peer.node)
    if ending.code == lib.QR_NOT_BOUND:
        return InterfaceUnusable(interface=peer.interface)
    if ending.code == lib.QR_NOT_ISCSI:
        return NotIscsi(portal=peer.portal, reason="its answer is no login response")
    reason = _words_of(ending)
    if ending.code == lib.QR_CLOSED_BY_PEER:
        reason = "it closed the connection during the login"
    return PortalUnreachable(portal=peer.portal, reason=reason)


def session_error(peer: Peer, ending: Ending) -> SessionLost:
    """Return why a session that was there has ended."""
    reasons = {
        lib.QR_CLOSED_BY_PEER: "the target closed the connection",
        lib.QR_SILENT: "the target stopped answering",
        lib.QR_OVERDUE: "a command was not answered in time",
        lib.QR_CLOSED: "it was closed here",
    }
    return SessionLost(node=peer.node, portal=peer.portal, reason=reasons.get(ending.code) or _words_of(ending))


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion as the shim noted it: SAM-5 status, sense, and bytes not transferred (or too many)."""

    status: int
    sense_key: int
    asc_ascq: int
    residual: int
    overflow: bool

    @property
    def is_good(self) -> bool:
        """Whether the command was executed wholly."""
        return self.status == lib.SCSI_STATUS_GOOD and self.residual == 0

    def without_residual(self) -> "Answer":
        """Return the same for a command that may transfer less than it has room for."""
        return replace(self, residual=0)

    @property
    def is_unit_attention(self) -> bool:
        """Whether the command was not executed because the target has news (SAM-5, 5.14)."""
        return self.status == lib.SCSI_STATUS_CHECK_CONDITION and self.sense_key == sense.UNIT_ATTENTION

    @property
    def is_news(self) -> bool:
        """Whether it is a unit attention after which the same command can simply be sent again."""
        return self.is_unit_attention and self.asc_ascq in sense.NEWS

    @property
    def is_busy(self) -> bool:
        """Whether the same command may succeed in a moment (SAM-5, 5.3.1)."""
        return self.status in (
            lib.SCSI_STATUS_BUSY,
            lib.SCSI_STATUS_TASK_SET_FULL,
            lib.SCSI_STATUS_RESERVATION_CONFLICT,
        )


def text_of(characters: FFI.CData) -> str:
    """Return a C string."""
    return ffi.string(characters).decode("utf-8", "replace")


GOOD = Answer(lib.SCSI_STATUS_GOOD, 0, 0, 0, overflow=False)


def command_error(peer: Peer, operation: str, lun: int, answer: Answer) -> CommandFailed | None:
    """Return what went wrong with a command; None if the target executed it wholly."""
    facts = {"operation": operation, "lun": lun, "node": peer.node, "portal": peer.portal}
    status = answer.status
    if answer.is_good:
        return None
    if status == lib.SCSI_STATUS_GOOD:
        words = f"{answer.residual} bytes {'too many' if answer.overflow else 'were not transferred'}"
        return CommandFailed(sense=words, **facts)
    if status == lib.SCSI_STATUS_CHECK_CONDITION:
        kind = {sense.LUN_NOT_SUPPORTED: LunMissing, sense.WRITE_PROTECTED: WriteProtected}.get(
            answer.asc_ascq, CommandFailed
        )
        words = sense.in_words(answer.sense_key, answer.asc_ascq)
        return kind(sense=words, sense_key=answer.sense_key, asc_ascq=answer.asc_ascq, **facts)
    if status == lib.SCSI_STATUS_RESERVATION_CONFLICT:
        return ReservationConflict(sense="reservation conflict", **facts)
    if status in (lib.SCSI_STATUS_BUSY, lib.SCSI_STATUS_TASK_SET_FULL):
        return TargetBusy(sense="busy" if status == lib.SCSI_STATUS_BUSY else "task set full", **facts)
    return CommandFailed(sense=f"the target rejected it, status 0x{status:x}", **facts)
