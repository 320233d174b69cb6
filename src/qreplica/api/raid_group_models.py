"""What requests and answers about RAID groups are made of."""

from typing import Annotated, Self

from pydantic import Field
from sqlalchemy.orm import Session

from qreplica.api.fields import Answer, Name, Size, Strict, Time, example
from qreplica.state.models import RaidGroup, ScrubOutcome
from qreplica.storage import raid_group_status, raid_groups, scrubs
from qreplica.storage.driver import GroupHealth, RaidLevel, StorageDriver
from qreplica.storage.raid_group_status import DiskState, ShownDisk
from qreplica.storage.scrubs import ScrubState


class RaidGroupRequest(Strict):
    """An RG to make of disks."""

    model_config = example({"name": "rg1", "level": "raid1", "disks": ["d1", "d2"]})
    name: Name
    level: RaidLevel
    disks: Annotated[list[str], Field(min_length=1, max_length=64, description="The names of its disks")]


class ReplacementRequest(Strict):
    """A disk to replace, and the free one that takes its place."""

    model_config = example({"old": "d2", "new": "d3"})
    old: Annotated[str, Field(description="A disk of the RG, which may be missing")]
    new: Annotated[str, Field(description="A free disk of at least that size")]


class GrowthRequest(Strict):
    """A free disk to add."""

    model_config = example({"disk": "d3"})
    disk: Annotated[str, Field(description="A free disk")]


class RaidGroupChange(Strict):
    """A change of an RG's schedule."""

    model_config = example({"scrub_days": 7})
    scrub_days: Annotated[int | None, Field(description="Days between scrubs, 1 to 365; null: only when asked for")]


class ErrorsAnswer(Answer):
    """What a disk did wrong since it joined its RG."""

    read: Annotated[int, Field(description="Reads that failed")]
    write: Annotated[int, Field(description="Writes that failed")]
    flush: Annotated[int, Field(description="Flushes that failed")]
    corruption: Annotated[int, Field(description="Blocks read that had the wrong checksum")]
    generation: Annotated[int, Field(description="Blocks read that were older than they had to be")]


class MemberAnswer(Answer):
    """A disk of an RG."""

    name: str
    size: Size
    state: DiskState
    replaces: Annotated[str | None, Field(description="The disk whose place it takes")]
    errors: Annotated[ErrorsAnswer | None, Field(description="null while the engine does not tell")]

    @classmethod
    def shown(cls, one: ShownDisk) -> Self:
        """Return the answer that shows ``one``."""
        return cls(
            name=one.disk.name,
            size=one.disk.size,
            state=one.state,
            replaces=None if one.disk.replaces is None else one.disk.replaces.name,
            errors=None if one.errors is None else ErrorsAnswer.model_validate(one.errors),
        )


class ScrubAnswer(Answer):
    """A scrub."""

    model_config = example(
        {
            "running": False,
            "percent": None,
            "outcome": "clean",
            "checked": 2147483648,
            "corrected": 0,
            "uncorrectable": 0,
            "started_at": "2026-11-24T02:00:00.000Z",
            "finished_at": "2026-11-24T02:00:09.000Z",
            "error": None,
        }
    )
    running: bool
    percent: Annotated[float | None, Field(description="How much is done, while it runs")]
    outcome: Annotated[
        ScrubOutcome | None,
        Field(description="`clean` (what was wrong is mended), `damaged` (not all could be), `interrupted`, `failed`"),
    ]
    checked: Annotated[Size, Field(description="Bytes read, of all copies")]
    corrected: Annotated[int, Field(description="Errors that were mended")]
    uncorrectable: Annotated[int, Field(description="Errors that could not be mended")]
    started_at: Time
    finished_at: Time | None
    error: Annotated[str | None, Field(description="Why it failed")]

    @classmethod
    def of(cls, scrub: ScrubState) -> Self:
        """Return the answer that shows ``scrub``."""
        run = scrub.run
        return cls(
            running=run.finished_at is None,
            percent=None if scrub.progress is None else round(100 * scrub.progress, 1),
            outcome=run.outcome,
            checked=run.checked,
            corrected=run.corrected,
            uncorrectable=run.uncorrectable,
            started_at=run.started_at,
            finished_at=run.finished_at,
            error=run.error,
        )


