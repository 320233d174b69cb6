"""Errors of promoting a backup VD."""

from qreplica.errors import Conflict, Invalid


class NotPromotable(Invalid):
    """The VD is not a backup VD."""

    kind = "not-promotable"
    template = "“{vd}” is of type RAID, which hosts can use as it is: only a backup VD is promoted."


class NothingToPromote(Conflict):
    """The backup VD has no recovery point that it could begin with."""

    kind = "nothing-to-promote"
    template = (
        "Backup VD “{vd}” holds no recovery point, so that there is no whole copy that it could begin with: run its "
        "replication job once, or delete the VD."
    )


class NoSuchGeneration(Conflict):
    """There is no recovery point of that generation."""

    kind = "no-such-generation"
    template = "Backup VD “{vd}” has no recovery point of generation {generation}: choose one of {known}."


class NowhereAttached(Conflict):
    """No node is known on which the backup VD could have to be guarded."""

    kind = "promotion-nowhere-attached"
    template = (
        "It is not known on which iSCSI node backup VD “{vd}” was replicated, since that was deleted: attach the VD to "
        "a node, then promote it."
    )


class PromotionNotConfirmed(Conflict):
    """A promotion without the word that stands for having read what it loses."""

    kind = "promotion-not-confirmed"
    template = (
        "Promoting {vd} leaves behind {loss}: say that you want this by naming the virtual disk once more (“confirm”: "
        "“{vd}”)."
    )


class PromotedOtherwise(Conflict):
    """It was promoted with another generation already."""

    kind = "promoted-otherwise"
    template = (
        "“{vd}” was promoted with generation {generation} at {at}, and hosts may have written it since: roll it back "
        "to another recovery point as to any snapshot, if that is what you want."
    )
