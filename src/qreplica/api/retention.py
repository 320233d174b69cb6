"""How long the recovery points of a backup VD are kept."""

from typing import Annotated, Self

from fastapi import Query
from pydantic import Field
from sqlalchemy.orm import Session

from qreplica.api.access import TheServices, administered
from qreplica.api.fields import Answer, Strict, example
from qreplica.api.problems import problems
from qreplica.replication import point_keeping
from qreplica.replication.retention import MOST, Policy

router = administered("/virtual-disks/{name}/retention", "replication")

Last = Annotated[int, Field(ge=1, le=MOST, description="How many of the newest points are kept in any case")]
Hourly = Annotated[int, Field(ge=0, le=MOST, description="Of so many hours the newest point")]
Daily = Annotated[int, Field(ge=0, le=MOST, description="Of so many days the newest point")]
Weekly = Annotated[int, Field(ge=0, le=MOST, description="Of so many weeks (ISO 8601) the newest point")]
Monthly = Annotated[int, Field(ge=0, le=MOST, description="Of so many months the newest point")]

_EXAMPLE = {"last": 8, "hourly": 24, "daily": 7, "weekly": 4, "monthly": 12}


class RetentionRequest(Strict):
    """A retention. Only hours, days, weeks and months in which there is a point count."""

    model_config = example(_EXAMPLE)
    last: Last = 8
    hourly: Hourly = 0
    daily: Daily = 0
    weekly: Weekly = 0
    monthly: Monthly = 0

    def policy(self) -> Policy:
        """Return what it says."""
        return Policy(self.last, self.hourly, self.daily, self.weekly, self.monthly)


class RetentionAnswer(Answer):
    """A retention, and what it does to the points that there are."""

    model_config = example(
        {**_EXAMPLE, "is_default": False, "keeps": 31, "lets_go": ["recovery-7-1f0b2c3d", "recovery-8-2e4d6f80"]}
    )
    last: int
    hourly: int
    daily: int
    weekly: int
    monthly: int
    is_default: Annotated[bool, Field(description="Whether it is that of every backup VD for which none was set")]
    keeps: Annotated[int, Field(description="How many of the recovery points it keeps, locked ones included")]
    lets_go: Annotated[list[str], Field(description="The names of those that go when the next cycle begins")]

    @classmethod
    def of(cls, session: Session, name: str, policy: Policy, *, is_default: bool) -> Self:
        """Return the answer that shows ``policy``."""
        points = point_keeping.listing(session, name, policy)
        gone = [one.name for one in points if not one.kept_by]
        return cls(
            last=policy.last,
            hourly=policy.hourly,
            daily=policy.daily,
            weekly=policy.weekly,
            monthly=policy.monthly,
            is_default=is_default,
            keeps=len(points) - len(gone),
            lets_go=gone,
        )


@router.get("", summary="Show the retention of a backup VD", responses=problems(404))
def show_retention(name: str, services: TheServices) -> RetentionAnswer:
    """Show how long the recovery points of a backup VD are kept, and which of those that there are no rule keeps."""
    with services.database.session(read_only=True) as session:
        policy = point_keeping.policy(session, name)
        return RetentionAnswer.of(session, name, policy, is_default=not point_keeping.is_set(session, name))


@router.get("/preview", summary="Try a retention", responses=problems(404))
def preview_retention(name: str, tried: Annotated[RetentionRequest, Query()], services: TheServices) -> RetentionAnswer:
    """Show which of the recovery points that there are another retention would let go; changes nothing."""
    with services.database.session(read_only=True) as session:
        return RetentionAnswer.of(session, name, tried.policy(), is_default=False)


@router.put("", summary="Set the retention of a backup VD", responses=problems(404))
def put_retention(name: str, request: RetentionRequest, services: TheServices) -> RetentionAnswer:
    """Set how long recovery points are kept: a point that any rule keeps stays. In force from the next cycle on.

    Hours, days, weeks and months are those of the subsystem's time zone. What is left out has its default. While the
    snapshot space is used up the oldest go, whatever keeps them, but for the newest, locked ones and what a LUN shows.
    """
    point_keeping.set_policy(services.database, name, request.policy())
    return show_retention(name, services)


@router.delete("", summary="Set the default retention", status_code=204, responses=problems(404))
def delete_retention(name: str, services: TheServices) -> None:
    """Have the newest 8 recovery points kept, as of every backup VD for which nothing else was set."""
    point_keeping.set_policy(services.database, name, None)
