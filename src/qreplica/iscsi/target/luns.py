"""The LUNs of a node in tgtd."""

import os
from dataclasses import dataclass

from qreplica.iscsi.target.driver import LunSpec
from qreplica.iscsi.target.errors import LunFileUnusable, TargetCommandFailed
from qreplica.iscsi.target.mgmt import Management, Mode, Op


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
        detach(tgtd, tid, lun.number)
        raise LunFileUnusable(
            lun=lun.number, iqn=iqn, path=lun.path, reason="the target daemon cannot open it"
        ) from error


def detach(tgtd: Management, tid: int, number: int) -> None:
    """Take the LUN away. Raises TargetCommandFailed with LUN_ACTIVE while commands run on it."""
    tgtd.request(Mode.LUN, Op.DELETE, tid=tid, lun=number)
