"""How much of its snapshot space a source VD may use before its job runs by itself. Pure."""


def automatic(size: int, ratio: float) -> int:
    """Return the snapshot space, in bytes, that a source VD of ``size`` bytes without any gets for a job."""
    return round(size * ratio)


def trigger_level(space: int, used_after: int, threshold: int) -> int:
    """Return the use, in bytes, from which on a job is started by the threshold, in percent.

    ``used_after`` is what was used after the last cycle's snapshot, 0 before the first: of what was left then the
    threshold counts. With 50 %, and if nothing is given back meanwhile, that is 50 %, 75 %, 87.5 % of the space (white
    paper, "Configure the snapshot space").
    """
    left = max(0, space - used_after)
    return min(space, used_after) + -(-left * threshold // 100)
