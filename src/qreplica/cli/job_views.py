"""How replication jobs look."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from qreplica.cli import output
from qreplica.units import format_duration, format_minutes, format_rate

#: How what is missed, or stands still, looks.
_BAD = "red"


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the list, which is ``shown`` where it tells of a job."""

    title: str
    cell: Callable[[dict[str, Any]], str | Text]
    figure: bool = False
    shown: Callable[[dict[str, Any]], bool] = lambda _: True


def table(jobs: list[dict[str, Any]]) -> RenderableType:
    """Return the jobs, one a line, with the columns that tell something of any."""
    columns = [one for one in _COLUMNS if any(map(one.shown, jobs))]
    return output.rows(
        output.table(*(one.title for one in columns), right=[one.title for one in columns if one.figure]),
        ([one.cell(job) for one in columns] for job in jobs),
        empty="There are no replication jobs: make one with “qreplica job create”.",
    )


def _state(job: dict[str, Any]) -> str:
    return "paused" if job["paused"] and job["state"] != "stopping" else str(job["state"])


def _under_way(job: dict[str, Any]) -> bool:
    return job["cycle"] is not None and job["cycle"]["finished_at"] is None


def _of_cycle(show: Callable[[dict[str, Any]], str]) -> Callable[[dict[str, Any]], str]:
    return lambda job: show(job["cycle"]) if _under_way(job) else output.NOTHING


def lag(job: dict[str, Any]) -> Text:
    """Return how old the copy is, of how old it may become: since the snapshot of the last recovery point was taken."""
    seconds, goal = job["lag_seconds"], job["rpo_minutes"]
    age = "never" if seconds is None else format_duration(seconds)
    of = "" if goal is None else f" of {format_minutes(goal)}"
    return Text(age + of, style=_BAD if job["rpo_met"] is False else "")


def _progressed(job: dict[str, Any]) -> Text:
    return Text(output.minute(job["last_progress_at"]), style=_BAD if job["stalled_since"] else "")


def _may_stand_still(job: dict[str, Any]) -> bool:
    return job["state"] == "waiting" or job["stalled_since"] is not None


def _working(paths: list[dict[str, Any]]) -> str:
    """Return how many paths there are, and how many of them work if not all do."""
    working = sum(one["state"] != "failed" for one in paths)
    return str(working) if working == len(paths) else f"{working} of {len(paths)}"


_COLUMNS = (
    _Column("Job", lambda job: str(job["name"])),
    _Column("Source", lambda job: str(job["source_vd"])),
    _Column("Backup VD", lambda job: f"{job['target_subsystem']}:{job['target_vd']}"),
    _Column("State", lambda job: output.state(_state(job))),
    _Column("Step", _of_cycle(lambda cycle: str(cycle["step"])), shown=_under_way),
    _Column("Done", _of_cycle(lambda cycle: f"{cycle['percent']:.0f} %"), figure=True, shown=_under_way),
    _Column("Rate", _of_cycle(lambda cycle: format_rate(cycle["rate"])), figure=True, shown=_under_way),
    _Column("Progress", _progressed, shown=_may_stand_still),
    _Column("Point", lambda job: output.text(job["base_generation"]), figure=True),
    _Column("Lag", lag, figure=True),
    _Column(
        "Backlog",
        lambda job: output.size(job["backlog_bytes"]),
        figure=True,
        shown=lambda job: job["backlog_bytes"] is not None,
    ),
    _Column("Paths", lambda job: _working(job["paths"]), figure=True),
    _Column(
        "Next run", lambda job: output.minute(job["next_run_at"]), shown=lambda job: job["next_run_at"] is not None
    ),
)


