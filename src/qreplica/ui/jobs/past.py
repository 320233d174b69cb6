"""Throughput and lag over the last day, as a chart that keeps up."""

from typing import Any, Final

from nicegui import ui

from qreplica.ui import wording
from qreplica.ui.following import follow
from qreplica.ui.frame import empty, heading
from qreplica.ui.looking import Looking
from qreplica.units import MIB

#: Seconds after which the chart is looked at anew: a span of it is a quarter of an hour.
_EVERY: Final = 60.0
_SENT, _LAG = "#1f5fae", "#c26a00"


async def show(here: Looking, job: str | None = None) -> None:
    """Show the last day of a job, or of all together."""
    where = ("qreplica", "history") if job is None else ("jobs", job, "history")
    with ui.card().classes("panel"):
        heading("The last day")
        await follow(here, lambda: here.rest.get(*where), lambda answer: _chart(here, answer["spans"]), _EVERY)


def _chart(here: Looking, spans: list[dict[str, Any]]) -> None:
    if not any(one["rate"] or one["lag_seconds"] is not None for one in spans):
        empty("Nothing was replicated within the last day.")
        return
    axes = [
        {"type": "value", "name": name, "min": 0, "nameTextStyle": {"align": side}, "splitLine": {"show": not number}}
        for number, (name, side) in enumerate((("MiB/s", "left"), ("minutes", "right")))
    ]
    ui.echart(
        {
            "aria": {"enabled": True},
            "animation": False,
            "legend": {"top": 0},
            "tooltip": {"trigger": "axis"},
            "grid": {"left": 8, "right": 8, "top": 48, "bottom": 8, "containLabel": True},
            "xAxis": {"type": "category", "data": [wording.time(one["end"], here.zone)[11:16] for one in spans]},
            "yAxis": axes,
            "series": [
                {
                    "name": "Throughput (MiB/s)",
                    "type": "bar",
                    "itemStyle": {"color": _SENT},
                    "data": [round(one["rate"] / MIB, 3) for one in spans],
                },
                {
                    "name": "Furthest behind (minutes)",
                    "type": "line",
                    "step": "end",
                    "symbol": "none",
                    "yAxisIndex": 1,
                    "itemStyle": {"color": _LAG},
                    "data": [
                        None if one["lag_seconds"] is None else round(one["lag_seconds"] / 60, 1) for one in spans
                    ],
                },
            ],
        }
    ).style("height: 240px").props('aria-label="Throughput and lag over the last day"')
