"""Reads what tgtd answers. Pure: text in, values out.

Only answers whose every line is tgtd's own are used to decide anything. The long ``show`` of all targets is
not read at all: it repeats names and aliases that initiators chose, line breaks included, so that one could
write lines of its own into it. Of the connection list, the same holds for names: they are for people, and a
false line can only name a connection that is not there.
"""

import re

from qreplica.iscsi.target.driver import Counters, PortalSpec, TargetSession
from qreplica.iscsi.target.errors import TargetAnswerUnknown

_NODE = re.compile(r"Target (?P<tid>\d+): (?P<iqn>\S+)")
_PORTAL = re.compile(r"Portal: \[?(?P<address>[^]]+?)\]?:(?P<port>\d+),\d+")
_SESSION = re.compile(r"Session: (?P<session>\d+)")
_CONNECTION = re.compile(r"    Connection: (?P<connection>\d+)")
_INITIATOR = re.compile(r"        Initiator: (?P<name>.*)")
_ADDRESS = re.compile(r"        IP Address: (?P<address>\S+)")
_STAT_HEADER = "tgt lun sid rd_subm(bytes,cmds) rd_done(bytes,cmds) wr_subm(bytes,cmds) wr_done(bytes,cmds) errs"
_STAT_FIELDS = 12


def nodes(text: str) -> dict[str, int]:
    """Return the tid of each node by IQN, from the answer to "driver show"."""
    return {match["iqn"]: int(match["tid"]) for line in text.splitlines() if (match := _NODE.fullmatch(line.strip()))}


def portals(text: str) -> frozenset[PortalSpec]:
    """Return what is listened on, from the answer to "portal show". Raises TargetAnswerUnknown."""
    found = set()
    for line in text.splitlines():
        match = _PORTAL.fullmatch(line)
        if match is None:
            raise TargetAnswerUnknown(action="portal show", reason=f"no portal in {line!r}")
        found.add(PortalSpec(match["address"], int(match["port"])))
    return frozenset(found)


def accounts(text: str) -> frozenset[str]:
    """Return the CHAP names that exist, from the answer to "account show" (empty when there is none)."""
    return frozenset(line.strip() for line in text.splitlines()[1:])


def connections(text: str) -> list[tuple[int, int]]:
    """Return the session and connection numbers in the answer to "connection show"."""
    found = []
    session = 0
    for line in text.splitlines():
        if match := _SESSION.fullmatch(line):
            session = int(match["session"])
        elif match := _CONNECTION.fullmatch(line):
            found.append((session, int(match["connection"])))
    return found


def sessions(text: str) -> list[TargetSession]:
    """Return the sessions, with the addresses of their connections, in the answer to "connection show"."""
    names: dict[int, str] = {}
    addresses: dict[int, list[str]] = {}
    session = 0
    for line in text.splitlines():
        if match := _SESSION.fullmatch(line):
            session = int(match["session"])
            addresses.setdefault(session, [])
        elif match := _INITIATOR.fullmatch(line):
            names[session] = match["name"]
        elif match := _ADDRESS.fullmatch(line):
            addresses[session].append(match["address"])
    return [TargetSession(number, names.get(number, ""), tuple(addresses[number])) for number in sorted(addresses)]


def _stat_rows(text: str) -> list[list[int]]:
    lines = text.splitlines()
    if not lines or lines[0] != _STAT_HEADER:
        raise TargetAnswerUnknown(action="stat", reason=f"its heading is {lines[:1]}")
    try:
        rows = [[int(field) for field in line.split()] for line in lines[1:]]
    except ValueError as error:
        raise TargetAnswerUnknown(action="stat", reason=error) from error
    if any(len(row) != _STAT_FIELDS for row in rows):
        raise TargetAnswerUnknown(action="stat", reason="a row has another number of fields than its heading")
    return rows


def session_numbers(text: str) -> frozenset[int]:
    """Return the numbers of a node's sessions from the answer to "target stat".

    Each session has one row per LUN, and LUN 0 (tgtd's controller) is always there, so no session is left
    out; the answer holds numbers only. Raises TargetAnswerUnknown.
    """
    return frozenset(row[2] for row in _stat_rows(text))


def counters(text: str) -> Counters:
    """Return the sum over all sessions in the answer to "lun stat". Raises TargetAnswerUnknown."""
    rows = _stat_rows(text)
    done = {"read_bytes": 5, "read_commands": 6, "write_bytes": 9, "write_commands": 10}
    return Counters(**{name: sum(row[column] for row in rows) for name, column in done.items()})
