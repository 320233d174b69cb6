"""Puts the figures of a run into the documentation, between its two marks."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.report import AT_LEAST, AT_MOST, value_of

#: A bar within a cell of a table.
_BAR = r"\|"
_BEGIN, _END = "<!-- figures: written by ./run bench --document -->", "<!-- end of figures -->"


def update(page: Path, figures: dict[str, Any]) -> None:
    """Replace what stands between the marks of ``page``, which must have both."""
    before, _, rest = page.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    page.write_text(f"{before}{_BEGIN}\n{as_markdown(figures)}\n{_END}{after}")


def as_markdown(figures: dict[str, Any]) -> str:
    """Return the figures as tables."""
    machine = figures["machine"]
    command = "./run bench --quick" if figures["scale"] == "quick" else "./run bench"
    facts = f"{machine['cores']} cores ({machine['processor']}), {machine['memory']}, Linux {machine['kernel']}"
    lines = [
        f"`{command}` of {datetime.now(UTC).date().isoformat()} on {facts}; load before {machine['load_before']}.",
        "",
        "| figure | measured | must be | |",
        "|---|---|---|---|",
    ]
    for limits, sign in ((AT_LEAST, "≥"), (AT_MOST, "≤")):
        for name, limit in limits.items():
            value = value_of(figures, name)
            if value is not None:
                mark = "reached" if figures["reached"][name] else "**missed**"
                lines.append(f"| `{name}` | {value:g} | {sign} {limit:g} | {mark} |")
    lines += ["", "| contender | full copy, tmpfs | full copy, btrfs |", "|---|---|---|"]
    rates = [figures.get(group, {}).get("mb_per_second", {}) for group in ("full_ram", "full")]
    for name in dict.fromkeys([*rates[0], *rates[1]]):
        cells = [f"{each[name]:,.0f} MB/s" if name in each else "" for each in rates]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    changed = figures.get("incremental")
    if changed:
        lines += ["", f"| {changed['changed_blocks']:,} changed blocks | seconds |", "|---|---|"]
        lines += [f"| {name.replace('|', _BAR)} | {seconds:g} |" for name, seconds in changed["seconds"].items()]
    return "\n".join(lines)
