"""What names a job's owner to a plain target: its reservation key, and the initiator port that it logs in as. Pure."""

import hashlib

_MARK = 0x51  # “Q”, so that an administrator who reads a disk's keys sees whose they are
_EPOCH_BITS = 32
_ISID_BITS = 40


def _hash(job: str, bits: int) -> int:
    return int.from_bytes(hashlib.sha256(job.encode()).digest()[:8], "big") >> (64 - bits)


def key_of(job: str, epoch: int) -> int:
    """Return the owner's reservation key, 8 bytes: “Q”, three bytes of the job's hash, four bytes of the epoch."""
    return (_MARK << 24 | _hash(job, 24)) << _EPOCH_BITS | epoch % (1 << _EPOCH_BITS)


def epoch_of(job: str, key: int) -> int | None:
    """Return the epoch in a key of the job; None for the key of anybody else."""
    return key % (1 << _EPOCH_BITS) if key >> _EPOCH_BITS == key_of(job, 0) >> _EPOCH_BITS else None


def isid_of(job: str) -> int:
    """Return the ISID of every session of the job (RFC 7143, 11.12.5): a later one ends an earlier one."""
    return _hash(job, _ISID_BITS)


def initiator_of(prefix: str, subsystem: str) -> str:
    """Return the initiator name of a subsystem for plain targets, which their administrators let in.

    ``prefix`` begins the subsystem's IQNs, ``subsystem`` is its id.
    """
    return f"{prefix}:initiator-{subsystem[:12]}"


def show(key: int) -> str:
    """Return a key as other tools show it."""
    return f"0x{key:016x}"
