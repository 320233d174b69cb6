"""Errors of what makes jobs run by themselves: schedules, pauses, bandwidth limits, the QReplica configuration."""

from qreplica.errors import Conflict, Invalid, NoSpace, NotFound


class ScheduleWrong(Invalid):
    """A schedule that cannot be."""

    kind = "schedule-wrong"
    template = "That is no schedule: {reason}."


class TimeZoneUnknown(Invalid):
    """A name that is no time zone."""

    kind = "time-zone-unknown"
    template = "“{name}” is not a time zone: give one of the IANA database, such as Europe/Berlin, or UTC."


class BandwidthWrong(Invalid):
    """A bandwidth limit that cannot be."""

    kind = "bandwidth-wrong"
    template = "That is no bandwidth limit: {reason}."


class ConfigurationWrong(Invalid):
    """A QReplica configuration that cannot be."""

    kind = "configuration-wrong"
    template = "That is no QReplica configuration: {reason}."


class NoSchedule(NotFound):
    """The job has no schedule."""

    kind = "no-schedule"
    template = "Replication job “{job}” has no schedule: set one with “qreplica job schedule set {job}”."


class JobPaused(Conflict):
    """A paused job does not run."""

    kind = "job-paused"
    template = "Replication job “{job}” is paused: let it go on with “qreplica job resume {job}”."


class SnapshotSpaceExhausted(NoSpace):
    """What a job's snapshots hold has used up the snapshot space of the source VD."""

    kind = "snapshot-space-exhausted"
    template = (
        "The {space:size} of snapshot space of “{vd}” are used up ({used:size}): give it more with “qreplica vd "
        "set-snapshot-space {vd}” or delete snapshots that you took, then start the job; or have “qreplica "
        "configuration set --restart-after-failure” clear its snapshots by themselves."
    )


class SnapshotsCleared(NoSpace):
    """The job's snapshots were cleared, because the snapshot space was used up and the administrator wants it so."""

    kind = "snapshots-cleared"
    template = (
        "The {space:size} of snapshot space of “{vd}” were used up ({used:size}), so the job's snapshots were cleared: "
        "it runs again at {at} ({zone}), with a full copy; if this happens again, give “{vd}” more with "
        "“qreplica vd set-snapshot-space {vd}”."
    )


class RestartDropped(NoSpace):
    """The job's snapshots were cleared, and nothing starts it any more."""

    kind = "restart-dropped"
    template = (
        "Its snapshots were cleared because the snapshot space was used up, and it has no schedule any more by which "
        "it would run: start it, which begins with a full copy."
    )
