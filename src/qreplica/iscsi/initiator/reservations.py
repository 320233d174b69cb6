"""Persistent reservations (SPC-4, 5.12): who may write a LUN, told by keys that hosts register.

Every registration belongs to one I_T nexus, which is an initiator port and a target port. The type that is used here
is 5, Write Exclusive - Registrants Only: who has registered may write, everybody may read.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from qreplica.iscsi.errors import CommandFailed
from qreplica.iscsi.initiator import commands, sense
from qreplica.iscsi.initiator._libiscsi import ffi, lib
from qreplica.iscsi.initiator.calls import Caller

#: Write Exclusive - Registrants Only (SPC-4, 6.15.3.4).
REGISTRANTS_ONLY = 5
_WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 0x20  # of the type mask's first byte
_MASK_VALID = 0x80
_THROUGH_POWER_LOSS = 0x01
_HEADER = 8
_KEYS = 8192
#: Additional sense codes of a service action that the target does not know: of the command, its field, its list.
_UNKNOWN = frozenset({0x2000, 0x2400, 0x2600})


class _In(IntEnum):
    """Service actions of PERSISTENT RESERVE IN (SPC-4, 6.15.1)."""

    READ_KEYS = 0
    READ_RESERVATION = 1
    REPORT_CAPABILITIES = 2


class _Out(IntEnum):
    """Service actions of PERSISTENT RESERVE OUT (SPC-4, 6.16.2)."""

    REGISTER = 0
    RESERVE = 1
    RELEASE = 2
    CLEAR = 3
    PREEMPT = 4
    PREEMPT_AND_ABORT = 5
    REGISTER_AND_IGNORE_EXISTING_KEY = 6


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a LUN offers (SPC-4, 6.15.4).

    ``registrants_only`` is the type that is used here; ``through_power_loss`` whether reservations can outlive that.
    """

    registrants_only: bool
    through_power_loss: bool


@dataclass(frozen=True, slots=True)
class Holder:
    """The reservation of a LUN: the key of who holds it, and its type."""

    key: int
    kind: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Registrations and reservation, read one after the other.

    ``generation`` counts what has changed registrations since the target's power came on (SPC-4, 6.15.2).
    """

    generation: int
    keys: tuple[int, ...]
    holder: Holder | None


def read_keys(data: bytes) -> tuple[int, tuple[int, ...]]:
    """Return generation and keys from READ KEYS data (SPC-4, 6.15.2), of which the end may be missing."""
    generation, length = struct.unpack_from(">II", data.ljust(_HEADER, b"\0"))
    body = data[_HEADER : _HEADER + length]
    return generation, tuple(key for (key,) in struct.iter_unpack(">Q", body[: len(body) // 8 * 8]))


def read_reservation(data: bytes) -> Holder | None:
    """Return the holder from READ RESERVATION data (SPC-4, 6.15.3); None when nobody has reserved."""
    length = int.from_bytes(data[4:8], "big")
    if length < 16 or len(data) < _HEADER + 14:  # noqa: PLR2004 - a descriptor's size, and the place of its type
        return None
    return Holder(int.from_bytes(data[8:16], "big"), data[21] & 0x0F)


def read_capabilities(data: bytes) -> Capabilities:
    """Read REPORT CAPABILITIES data (SPC-4, 6.15.4). Without a valid type mask no type is known to be offered."""
    data = data.ljust(8, b"\0")
    mask = data[4] if data[3] & _MASK_VALID else 0
    return Capabilities(bool(mask & _WRITE_EXCLUSIVE_REGISTRANTS_ONLY), bool(data[3] & _THROUGH_POWER_LOSS))


class Reservations:
    """Those of one LUN, through a session. Every call raises CommandFailed and SessionLost too.

    ReservationConflict is the answer to a key that is not, or no longer, what the call takes it for.
    """

    def __init__(self, calls: Caller, lun: int) -> None:
        self._calls = calls
        self._lun = lun

    def capabilities(self) -> Capabilities | None:
        """Return what the LUN offers; None when it has no persistent reservations."""
        try:
            return read_capabilities(self._in(_In.REPORT_CAPABILITIES, _HEADER))
        except CommandFailed as error:
            if error.sense_key != sense.ILLEGAL_REQUEST:
                raise
            return None

    def standing(self) -> Standing:
        """Return who has registered and who holds the reservation."""
        generation, keys = read_keys(self._in(_In.READ_KEYS, _KEYS))
        return Standing(generation, keys, read_reservation(self._in(_In.READ_RESERVATION, 24)))

    def register(self, key: int, *, present: int = 0, through_power_loss: bool = False) -> None:
        """Register ``key`` for this session in place of its ``present`` one, 0 for none (SPC-4, 5.12.7).

        A key of 0 takes the registration away, with the reservation if this session holds it.
        """
        self._out(_Out.REGISTER, 0, present, key, through_power_loss=through_power_loss)

    def register_whatever(self, key: int, *, through_power_loss: bool = False) -> None:
        """Register ``key`` for this session, whatever it had registered before."""
        self._out(_Out.REGISTER_AND_IGNORE_EXISTING_KEY, 0, 0, key, through_power_loss=through_power_loss)

    def reserve(self, key: int) -> None:
        """Reserve for registrants only, as who registered ``key``; conflicts when another one holds it."""
        self._out(_Out.RESERVE, REGISTRANTS_ONLY, key, 0)

    def preempt(self, key: int, other: int) -> bool:
        """Take all registrations of ``other`` away, and the reservation if it holds it, as who registered ``key``.

        Return whether the target has ended its commands too: PREEMPT AND ABORT (SPC-4, 5.12.11.2.6), where a target
        has that, else PREEMPT (tgtd has only that). Conflicts when nobody has registered ``other`` any more, so that of
        two who want to succeed the same one only one does.
        """
        try:
            self._out(_Out.PREEMPT_AND_ABORT, REGISTRANTS_ONLY, key, other)
        except CommandFailed as error:
            if error.sense_key != sense.ILLEGAL_REQUEST or error.asc_ascq not in _UNKNOWN:
                raise
        else:
            return True
        self._out(_Out.PREEMPT, REGISTRANTS_ONLY, key, other)
        return False

    def release(self, key: int) -> None:
        """Give the reservation back, as who holds it with ``key`` (SPC-4, 5.12.11.2.2)."""
        self._out(_Out.RELEASE, REGISTRANTS_ONLY, key, 0)

    def clear(self, key: int) -> None:
        """Take the reservation and all registrations away, as who registered ``key`` (SPC-4, 5.12.11.2.7)."""
        self._out(_Out.CLEAR, 0, key, 0)

    def _in(self, action: _In, most: int) -> bytes:
        cdb = commands.persistent_reserve_in(action, most)
        return self._calls.fetch(commands.RESERVE_IN, self._lun, cdb, most)

    def _out(self, action: _Out, kind: int, key: int, action_key: int, *, through_power_loss: bool = False) -> None:
        parameters = commands.reserve_out_list(key, action_key, through_power_loss=through_power_loss)
        data = ffi.from_buffer("unsigned char[]", parameters)
        cdb = commands.persistent_reserve_out(action, kind, len(parameters))
        answer = self._calls.ask(commands.RESERVE_OUT, self._lun, cdb, lib.SCSI_XFER_WRITE, data)
        # Targets that execute it may report that they took none of the parameters.
        self._calls.check(commands.RESERVE_OUT, self._lun, answer.without_residual())
