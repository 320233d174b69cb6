"""What requests and answers about replication jobs are made of."""

from dataclasses import asdict
from typing import Annotated, Self

from pydantic import Field

from qreplica.api.fields import Answer, Name, SecretIn, Size, Strict, Time, example
from qreplica.replication.offers import PEER_PORT
from qreplica.replication.status import JobStatus
from qreplica.state.models import CycleKind, JobState, Outcome, PathState, Step, VdType

_IQN = "iqn.2026-11.org.qreplica:target:backups"
RpoMinutes = Annotated[
    int | None,
    Field(description="The RPO goal: how old the newest recovery point's content may become; null for none"),
]
_DISK = "naa.6001405a9bd5ba3a1f24d4e8b7c4a1f3"
_TARGET = {"address": "192.168.1.11", "node": _IQN, "chap_user": "replica", "chap_secret": "twelve-or-more"}


Port = Annotated[int, Field(ge=1, le=65535)]
Comment = Annotated[
    str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", description="What the administrator says of it")
]
Qualifies = Annotated[bool, Field(description="Whether it can be chosen")]
Reason = Annotated[str | None, Field(description="Why it cannot, and what to do: as the creation would refuse it")]


class DiscoverRequest(Strict):
    """Where to look for iSCSI nodes."""

    model_config = example({"address": "192.168.1.11"})
    address: Annotated[str, Field(description="The address of an iSCSI port of the target subsystem")]
    peer_port: Annotated[Port, Field(description="The TCP port of the target's peer conversation")] = PEER_PORT


_FOR_A_PATH = "The job that a further path is looked for; null for a new job"


class NodesRequest(DiscoverRequest):
    """Where to look for the iSCSI nodes of a target, and what for."""

    job: Annotated[str | None, Field(description=_FOR_A_PATH)] = None


class TargetRequest(DiscoverRequest):
    """A node of the target, and what it asks for."""

    model_config = example(_TARGET)
    node: Annotated[str, Field(description="The node's IQN")]
    chap_user: str | None = None
    chap_secret: SecretIn | None = None


class BackupVdsRequest(TargetRequest):
    """A node of the target, and what its VDs are looked at for."""

    source_vd: Annotated[str | None, Field(description="What is to be replicated; null: sizes are not judged")] = None
    job: Annotated[str | None, Field(description=_FOR_A_PATH)] = None


class JobRequest(TargetRequest):
    """A replication job to make."""

    model_config = example({"name": "nightly", "source_vd": "payroll", "lun": 1, "rpo_minutes": 60, **_TARGET})
    name: Name
    source_vd: Annotated[str, Field(description="The VD to replicate")]
    lun: Annotated[int, Field(ge=0, le=255, description="The backup VD's LUN of the node")]
    plain: Annotated[
        bool, Field(description="Replicate to another maker's disk, which has no recovery points and fewer guarantees")
    ] = False
    overwrite: Annotated[
        str | None,
        Field(description="The identity of a plain target's disk, which confirms that what it holds may be lost"),
    ] = None
    port: Annotated[Port, Field(description="The TCP port of the target's iSCSI portal")] = 3260
    mutual_user: Annotated[str | None, Field(description="By which the node proves itself to us")] = None
    mutual_secret: SecretIn | None = None
    rpo_minutes: RpoMinutes = None
    comment: Comment = ""


class PathEdit(Strict):
    """A path of the job, and what it is to have in place of its portal."""

    address: Annotated[str, Field(description="Its address now")]
    port: Annotated[Port, Field(description="Its TCP port now")] = 3260
    new_address: str | None = None
    new_port: Port | None = None
    new_peer_port: Port | None = None


class JobEditRequest(Strict):
    """What is to be different of a job; what is not given stays."""

    model_config = example({"comment": "Of the accounts department"})
    name: Annotated[Name | None, Field(description="Null: as it is")] = None
    comment: Annotated[Comment | None, Field(description="Null: as it is")] = None
    chap_user: Annotated[str | None, Field(description="Given as null: the node asks for no CHAP any more")] = None
    chap_secret: SecretIn | None = None
    mutual_user: Annotated[str | None, Field(description="Given as null: the node proves itself no more")] = None
    mutual_secret: SecretIn | None = None
    paths: Annotated[tuple[PathEdit, ...], Field(max_length=64, description="Those that move")] = ()


class SourceVd(Answer):
    """A VD, and whether a new job may replicate it."""

    model_config = example(
        {
            "name": "payroll",
            "type": "RAID",
            "size": 2147483648,
            "raid_group": "rg1",
            "snapshot_space": 0,
            "space_to_give": 4294967296,
            "qualifies": True,
            "reason": None,
        }
    )
    name: str
    type: VdType
    size: Size
    raid_group: str
    snapshot_space: Size
    space_to_give: Annotated[Size, Field(description="Bytes of snapshot space that it would be given with a job")]
    qualifies: Qualifies
    reason: Reason


