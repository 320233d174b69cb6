"""The QReplica page: all replication jobs in a table, and how to make one."""

from functools import partial
from typing import Any, Final

from nicegui import events, ui

from qreplica.access.roles import Role
from qreplica.ui import wording
from qreplica.ui.frame import empty, link, page
from qreplica.ui.jobs import configuration, creation, operations
from qreplica.ui.looking import Looking

#: Sorted by seconds, shown in words.
_LAG: Final = {":format": "(_, row) => row.lag_text"}
_COLUMNS: Final[list[dict[str, Any]]] = [
    {"name": "name", "label": "Job", "field": "name", "align": "left", "sortable": True, "required": True},
    {"name": "source", "label": "Source", "field": "source", "align": "left", "sortable": True},
    {"name": "target", "label": "Target", "field": "target", "align": "left", "sortable": True},
    {"name": "state", "label": "Status", "field": "state", "align": "left", "sortable": True},
    {
        "name": "lag",
        "label": "Behind",
        "field": "lag",
        "align": "right",
        "sortable": True,
        **_LAG,
    },
    {"name": "last", "label": "Last copy", "field": "last", "align": "left", "sortable": True},
    {"name": "next", "label": "Next run", "field": "next", "align": "left", "sortable": True},
    {"name": "enabled", "label": "Enabled", "field": "enabled", "align": "left", "sortable": True},
    {"name": "paths", "label": "Paths", "field": "paths", "align": "right"},
    {"name": "operations", "label": "Operations", "field": "name", "align": "right", "required": True},
]
_NAME = """<q-td :props="props"><a :href="props.row.path">{{ props.row.name }}</a></q-td>"""
_STATE = """<q-td :props="props">
  <q-badge :color="props.row.colour" class="chip">{{ props.row.state }}</q-badge>
  <template v-if="props.row.progress">
    <q-linear-progress :value="props.row.share" size="10px" class="q-mt-xs" :aria-label="props.row.progress"/>
    <div>{{ props.row.progress }}</div>
  </template>
  <div v-if="props.row.error" class="text-negative ellipsis" style="max-width: 28em" :title="props.row.error">
    {{ props.row.error }}</div>
</q-td>"""
_OPERATIONS = """<q-td :props="props">
  <q-btn dense label="OP." :aria-label="'Operations on ' + props.row.name"
         @click="() => $parent.$emit('operations', props.row.name)"/>
</q-td>"""


@page("/qreplica", "Replication jobs")
async def qreplica(here: Looking) -> None:
    """Show the jobs."""
    jobs: dict[str, dict[str, Any]] = {}
    with ui.row().classes("items-center full-width"):
        if here.may(Role.OPERATOR):
            ui.button("Create", icon="add", on_click=partial(creation.wizard, here))
        if here.may(Role.ADMIN):
            ui.button("Configuration", icon="settings", on_click=partial(configuration.open_for, here)).props("flat")
        ui.space()
        sought = ui.input("Filter").props("dense clearable type=search")
        columns = {str(one["name"]): str(one["label"]) for one in _COLUMNS if not one.get("required")}
        chosen = ui.select(columns, label="Columns", value=list(columns), multiple=True).props(
            "dense options-dense display-value=Choose"
        )
    table = ui.table(rows=[], columns=_COLUMNS, row_key="name", pagination=50).classes("full-width")
    table.props("flat bordered").bind_filter_from(sought, "value", lambda value: value or "")
    for name, slot in (("name", _NAME), ("state", _STATE), ("operations", _OPERATIONS)):
        table.add_slot(f"body-cell-{name}", slot)
    none = ui.column()
    with none:
        empty("There are no replication jobs: click Create to make one.")

    def choose() -> None:
        shown = {"name", "operations", *(chosen.value or [])}
        table.props["visible-columns"] = [one["name"] for one in _COLUMNS if one["name"] in shown]
        table.update()

    def offer(event: events.GenericEventArguments) -> None:
        if event.args in jobs:
            operations.menu(here, jobs[event.args])

    async def look() -> None:
        found = await here.rest.get("jobs")
        jobs.clear()
        jobs.update((one["name"], one) for one in found)
        rows = [_row(here, one) for one in found]
        if rows != table.rows:
            table.rows = rows
        none.visible = not rows
        table.visible = bool(rows)

    chosen.on_value_change(choose)
    table.on("operations", offer)
    await here.attempt(look())
    here.keep_up(look)


def _row(here: Looking, job: dict[str, Any]) -> dict[str, Any]:
    working = sum(one["state"] != "failed" for one in job["paths"])
    cycle, state = job["cycle"], wording.state(job)
    return {
        "name": job["name"],
        "path": link("qreplica", job["name"]),
        "source": job["source_vd"],
        "target": f"{job['target_subsystem']}: {job['target_vd']}",
        "state": state,
        "colour": wording.colour(state),
        "progress": wording.progress(job),
        "share": 0 if cycle is None else cycle["percent"] / 100,
        "error": job["error"]["sentence"] if job["error"] and state in {"failed", "superseded"} else "",
        "lag": None if job["lag_seconds"] is None else round(job["lag_seconds"]),
        "lag_text": wording.lag(job),
        "last": wording.time(job["last_committed_at"], here.zone),
        "next": wording.time(job["next_run_at"], here.zone),
        "enabled": "no" if job["paused"] else "yes",
        "paths": f"{working}" if working == len(job["paths"]) else f"{working} of {len(job['paths'])}",
    }
