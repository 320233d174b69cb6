"""Which of QReplica's guarantees a plain target lacks, in words that administrators read. Pure."""

_ALWAYS = (
    "no recovery points, only the newest copy",
    "no usable copy while a cycle runs: it is whole only between cycles",
    "no protection from hosts that write the disk, beyond its reservation",
    "one path only",
)
_NOT_FENCED = (
    "nothing that keeps a stopped controller from writing (not fenced): the other controller goes on only by your word"
)


def guarantees_missing(*, fenced: bool) -> tuple[str, ...]:
    """Return each guarantee that is missing."""
    return (
        _ALWAYS if fenced else (*_ALWAYS[:2], "no protection from hosts that write the disk", _ALWAYS[3], _NOT_FENCED)
    )


def missing(*, fenced: bool) -> str:
    """Return all of them for a sentence."""
    return "; ".join(guarantees_missing(fenced=fenced))