def sheet(job: dict[str, Any]) -> RenderableType:
    """Return all of one job."""
    facts: list[tuple[str, Any]] = [
        ("Job", job["name"]),
        *([("Comment", job["comment"])] if job["comment"] else []),
        ("State", output.state(_state(job))),
        *([("Queue", job["queued"]["sentence"])] if job["queued"] else []),
        ("Schedule", output.text(job["schedule"])),
        ("Next run", output.time(job["next_run_at"])),
        ("Source VD", f"{job['source_vd']} ({output.size(job['source_size'])})"),
        *_target(job),
        ("iSCSI node", f"{job['target_node']}, LUN {job['target_lun']}"),
        ("CHAP name", output.text(job["chap_user"])),
        ("Paths", "\n".join(map(_path, job["paths"]))),
        ("Controller", str(job["controller"])),
        ("Recovery point" if job["plain"] is None else "Copy", output.text(job["base_generation"])),
        ("Committed", output.time(job["last_committed_at"])),
        ("Content of", output.time(job["recovery_point_at"])),
        ("Lag", lag(job)),
        ("RPO goal", _goal(job)),
        ("Backlog", _backlog(job)),
        ("Last progress", _last_progress(job)),
    ]
    if job["cycle"] is not None:
        facts += _cycle(job["cycle"])
    if job["error"] is not None:
        facts.append(("Last error", job["error"]["sentence"]))
    if job["unlicensed"] is not None:
        facts.append(("License", job["unlicensed"]))
    return output.sheet(facts)


def _goal(job: dict[str, Any]) -> Text:
    if job["rpo_minutes"] is None:
        return Text(output.NOTHING)
    goal = format_minutes(job["rpo_minutes"])
    return Text(f"{goal}, met") if job["rpo_met"] else Text(f"{goal}, missed", style=_BAD)


def _backlog(job: dict[str, Any]) -> str:
    if job["backlog_bytes"] is None:
        return output.NOTHING
    return f"{output.size(job['backlog_bytes'])} at most, counted {output.time(job['backlog_at'])}"


def _last_progress(job: dict[str, Any]) -> Text:
    shown = output.time(job["last_progress_at"])
    if job["stalled_since"] is None:
        return Text(shown)
    return Text(f"{shown}: it makes no progress since {output.time(job['stalled_since'])}", style=_BAD)


def _target(job: dict[str, Any]) -> list[tuple[str, str]]:
    target = f"{job['target_subsystem']}:{job['target_vd']} ({output.size(job['target_size'])})"
    plain = job["plain"]
    if plain is None:
        return [("Backup VD", target)]
    return [
        ("Plain target", target),
        ("Without", "\n".join(plain["missing"])),
        ("Fenced", "yes, by a persistent reservation" if plain["fenced"] else "no"),
        ("Initiator", plain["initiator"]),
    ]


def warning(job: dict[str, Any]) -> str:
    """Return what to say of a plain target besides, nothing for a backup VD."""
    return "" if job["plain"] is None else f"It is a plain target, with {'; '.join(job['plain']['missing'])}. "


def _path(one: dict[str, Any]) -> str:
    line = f"{_portal(one)} {one['state']} since {output.time(one['since'])}"
    return f"{line}: {one['reason']}" if one["reason"] else line


def _portal(one: dict[str, Any]) -> str:
    return f"[{one['address']}]:{one['port']}" if ":" in one["address"] else f"{one['address']}:{one['port']}"


def paths(answer: list[dict[str, Any]]) -> RenderableType:
    """Return a job's paths, one a line."""
    return output.rows(
        output.table("Path", "State", "Since", "Reason"),
        (
            [_portal(one), output.state(one["state"]), output.time(one["since"]), output.text(one["reason"])]
            for one in answer
        ),
        empty="The job has no path.",
    )


def kind(cycle: dict[str, Any]) -> str:
    """Return what a cycle is: a full one may be compared with what the target holds."""
    return output.text(cycle["kind"]) + (", compared" if cycle["compared_bytes"] else "")