class OfferedNode(Answer):
    """A node that a target offers for replication."""

    iqn: str
    chap: Annotated[bool, Field(description="Whether it asks for a CHAP name and secret")]
    backup_vds: int
    qualifies: Qualifies
    reason: Reason


class Discovered(Answer):
    """What answered at an address."""

    model_config = example(
        {
            "subsystem": "target",
            "controller": 1,
            "nodes": [{"iqn": _IQN, "chap": True, "backup_vds": 1, "qualifies": True, "reason": None}],
        }
    )
    subsystem: str
    controller: int
    nodes: list[OfferedNode]


class OfferedVd(Answer):
    """A VD of a target's node."""

    lun: int
    name: str
    type: Annotated[str, Field(description="Only a BACKUP VD can be chosen")]
    size: Size
    claimed: Annotated[bool, Field(description="Whether a job holds it already")]
    continues: Annotated[
        int | None, Field(description="The generation from which a new job goes on; null: it begins with a full copy")
    ]
    qualifies: Qualifies
    reason: Reason


class Offered(Answer):
    """The VDs of a target's node."""

    model_config = example(
        {
            "subsystem": "target",
            "vds": [
                {
                    "lun": 1,
                    "name": "payroll-copy",
                    "type": "BACKUP",
                    "size": 2147483648,
                    "claimed": False,
                    "continues": None,
                    "qualifies": True,
                    "reason": None,
                }
            ],
        }
    )
    subsystem: str
    vds: list[OfferedVd]


_CYCLE = {
    "generation": 4,
    "kind": "incremental",
    "base_generation": 3,
    "step": "transfer",
    "total_bytes": 104857600,
    "zero_bytes": 4194304,
    "done_bytes": 52428800,
    "sent_bytes": 50331648,
    "compared_bytes": 0,
    "checkpoint": 734003200,
    "percent": 50.0,
    "rate": 104857600.0,
    "eta_seconds": 0.5,
    "seconds": None,
    "resumes": 0,
    "worker_peak_memory": 83886080,
    "started_at": "2026-11-24T09:30:00.000Z",
    "progressed_at": "2026-11-24T09:30:01.000Z",
    "finished_at": None,
    "outcome": None,
    "error": None,
}


class CycleAnswer(Answer):
    """One run of a job."""

    model_config = example(_CYCLE)
    generation: int
    kind: Annotated[CycleKind | None, Field(description="Null until it is planned")]
    base_generation: int | None
    step: Step
    total_bytes: Annotated[Size, Field(description="Bytes that the delta holds, zeros among them")]
    zero_bytes: Annotated[Size, Field(description="Bytes of it that are only made to read as zeros")]
    done_bytes: Annotated[Size, Field(description="Bytes of it that are durable on the target")]
    sent_bytes: Annotated[Size, Field(description="Bytes sent as data, those sent again among them")]
    compared_bytes: Annotated[
        Size,
        Field(description="Bytes that a full copy compared with what the target held, those compared again among them"),
    ]
    checkpoint: Annotated[Size, Field(description="The offset of the disk below which all is durable on the target")]
    percent: Annotated[float, Field(ge=0, le=100)]
    rate: Annotated[float, Field(description="Bytes a second")]
    eta_seconds: Annotated[float | None, Field(description="Seconds left at this rate; null when not known")]
    seconds: Annotated[float | None, Field(description="How long it took; null while it is not at its end")]
    resumes: Annotated[int, Field(description="How often it went on after an interruption")]
    worker_peak_memory: Annotated[Size, Field(description="The most memory that its worker used, in bytes")]
    started_at: Time
    progressed_at: Time | None
    finished_at: Time | None
    outcome: Outcome | None
    error: str | None


class JobError(Answer):
    """The last error of a job."""

    kind: str
    sentence: Annotated[str, Field(description="What happened, why, and what to do")]


class PathRequest(DiscoverRequest):
    """A further way from a job to its backup VD."""

    model_config = example({"address": "192.168.1.15", "node": _IQN, "lun": 1})
    port: Annotated[Port, Field(description="The TCP port of the target's iSCSI portal")] = 3260
    node: Annotated[str | None, Field(description="The node that was chosen there; null: the job's")] = None
    lun: Annotated[int | None, Field(ge=1, le=255, description="The LUN that was chosen; null: the job's")] = None


class PathAnswer(Answer):
    """A way from a job to its backup VD. Data goes over one at a time, the active one; the first is preferred."""

    address: str
    port: int
    peer_port: int
    state: PathState
    reason: Annotated[str | None, Field(description="Why it failed, the last time it was tried")]
    since: Annotated[Time, Field(description="When it came to its state")]


class AcceptRequest(Strict):
    """The administrator's word that a plain target's disk may be overwritten, whatever happened to it."""

    model_config = example({"disk": _DISK})
    disk: Annotated[str, Field(description="The identity of the job's disk, as a confirmation")]


