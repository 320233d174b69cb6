"""Checks a node's desired state before any driver changes anything."""

import re
from collections.abc import Iterator

from qreplica.iscsi.target.driver import LARGEST_TID, Credentials, Identity, LunSpec, NodeSpec
from qreplica.iscsi.target.errors import NodeSpecInvalid

#: tgtd accepts no other characters in a target name; RFC 7143, 4.2.7 has them too, in lower case, up to 223
#: bytes.
_IQN = re.compile(r"iqn\.[0-9]{4}-[0-9]{2}\.[a-z0-9:.-]{1,211}")
#: An initiator's name as it sends it, less the comma, which separates fields in tgtd's requests.
_INITIATOR = re.compile(r"(iqn\.|eui\.|naa\.)[!-+\--~]{1,219}")
#: tgtd lists CHAP names one a line and separates fields by commas.
_CHAP_USER = re.compile(r"[!-+\--~]{1,255}")
_IDENTITY_TEXT = re.compile(r"[ -+\--~]+")
_HEXADECIMAL = re.compile(r"[0-9a-f]{28}")
_LARGEST_LUN = 255
_LONGEST_SECRET = 255
_LONGEST_PATH = 1000


def check(spec: NodeSpec) -> None:
    """Raise NodeSpecInvalid, naming the first thing that cannot be made, if there is one."""
    for reason in _faults(spec):
        raise NodeSpecInvalid(iqn=spec.iqn, reason=reason)


def _faults(spec: NodeSpec) -> Iterator[str]:
    if not 1 <= spec.tid <= LARGEST_TID:
        yield f"its number {spec.tid} is not between 1 and {LARGEST_TID}"
    if not _IQN.fullmatch(spec.iqn):
        yield "its name is not iqn.YYYY-MM.domain followed by lower-case letters, digits, “:”, “.” and “-”"
    numbers = [lun.number for lun in spec.luns]
    if len(set(numbers)) != len(numbers):
        yield "two LUNs have the same number"
    for lun in spec.luns:
        yield from _lun_faults(lun)
    for name in sorted(spec.initiators or ()):
        if not _INITIATOR.fullmatch(name):
            yield f"“{name}” is not an initiator name"
    yield from _chap_faults(spec.chap, spec.mutual_chap)


def _lun_faults(lun: LunSpec) -> Iterator[str]:
    where = f"LUN {lun.number}"
    if not 1 <= lun.number <= _LARGEST_LUN:
        yield f"{where} is not between 1 and {_LARGEST_LUN}"
    path = str(lun.path)
    if not lun.path.is_absolute() or len(path.encode()) > _LONGEST_PATH or re.search(r"[,\x00-\x1f]", path):
        yield f"the path of {where} is not an absolute one without commas and control characters"
    yield from _identity_faults(where, lun.identity)


def _identity_faults(where: str, identity: Identity) -> Iterator[str]:
    for name, text, longest in (
        ("vendor", identity.vendor, 8),
        ("product", identity.product, 16),
        ("serial", identity.serial, 36),
    ):
        if len(text) > longest or not _IDENTITY_TEXT.fullmatch(text):
            yield f"the {name} of {where} is not 1 to {longest} ASCII characters without a comma"
    vendor, digits = identity.scsi_id[:8], identity.scsi_id[8:]
    if vendor != f"{identity.vendor:<8}" or not _HEXADECIMAL.fullmatch(digits):
        yield f"the scsi_id of {where} is not its vendor in 8 characters and 28 hexadecimal digits"


def _chap_faults(chap: Credentials | None, mutual: Credentials | None) -> Iterator[str]:
    for what, credentials in (("CHAP", chap), ("mutual CHAP", mutual)):
        if credentials is None:
            continue
        if not _CHAP_USER.fullmatch(credentials.user):
            yield f"its {what} name is not 1 to 255 ASCII characters without spaces and commas"
        if not 1 <= len(credentials.secret.encode()) <= _LONGEST_SECRET or "\0" in credentials.secret:
            yield f"its {what} secret is not 1 to {_LONGEST_SECRET} bytes"
    if mutual is not None and chap is None:
        yield "mutual CHAP needs CHAP of the initiator too"
    if chap is not None and mutual is not None and chap.user == mutual.user and chap.secret != mutual.secret:
        yield f"CHAP and mutual CHAP have the same name “{chap.user}” and different secrets"
