"""What the runs of a job sent, as a chart and a table."""

from typing import Any, Final

from nicegui import ui

from qreplica.ui import wording
from qreplica.ui.frame import empty
from qreplica.ui.looking import Looking
from qreplica.units import MIB

_COLUMNS: Final = [
    {"name": name, "label": label, "field": name, "align": align}
    for name, label, align in (
        ("generation", "Point", "right"),
        ("kind", "Kind", "left"),
        ("begun", "Begun", "left"),
        ("took", "Took", "right"),
        ("changed", "Changed", "right"),
        ("sent", "Sent", "right"),
        ("rate", "Rate", "right"),
        ("outcome", "Outcome", "left"),
    )
]


def show(here: Looking, cycles: list[dict[str, Any]]) -> None:
    """Show runs that have ended, the latest first."""
    if not cycles:
        empty("The job has not run to an end yet: start it by OP., Start.")
        return
    if len(cycles) > 1:
        _chart(here, cycles[::-1])
    ui.table(rows=[_row(here, one) for one in cycles], columns=_COLUMNS, row_key="generation", pagination=10).props(
        'flat bordered :grid="Quasar.Screen.lt.md"'
    ).classes("full-width")


def _row(here: Looking, cycle: dict[str, Any]) -> dict[str, Any]:
    return {
        "generation": cycle["generation"],
        "kind": wording.text(cycle["kind"]),
        "begun": wording.time(cycle["started_at"], here.zone),
        "took": wording.duration(cycle["seconds"]),
        "changed": wording.size(cycle["total_bytes"]),
        "sent": wording.size(cycle["sent_bytes"]),
        "rate": wording.rate(cycle["rate"]),
        "outcome": wording.text(cycle["outcome"]),
    }


def _chart(here: Looking, cycles: list[dict[str, Any]]) -> None:
    ui.echart(
        {
            "aria": {"enabled": True},
            "animation": False,
            "legend": {"top": 0},
            "tooltip": {"trigger": "axis"},
            "grid": {"left": 8, "right": 8, "top": 36, "bottom": 8, "containLabel": True},
            "xAxis": {"type": "category", "data": [wording.time(one["started_at"], here.zone) for one in cycles]},
            "yAxis": [{"type": "value", "name": "MiB"}, {"type": "value", "name": "seconds"}],
            "series": [
                {
                    "name": "MiB sent",
                    "type": "bar",
                    "barMaxWidth": 24,
                    "itemStyle": {"color": "#1f5fae"},
                    "data": [round(one["sent_bytes"] / MIB, 2) for one in cycles],
                },
                {
                    "name": "seconds taken",
                    "type": "line",
                    "yAxisIndex": 1,
                    "itemStyle": {"color": "#c26a00"},
                    "data": [one["seconds"] for one in cycles],
                },
            ],
        }
    ).style("height: 240px")