class PlainAnswer(Answer):
    """A target that is another maker's disk."""

    disk: Annotated[str, Field(description="The disk's identity, from its VPD page 0x83")]
    initiator: Annotated[str, Field(description="The initiator name that its target has to admit")]
    fenced: Annotated[bool, Field(description="Whether a persistent reservation keeps former owners from writing")]
    missing: Annotated[list[str], Field(description="What a backup VD would guarantee and this target does not")]


class QueuedAnswer(Answer):
    """Where a job is in the queue: more are to run than may at once."""

    place: Annotated[int, Field(description="1 for the next one")]
    running: Annotated[int, Field(description="How many jobs run")]
    limit: Annotated[int, Field(description="How many may run at once, by the QReplica configuration")]
    sentence: Annotated[str, Field(description="What it waits for")]


class JobAnswer(Answer):
    """A replication job, with its present or last cycle; secrets are never shown."""

    model_config = example(
        {
            "id": "4b1c6dba0c4b4f0d8b2f8b8f1c0a9d11",
            "name": "nightly",
            "comment": "Of the accounts department",
            "state": "running",
            "queued": None,
            "source_vd": "payroll",
            "source_size": 2147483648,
            "target_subsystem": "target",
            "target_node": _IQN,
            "target_lun": 1,
            "target_vd": "payroll-copy",
            "target_size": 2147483648,
            "plain": None,
            "chap_user": "replica",
            "mutual_user": None,
            "paths": [
                {
                    "address": "192.168.1.11",
                    "port": 3260,
                    "peer_port": 3261,
                    "state": "active",
                    "reason": None,
                    "since": "2026-11-24T09:30:00.000Z",
                }
            ],
            "controller": 1,
            "epoch": 7,
            "base_generation": 3,
            "last_committed_at": "2026-11-24T09:00:20.000Z",
            "recovery_point_at": "2026-11-24T09:00:00.000Z",
            "lag_seconds": 1801.0,
            "rpo_minutes": 60,
            "rpo_met": True,
            "backlog_bytes": 62914560,
            "backlog_at": "2026-11-24T09:29:55.000Z",
            "last_progress_at": "2026-11-24T09:30:01.000Z",
            "stalled_since": None,
            "cycle": _CYCLE,
            "error": None,
            "schedule": "every day at 02:00",
            "next_run_at": "2026-11-25T01:00:00.000Z",
            "paused": False,
            "unlicensed": None,
            "created_at": "2026-11-20T09:00:00.000Z",
        }
    )
    id: str
    name: str
    comment: Annotated[str, Field(description="What the administrator says of it")]
    state: JobState
    queued: Annotated[QueuedAnswer | None, Field(description="Its place in the queue; null when it is not there")]
    source_vd: str
    source_size: Size
    target_subsystem: str
    target_node: str
    target_lun: int
    target_vd: str
    target_size: Size
    plain: Annotated[PlainAnswer | None, Field(description="What is particular to a plain target; null: a backup VD")]
    chap_user: str | None
    mutual_user: str | None
    paths: list[PathAnswer]
    controller: Annotated[int, Field(description="The controller that runs it")]
    epoch: Annotated[int, Field(description="The fencing number of its owner")]
    base_generation: Annotated[int | None, Field(description="The last recovery point that both sides hold")]
    last_committed_at: Time | None
    recovery_point_at: Annotated[
        Time | None, Field(description="When the snapshot was taken on the source that the last recovery point holds")
    ]
    lag_seconds: Annotated[float | None, Field(description="Age of the last recovery point's content; null: none yet")]
    rpo_minutes: RpoMinutes
    rpo_met: Annotated[bool | None, Field(description="Whether the goal is met; null without one")]
    backlog_bytes: Annotated[
        Size | None,
        Field(
            description="What is still to be sent, at most: the rest of the cycle, and what was written since its "
            "snapshot; null: not known"
        ),
    ]
    backlog_at: Annotated[Time | None, Field(description="When what was written was counted last")]
    last_progress_at: Annotated[
        Time | None, Field(description="When the checkpoint last grew, or a further step or cycle was begun")
    ]
    stalled_since: Annotated[
        Time | None, Field(description="Since when it makes no progress, once that lasts as long as is configured")
    ]
    cycle: Annotated[CycleAnswer | None, Field(description="The present or last one")]
    error: JobError | None
    schedule: Annotated[str | None, Field(description="By which it runs, in words; null for none")]
    next_run_at: Annotated[Time | None, Field(description="When it begins by itself next; null for never")]
    paused: Annotated[bool, Field(description="Whether it begins nothing until it is resumed")]
    unlicensed: Annotated[
        str | None, Field(description="Why no further cycle begins for want of a license, and what to do")
    ]
    created_at: Time

    @classmethod
    def of(cls, status: JobStatus, unlicensed: str | None) -> Self:
        """Return the answer that shows what a job is doing."""
        facts = asdict(status)
        kind, sentence = facts.pop("error_kind"), facts.pop("error")
        if status.queued is not None:
            facts["queued"]["sentence"] = status.queued.sentence
        error = None if kind is None else JobError(kind=kind, sentence=sentence or "")
        return cls.model_validate({**facts, "error": error, "unlicensed": unlicensed})
