"""Turns the target's problem bodies back into the errors that they were."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, Field

from qreplica.errors import QReplicaError
from qreplica.peer import errors as peer
from qreplica.peer.errors import RemoteRefused
from qreplica.replication import promotion_errors as promotion
from qreplica.replication import recovery_errors as recovery

_PREFIX = "urn:qreplica:error:"

#: Given before the target knows who asks, or when it fails, so that they carry no signature: they move nobody to do
#: more than try again or ask the administrator.
_BEFORE_SIGNATURES: tuple[type[QReplicaError], ...] = (
    peer.NoSuchNode,
    peer.WrongChap,
    peer.ChapNeeded,
    peer.ChapNotUsed,
    peer.PairingNeeded,
    peer.WrongPairing,
    peer.ClockSkew,
    peer.RequestReplayed,
    peer.SignatureMalformed,
    peer.MessageTooLarge,
    peer.MessageTooSlow,
    peer.NoSuchRoute,
    peer.PeerInternalError,
)

_SIGNED: tuple[type[QReplicaError], ...] = (
    peer.MessageInvalid,
    peer.PeerBusy,
    recovery.LunEmpty,
    recovery.VdDetached,
    recovery.AttachedTwice,
    recovery.NotABackupVd,
    recovery.VdMismatch,
    recovery.BackupVdCannotFollow,
    recovery.ClaimedByAnother,
    recovery.NotClaimed,
    recovery.StaleEpoch,
    recovery.Superseded,
    recovery.NoSuchPoint,
    recovery.NotPromoted,
    promotion.NothingToPromote,
    promotion.NoSuchGeneration,
    promotion.PromotedOtherwise,
    recovery.FencingFailed,
    recovery.NotServed,
    recovery.BaseMismatch,
    recovery.GenerationInvalid,
    recovery.NotBegun,
    recovery.BeyondBackupVd,
    recovery.ManifestMismatch,
)


def _by_kind(classes: Iterable[type[QReplicaError]]) -> dict[str, type[QReplicaError]]:
    return {one.kind: one for one in classes}


_UNSIGNED_KINDS = frozenset(_by_kind(_BEFORE_SIGNATURES))
_KINDS = _by_kind((*_BEFORE_SIGNATURES, *_SIGNED))


class Problem(BaseModel):
    """An RFC 9457 problem body, as far as it is used."""

    type: Annotated[str, Field(pattern=rf"^{_PREFIX}[a-z0-9-]{{1,64}}$")]
    detail: Annotated[str, Field(max_length=4000)]
    fields: dict[str, int | float | bool | str] = {}

    @property
    def kind(self) -> str:
        """The stable name of the error."""
        return self.type.removeprefix(_PREFIX)

    @property
    def may_be_unsigned(self) -> bool:
        """Whether the target gives this answer before it knows who asks."""
        return self.kind in _UNSIGNED_KINDS

    def error(self, address: str) -> QReplicaError:
        """Return the error; RemoteRefused with the target's own sentence when its kind or fields are not known here."""
        known = _KINDS.get(self.kind)
        if known is not None:
            try:
                return known(**{name: _printable(value) for name, value in self.fields.items()})
            except (KeyError, ValueError, TypeError):
                pass  # Another version's fields; its sentence still says it all.
        return RemoteRefused(address=address, sentence=_printable(self.detail), remote_kind=self.kind)


def _printable(value: float | str) -> float | str:
    """Take out what could steer a terminal: the text came over the network."""
    if isinstance(value, str):
        return "".join(character if character.isprintable() else "�" for character in value)
    return value
