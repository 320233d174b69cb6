"""What can go wrong with a measurement."""

from qreplica.errors import EngineFailed


class NotVerified(EngineFailed):
    """A verification of an equal copy did not pass."""

    kind = "bench-not-verified"
    template = (
        "The verification of “{job}” is “{state}” ({reason}), though the copy is right byte for byte: run the bench "
        "again, and report it if that happens twice."
    )


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


class HostWroteNothing(EngineFailed):
    """No write of the host was under way while a snapshot was taken: there is nothing that could have waited."""

    kind = "bench-host-wrote-nothing"
    template = (
        "The host had no write under way in the {seconds:.3f} s in which a snapshot was taken, so that its pause is "
        "not known: run the bench again, and report it if that happens twice."
    )


class CycleFailed(EngineFailed):
    """A job did not come to the end of its cycle."""

    kind = "bench-cycle-failed"
    template = "Job {job} is {state} after {seconds:.0f} s ({reason}): read {log} and run the bench again."
