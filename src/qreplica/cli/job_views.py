"""How replication jobs look."""

from typing import Any

from rich.console import RenderableType

from qreplica.cli import output
from qreplica.units import format_duration, format_rate


def table(jobs: list[dict[str, Any]]) -> RenderableType:
    """Return the jobs, one a line, with when they run next where one does so by itself."""
    columns = ["Job", "Source", "Backup VD", "State", "Step", "Done", "Rate", "Point", "Lag", "Paths"]
    by_themselves = any(job["next_run_at"] is not None for job in jobs)
    return output.rows(
        output.table(*columns, *(["Next run"] if by_themselves else []), right=_FIGURES),
        (
            [
                job["name"],
                job["source_vd"],
                f"{job['target_subsystem']}:{job['target_vd']}",
                output.state(_state(job)),
                *_progress(job),
                output.text(job["base_generation"]),
                lag(job),
                _working(job["paths"]),
                *([output.minute(job["next_run_at"])] if by_themselves else []),
            ]
            for job in jobs
        ),
        empty="There are no replication jobs: make one with “qreplica job create”.",
    )


_FIGURES = ("Done", "Rate", "Point", "Lag", "Paths")


def _state(job: dict[str, Any]) -> str:
    return "paused" if job["paused"] and job["state"] != "stopping" else str(job["state"])


def _progress(job: dict[str, Any]) -> list[str]:
    cycle = job["cycle"]
    if cycle is None or cycle["finished_at"] is not None:
        return [output.NOTHING] * 3
    return [cycle["step"], f"{cycle['percent']:.0f} %", format_rate(cycle["rate"])]


def lag(job: dict[str, Any]) -> str:
    """Return how old the copy is: the time since the snapshot of the last recovery point was taken."""
    seconds = job["lag_seconds"]
    return "never" if seconds is None else format_duration(seconds)


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
        ("Backup VD", f"{job['target_subsystem']}:{job['target_vd']} ({output.size(job['target_size'])})"),
        ("iSCSI node", f"{job['target_node']}, LUN {job['target_lun']}"),
        ("CHAP name", output.text(job["chap_user"])),
        ("Paths", "\n".join(map(_path, job["paths"]))),
        ("Controller", str(job["controller"])),
        ("Recovery point", output.text(job["base_generation"])),
        ("Committed", output.time(job["last_committed_at"])),
        ("Lag", lag(job)),
    ]
    if job["cycle"] is not None:
        facts += _cycle(job["cycle"])
    if job["error"] is not None:
        facts.append(("Last error", job["error"]["sentence"]))
    if job["unlicensed"] is not None:
        facts.append(("License", job["unlicensed"]))
    return output.sheet(facts)


def _working(paths: list[dict[str, Any]]) -> str:
    """Return how many paths there are, and how many of them work if not all do."""
    working = sum(one["state"] != "failed" for one in paths)
    return str(working) if working == len(paths) else f"{working} of {len(paths)}"


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


def _cycle(cycle: dict[str, Any]) -> list[tuple[str, str]]:
    running = cycle["finished_at"] is None
    facts = [
        ("Cycle", f"{output.text(cycle['kind'])}, generation {cycle['generation']}"),
        ("Step", f"{cycle['step']}, {cycle['percent']:.1f} % of {output.size(cycle['total_bytes'])}"),
        ("Sent", f"{output.size(cycle['sent_bytes'])} of data; {output.size(cycle['zero_bytes'])} are zeros"),
        ("Checkpoint", output.size(cycle["checkpoint"])),
        ("Rate", format_rate(cycle["rate"])),
        ("Begun", output.time(cycle["started_at"])),
    ]
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
                output.text(one["kind"]),
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
