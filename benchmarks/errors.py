"""What can go wrong with a measurement."""

from qreplica.errors import EngineFailed


class CopyIsWrong(EngineFailed):
    """A contender's copy differs from its source: its speed means nothing."""

    kind = "bench-copy-is-wrong"
    template = (
        "The files {one} and {other} differ within 16 MiB from byte {offset}, so that the figures mean nothing: "
        "run the bench again, and report it if that happens twice."
    )


class ContenderFailed(EngineFailed):
    """A program that QReplica is compared with did not do its work."""

    kind = "bench-contender-failed"
    template = "“{command}” failed ({reason}): check that it works on this machine and run the bench again."


class CycleFailed(EngineFailed):
    """A job did not come to the end of its cycle."""

    kind = "bench-cycle-failed"
    template = "Job {job} is {state} after {seconds:.0f} s ({reason}): read {log} and run the bench again."
