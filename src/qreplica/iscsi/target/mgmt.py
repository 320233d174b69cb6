"""tgtd's management protocol: one request and one answer over a UNIX socket.

It is what the ``tgtadm`` program speaks; speaking it here keeps CHAP secrets out of every argument list,
saves a process per command, and can make a LUN in one step that is complete from its first moment (see
``docs/decisions/0003-tgtadm.md``). The layout is that of ``usr/tgtadm.h`` in tgt 1.0.85.
"""

import socket
import struct
import time
from enum import IntEnum
from pathlib import Path

from qreplica.iscsi.target import control_lock
from qreplica.iscsi.target.errors import (
    TargetAnswerUnknown,
    TargetCommandFailed,
    TargetDaemonDown,
    TargetDaemonSilent,
)

#: Where tgtd makes its sockets (compiled in): ``socket.<control port>`` and the lock file beside each.
SOCKET_DIRECTORY = Path("/var/run/tgtd")

#: mode, op, driver name, length, tid, sid, lun, cid, host number, device type, account direction, pack,
#: force.
_REQUEST = struct.Struct("=II64sIiQQIIIIII")
#: error number, length with this header.
_ANSWER = struct.Struct("=II")
_LARGEST_ANSWER = 16 * 1024**2


class Mode(IntEnum):
    """What a request is about."""

    SYSTEM = 0
    TARGET = 1
    LUN = 2
    PORTAL = 3
    DRIVER = 4
    CONNECTION = 6
    ACCOUNT = 7


class Op(IntEnum):
    """What a request does."""

    NEW = 0
    DELETE = 1
    SHOW = 2
    BIND = 3
    UNBIND = 4
    UPDATE = 5
    STAT = 6


class Refusal(IntEnum):
    """Why tgtd refused."""

    UNKNOWN_ERROR = 1
    OUT_OF_MEMORY = 2
    NO_DRIVER = 3
    NO_TARGET = 4
    NO_LUN = 5
    NO_SESSION = 6
    NO_CONNECTION = 7
    NO_BINDING = 8
    TARGET_EXISTS = 9
    LUN_EXISTS = 10
    BINDING_EXISTS = 11
    RULE_EXISTS = 12
    NO_RULE = 13
    ACCOUNT_EXISTS = 14
    NO_ACCOUNT = 15
    TOO_MANY_ACCOUNTS = 16
    INVALID_REQUEST = 17
    OUTGOING_ACCOUNT_EXISTS = 18
    TARGET_ACTIVE = 19
    LUN_ACTIVE = 20
    DRIVER_ACTIVE = 21
    UNSUPPORTED_OPERATION = 22
    UNKNOWN_PARAMETER = 23
    REMOVAL_PREVENTED = 24

    @property
    def words(self) -> str:
        """The reason for people."""
        return self.name.lower().replace("_", " ")


class Management:
    """Speaks with the tgtd of one control port. Stateless; safe to use from several threads."""

    def __init__(self, control_port: int, timeout: float = 30.0) -> None:
        self.control_port = control_port
        self.timeout = timeout
        self.socket_path = SOCKET_DIRECTORY / f"socket.{control_port}"

    def request(
        self,
        mode: Mode,
        op: Op,
        parameters: str = "",
        *,
        tid: int = 0,
        sid: int = 0,
        cid: int = 0,
        lun: int = 0,
        outgoing: bool = False,
        timeout: float | None = None,
    ) -> str:
        """Send one request and return the text of the answer (empty for most).

        ``parameters`` may hold a secret; no error shows it. Raises TargetDaemonDown (nobody there),
        TargetDaemonSilent (no answer within ``timeout`` seconds: the outcome is unknown),
        TargetCommandFailed, TargetAnswerUnknown.
        """
        action = f"{mode.name.lower()} {op.name.lower()}"
        body = parameters.encode() + b"\0" if parameters else b""
        size = _REQUEST.size + len(body)
        header = _REQUEST.pack(mode, op, b"iscsi", size, tid, sid, lun, cid, 0, 0, int(outgoing), 0, 0)
        limit = self.timeout if timeout is None else timeout
        try:
            code, text = self._exchange(header + body, limit)
        except (TimeoutError, BlockingIOError) as error:
            raise TargetDaemonSilent(control_port=self.control_port, action=action, seconds=limit) from error
        except OSError as error:
            raise TargetDaemonDown(control_port=self.control_port, reason=error.strerror) from error
        except (EOFError, struct.error, UnicodeDecodeError) as error:
            raise TargetAnswerUnknown(action=action, reason=error) from error
        if code:
            reason = Refusal(code) if code in Refusal._value2member_map_ else Refusal.UNKNOWN_ERROR
            raise TargetCommandFailed(action=action, reason=reason.words, code=reason)
        return text

    def pid(self) -> int:
        """Return the process id of the tgtd that has this control port. Raises TargetDaemonDown.

        It is not connected to: tgtd keeps a connection that ends without a request when the last thing that it read
        elsewhere had no data yet (its ``mtask_recv_send_handler`` takes the old errno for this read's), and then looks
        at it without pause for ever.
        """
        pid = control_lock.holder(self.socket_path)
        if pid is None:
            raise TargetDaemonDown(control_port=self.control_port, reason="it does not run")
        return pid

    def _exchange(self, message: bytes, limit: float) -> tuple[int, str]:
        deadline = time.monotonic() + limit
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(limit)
            connection.connect(str(self.socket_path))
            connection.sendall(message)
            code, length = _ANSWER.unpack(_receive(connection, _ANSWER.size, deadline))
            size = length - _ANSWER.size
            if not 0 <= size <= _LARGEST_ANSWER:
                raise EOFError(f"it announces {length} bytes")
            # A refused request is answered by the header alone, whatever length it names.
            text = b"" if code else _receive(connection, size, deadline)
        return code, text.rstrip(b"\0").decode(errors="replace")


def _receive(connection: socket.socket, size: int, deadline: float) -> bytes:
    """Return exactly ``size`` bytes. Raises ConnectionResetError when the connection ends before."""
    received = bytearray()
    while len(received) < size:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        chunk = connection.recv(size - len(received))
        if not chunk:
            raise ConnectionResetError(0, "it ended the connection before it answered")
        received += chunk
    return bytes(received)