def _cycle(cycle: dict[str, Any]) -> list[tuple[str, str]]:
    running = cycle["finished_at"] is None
    facts = [
        ("Cycle", f"{kind(cycle)}, generation {cycle['generation']}"),
        ("Step", f"{cycle['step']}, {cycle['percent']:.1f} % of {output.size(cycle['total_bytes'])}"),
        ("Sent", f"{output.size(cycle['sent_bytes'])} of data; {output.size(cycle['zero_bytes'])} are zeros"),
        ("Checkpoint", output.size(cycle["checkpoint"])),
        ("Rate", format_rate(cycle["rate"])),
        ("Begun", output.time(cycle["started_at"])),
    ]
    if cycle["compared_bytes"]:
        facts.insert(2, ("Compared", f"{output.size(cycle['compared_bytes'])} with what the target held"))
    if running and cycle["eta_seconds"] is not None:
        facts.append(("Time left", format_duration(cycle["eta_seconds"])))
    if not running:
        facts.append(("Ended", f"{output.time(cycle['finished_at'])}, {output.text(cycle['outcome'])}"))
    return facts


def cycles(answer: list[dict[str, Any]]) -> RenderableType:
    """Return a job's cycles, one a line."""
    return output.rows(
        output.table("Generation", "Kind", "Begun", "Took", "Changed", "Sent", "Rate", "Outcome", right=_CYCLE_FIGURES),
        (
            [
                str(one["generation"]),
                kind(one),
                output.time(one["started_at"]),
                output.NOTHING if one["seconds"] is None else format_duration(one["seconds"]),
                output.size(one["total_bytes"]),
                output.size(one["sent_bytes"]),
                format_rate(one["rate"]),
                output.state(one["outcome"] or one["step"]),
            ]
            for one in answer
        ),
        empty="The job has not run yet.",
    )


_CYCLE_FIGURES = ("Generation", "Took", "Changed", "Sent", "Rate")


def source_vds(answer: list[dict[str, Any]]) -> RenderableType:
    """Return the VDs that a job may replicate, and why it may not replicate others."""
    return output.rows(
        output.table("VD", "Type", "Size", "RG", "Qualifies", right=["Size"]),
        ([one["name"], one["type"], output.size(one["size"]), one["raid_group"], fit(one)] for one in answer),
        empty="There are no virtual disks: make one with “qreplica vd create”.",
    )


def nodes(answer: dict[str, Any]) -> RenderableType:
    """Return the nodes that a target offers."""
    return output.rows(
        output.table("iSCSI node", "CHAP", "Backup VDs", "Qualifies", right=["Backup VDs"]),
        ([one["iqn"], "yes" if one["chap"] else "no", str(one["backup_vds"]), fit(one)] for one in answer["nodes"]),
        empty=f"Subsystem {answer['subsystem']} has no iSCSI node with a backup VD: attach one to a LUN there.",
    )


def backup_vds(answer: dict[str, Any]) -> RenderableType:
    """Return the VDs that a target's node offers."""
    return output.rows(
        output.table("LUN", "VD", "Type", "Size", "Qualifies", right=["LUN", "Size"]),
        ([str(one["lun"]), one["name"], one["type"], output.size(one["size"]), fit(one)] for one in answer["vds"]),
        empty="The node has no LUNs: attach a backup VD to it on the target subsystem.",
    )


def fit(one: dict[str, Any]) -> str:
    """Return whether it can be chosen, and why not."""
    return "yes" if one["qualifies"] else f"no: {one['reason']}"


def next_run(job: dict[str, Any]) -> str:
    """Return what a start of the job does, with the bytes as far as they are known."""
    to = f"from {job['source_vd']} to {job['target_vd']} on {job['target_subsystem']}"
    cycle = job["cycle"]
    if cycle is not None and cycle["finished_at"] is None:
        if cycle["kind"] is None:
            return f"Generation {cycle['generation']} of job “{job['name']}” goes on, {to}."
        left = output.size(cycle["total_bytes"] - cycle["done_bytes"])
        which = f"The {cycle['kind']} copy of generation {cycle['generation']}"
        return f"{which} of job “{job['name']}” goes on, {to}: {left} of {output.size(cycle['total_bytes'])} are left."
    if job["base_generation"] is None:
        return f"Job “{job['name']}” makes a full copy, {to}: all of its {output.size(job['source_size'])}."
    return (
        f"Job “{job['name']}” makes an incremental copy, {to}: what has changed since recovery point "
        f"{job['base_generation']}, of {output.size(job['source_size'])}."
    )