class RaidGroupAnswer(Answer):
    """An RG, and how its space is shared out: `usable` less `reserve`, `vd_space` and `snapshot_space` is `free`."""

    model_config = example(
        {
            "id": "0b1c6dba0c4b4f0d8b2f8b8f1c0a9d11",
            "name": "rg1",
            "level": "raid1",
            "disks": ["d1"],
            "members": [
                {
                    "name": "d1",
                    "size": 10737418240,
                    "state": "online",
                    "replaces": None,
                    "errors": {"read": 0, "write": 0, "flush": 0, "corruption": 0, "generation": 0},
                }
            ],
            "health": "rebuilding",
            "rebuilt_percent": 41.5,
            "missing_disks": 0,
            "scrub": None,
            "scrub_days": 30,
            "next_scrub_at": "2026-12-24T09:00:00.000Z",
            "maintained_by": 1,
            "warnings": [],
            "usable": 10737418240,
            "reserve": 536870912,
            "vd_space": 2147483648,
            "snapshot_space": 4294967296,
            "free": 3758096384,
            "allocated": 1073741824,
            "limit": 10838081536,
            "created_at": "2026-11-24T09:00:00.000Z",
        }
    )
    id: str
    name: str
    level: RaidLevel
    disks: list[str]
    members: Annotated[list[MemberAnswer], Field(description="Its disks, and what the engine says of them")]
    health: GroupHealth
    rebuilt_percent: Annotated[float | None, Field(description="How much of a rebuild is done, while one goes on")]
    missing_disks: int
    scrub: Annotated[ScrubAnswer | None, Field(description="The last scrub")]
    scrub_days: Annotated[int | None, Field(description="Days between scrubs; null: only when asked for")]
    next_scrub_at: Annotated[Time | None, Field(description="When the next scrub is due, which may be past")]
    maintained_by: Annotated[int | None, Field(description="The controller that scrubs it and replaces its disks")]
    warnings: Annotated[list[str], Field(description="What one must know of its level")]
    usable: Annotated[Size, Field(description="Bytes that its disks and level give")]
    reserve: Annotated[Size, Field(description="Bytes kept back, for metadata among other things")]
    vd_space: Annotated[Size, Field(description="Bytes promised to VDs")]
    snapshot_space: Annotated[Size, Field(description="Bytes promised to snapshots")]
    free: Annotated[Size, Field(description="Bytes not promised")]
    allocated: Annotated[Size, Field(description="Bytes that its data takes, overwritten extents still held included")]
    limit: Annotated[Size, Field(description="Bytes that its data may take: promises and the working reserve")]
    created_at: Time

    @classmethod
    def of(cls, session: Session, driver: StorageDriver, group: RaidGroup) -> Self:
        """Return the answer that shows ``group``."""
        space = raid_groups.space(session, group)
        status = driver.group_status(group.id)
        last = scrubs.last(session, driver, group.id)
        return cls(
            id=group.id,
            name=group.name,
            level=group.level,
            disks=[disk.name for disk in group.disks],
            members=[MemberAnswer.shown(one) for one in raid_group_status.shown_disks(group, status)],
            health=status.health,
            rebuilt_percent=None if status.rebuilt is None else round(100 * status.rebuilt, 1),
            missing_disks=status.missing_disks,
            scrub=None if last is None else ScrubAnswer.of(last),
            scrub_days=group.scrub_days,
            next_scrub_at=scrubs.next_due(session, group),
            maintained_by=raid_group_status.maintainer_of(session, group.id),
            warnings=raid_groups.warnings(group.level),
            usable=space.usable,
            reserve=space.reserve,
            vd_space=space.virtual_disks,
            snapshot_space=space.snapshot_space,
            free=max(0, space.free),
            allocated=status.allocated,
            limit=space.limit,
            created_at=group.created_at,
        )
