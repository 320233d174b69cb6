"""What passes by itself, and what needs a human."""

import itertools

import pytest

from qreplica.errors import QReplicaError
from qreplica.iscsi import errors as iscsi
from qreplica.peer import errors as peer
from qreplica.replication import errors, recovery_errors
from qreplica.replication.retry import blames_path, delays, passes
from qreplica.state.errors import StateBusy, StateDiskFull
from qreplica.storage import errors as storage

PORTAL = {"node": "iqn.x", "portal": "192.0.2.1:3260"}
COMMAND = {"operation": "WRITE", "lun": 1, "sense": "words", **PORTAL}


@pytest.mark.parametrize(
    "error",
    [
        peer.PeerUnreachable(address="192.0.2.1", port=3261, reason="no route"),
        peer.PeerAnswersGarbage(address="192.0.2.1", port=3261, reason="noise"),
        peer.PeerBusy(vd="b1"),
        peer.ClockSkew(seconds=3600, direction="ahead of", window=300),
        peer.PeerInternalError(error="KeyError"),
        iscsi.PortalUnreachable(portal="192.0.2.1:3260", reason="refused"),
        iscsi.SessionLost(reason="silence", **PORTAL),
        iscsi.NodeUnknown(initiator="iqn.i", **PORTAL),
        iscsi.InitiatorNotAdmitted(initiator="iqn.i", **PORTAL),
        iscsi.LoginRefused(reason="out of resources", **PORTAL),
        iscsi.TargetBusy(**COMMAND),
        iscsi.CommandFailed(sense_key=6, asc_ascq=0x2900, **COMMAND),
        recovery_errors.FencingFailed(vd="b1", controller=2, reason="it is silent"),
        recovery_errors.NotServed(node="iqn.x"),
        recovery_errors.StaleEpoch(epoch=1, job="j", vd="b1", current=2),
        StateBusy(place="state.db", reason="locked"),
        StateDiskFull(place="state.db", free=0),
        errors.PathRemoved(path="192.0.2.1:3260"),
    ],
    ids=lambda error: error.kind,
)
def test_what_passes_by_itself(error: QReplicaError) -> None:
    assert passes(error)


@pytest.mark.parametrize(
    "error",
    [
        peer.WrongChap(node="iqn.x", user="u"),
        peer.ChapNeeded(node="iqn.x"),
        peer.WrongPairing(node="iqn.x"),
        peer.NoSuchNode(node="iqn.x"),
        iscsi.ChapRefused(given="none", **PORTAL),
        iscsi.TargetUnproven(**PORTAL),
        iscsi.CommandFailed(sense_key=3, asc_ascq=0x0C00, **COMMAND),
        iscsi.WriteProtected(**COMMAND),
        recovery_errors.ClaimedByAnother(what="Backup VD", name="b1", holder="j"),
        recovery_errors.BackupVdCannotFollow(vd="b1", size=1, source_size=2, group="rg1", free=0, needed=2),
        recovery_errors.NotABackupVd(lun=1, node="iqn.x", what="“b1” of type RAID"),
        recovery_errors.LunEmpty(node="iqn.x", lun=1),
        errors.HistoriesDiverged(node="iqn.x", generation=1, found="a", known="b"),
        errors.SourceUnreadable(offset=0, length=4096, reason="EIO"),
        storage.GroupFull(group="rg1", operation="a snapshot"),
    ],
    ids=lambda error: error.kind,
)
def test_what_needs_a_human(error: QReplicaError) -> None:
    assert not passes(error)


def test_waits_double_up_to_half_a_minute() -> None:
    assert list(itertools.islice(delays(), 7)) == [1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(
    ("error", "blamed"),
    [
        (peer.PeerUnreachable(address="192.0.2.1", port=3261, reason="no route"), True),
        (iscsi.SessionLost(reason="silence", **PORTAL), True),
        (peer.ClockSkew(seconds=3600, direction="ahead of", window=300), True),
        (iscsi.InitiatorNotAdmitted(initiator="iqn.i", **PORTAL), True),
        (recovery_errors.FencingFailed(vd="b1", controller=2, reason="it is silent"), True),
        (errors.WrongDisk(lun=1, node="iqn.x", what="id", found="1", expected="2"), True),
        (errors.PathRemoved(path="192.0.2.1:3260"), True),
        (recovery_errors.StaleEpoch(epoch=1, job="j", vd="b1", current=2), False),
        (recovery_errors.NotServed(node="iqn.x"), False),
        (iscsi.CommandFailed(sense_key=6, asc_ascq=0x2900, **COMMAND), False),
        (iscsi.TargetBusy(**COMMAND), False),
        (errors.SourceUnreadable(offset=0, length=4096, reason="EIO"), False),
        (StateDiskFull(place="state.db", free=0), False),
    ],
    ids=lambda value: value.kind if isinstance(value, QReplicaError) else "",
)
def test_what_is_the_fault_of_a_path(error: QReplicaError, blamed: bool) -> None:  # noqa: FBT001 - a parameter
    assert blames_path(error) is blamed
