"""The LUNs of a node in tgtd."""

import contextlib
import os
import time
from dataclasses import dataclass, replace

from qreplica.iscsi.target.driver import LunSpec
from qreplica.iscsi.target.ending import Deadline
from qreplica.iscsi.target.errors import LunFileUnusable, TargetCommandFailed
from qreplica.iscsi.target.holding import held
from qreplica.iscsi.target.mgmt import Management, Mode, Op, Refusal

#: How long (seconds) commands on a LUN that is to go may take to end before the node's sessions are ended for it.
PATIENCE = 1.0
#: How long (seconds) initiators may be made to wait for that, before it goes without.
_HOLD_PATIENCE = 5.0
_POLL = 0.005


@dataclass(frozen=True, slots=True)
class Attachment:
    """A LUN together with the very file behind its path: device, inode and size in bytes.

    tgtd opens the file once and never looks at its size again, so a file that was replaced (a roll-back does)
    or has grown makes another attachment.
    """

    lun: LunSpec
    device: int
    inode: int
    size: int

    def has_only_grown(self, other: "Attachment") -> bool:
        """Tell whether ``other`` is the same disk, with more room."""
        return replace(self, size=other.size) == other and other.size > self.size


def look_at(iqn: str, lun: LunSpec) -> Attachment:
    """Return the attachment that the LUN should become. Raises LunFileUnusable."""
    try:
        found = lun.path.stat()
    except OSError as error:
        raise LunFileUnusable(lun=lun.number, iqn=iqn, path=lun.path, reason=error.strerror) from error
    # tgtd would silently open it read-only where writing is not possible.
    if not lun.read_only and not os.access(lun.path, os.W_OK):
        raise LunFileUnusable(lun=lun.number, iqn=iqn, path=lun.path, reason="it cannot be written to")
    return Attachment(lun, found.st_dev, found.st_ino, found.st_size)


def attach(tgtd: Management, tid: int, iqn: str, attachment: Attachment, open_flags: str) -> None:
    """Make the LUN: without a medium first, then with all its properties and its file in one step.

    So not even an initiator that is logged on already can meet it half made. Raises LunFileUnusable.
    """
    lun = attachment.lun
    identity = lun.identity
    tgtd.request(Mode.LUN, Op.NEW, f"bstype=rdwr{open_flags}", tid=tid, lun=lun.number)
    properties = (
        f"readonly={int(lun.read_only)}",
        "thin_provisioning=1",
        f"vendor_id={identity.vendor}",
        f"product_id={identity.product}",
        f"scsi_sn={identity.serial}",
        f"scsi_id={identity.scsi_id}",
        f"path={lun.path}",
        "removable=0",
    )
    try:
        tgtd.request(Mode.LUN, Op.UPDATE, ",".join(properties), tid=tid, lun=lun.number)
    except TargetCommandFailed as error:
        detached(tgtd, tid, lun.number)
        raise LunFileUnusable(
            lun=lun.number, iqn=iqn, path=lun.path, reason="the target daemon cannot open it"
        ) from error


def detached(tgtd: Management, tid: int, number: int) -> bool:
    """Take the LUN away, or find it gone; return False, and leave it, while commands run on it."""
    try:
        tgtd.request(Mode.LUN, Op.DELETE, tid=tid, lun=number)
    except TargetCommandFailed as error:
        if error.fields["code"] is Refusal.LUN_ACTIVE:
            return False
        if error.fields["code"] is not Refusal.NO_LUN:
            raise
    return True


def attach_grown(tgtd: Management, tid: int, iqn: str, attachment: Attachment, open_flags: str) -> bool:
    """Make a LUN whose file has grown anew while initiators wait, so that no command meets the moment without it.

    Their sessions go on; the next command on each LUN of the node is told that the list of LUNs has changed. Returns
    False, with the LUN as it was, where initiators cannot be made to wait or their commands do not come to an end.
    """
    patience = Deadline(_HOLD_PATIENCE)
    with contextlib.suppress(OSError), held(tgtd.pid()) as hold:
        while not patience.passed:
            if hold.drained() and detached(tgtd, tid, attachment.lun.number):
                attach(tgtd, tid, iqn, attachment, open_flags)
                return True
            time.sleep(_POLL)
    return False
