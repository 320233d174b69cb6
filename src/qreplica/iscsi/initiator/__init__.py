"""The iSCSI initiator: sessions with the nodes of other subsystems, over libiscsi.

``Session.connect`` logs in; ``discover`` lists what a portal offers. Errors are in ``qreplica.iscsi.errors``.
"""

from qreplica.iscsi.initiator.buffers import Buffer, is_zero
from qreplica.iscsi.initiator.connection import DEPTH
from qreplica.iscsi.initiator.discovery import discover
from qreplica.iscsi.initiator.model import (
    BlockLimits,
    Capacity,
    Chap,
    Completion,
    Designator,
    FoundNode,
    Inquiry,
    KeepAlive,
    Portal,
    Provisioning,
)
from qreplica.iscsi.initiator.session import Session

__all__ = [
    "DEPTH",
    "BlockLimits",
    "Buffer",
    "Capacity",
    "Chap",
    "Completion",
    "Designator",
    "FoundNode",
    "Inquiry",
    "KeepAlive",
    "Portal",
    "Provisioning",
    "Session",
    "discover",
    "is_zero",
]
