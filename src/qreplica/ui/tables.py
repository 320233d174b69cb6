"""Tables whose rows a browser keeps while their content changes; on a phone each row stands as a block of its own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from nicegui import events, ui

from qreplica.ui import wording
from qreplica.ui.frame import empty

Cell = dict[str, Any]

#: More rows than these are shown page by page, and can be sought.
_PAGE, _FEW = 50, 10
_OPERATIONS: Final = "operations"
_CELL: Final = """<q-td :props="props" :data-label="props.col.name === 'operations' ? '' : props.col.label">
  <q-btn v-if="props.col.name === 'operations' && props.row.operable" dense no-caps :label="props.col.button"
         :aria-label="props.col.said + ' ' + props.row.key" @click="() => $parent.$emit('operations', props.row.key)"/>
  <template v-else-if="props.row[props.col.name]">
  <div v-for="cell in [props.row[props.col.name]]" class="cell">
    <a v-if="cell.href" :href="cell.href" class="nicegui-link">{{ cell.text }}</a>
    <q-badge v-else-if="cell.colour" :color="cell.colour" class="chip">{{ cell.text }}</q-badge>
    <span v-else>{{ cell.text }}</span>
    <div v-if="cell.share !== undefined" class="bar" role="img" :aria-label="cell.said">
      <div class="bar-used" :style="{width: 100 * cell.share + '%'}"></div>
      <div v-if="cell.mark !== null" class="bar-mark" :style="{left: 100 * cell.mark + '%'}"></div>
    </div>
    <div v-for="line in cell.lines" class="step-facts">{{ line }}</div>
  </div>
  </template>
</q-td>"""


def cell(text: str, *, sort: float | str | None = None, href: str | None = None, lines: Sequence[str] = ()) -> Cell:
    """Return what a cell shows: ``text``, a link if it leads to ``href``; it is sorted by ``sort``."""
    return {"text": text, "sort": text if sort is None else sort, "href": href, "lines": list(lines)}


def size(value: int | None) -> Cell:
    """Return a cell that shows a size in bytes."""
    return cell(wording.size(value), sort=-1 if value is None else value)


def state(word: str, *lines: str) -> Cell:
    """Return a cell that shows a state in its colour."""
    return cell(word, lines=lines) | {"colour": wording.colour(word)}


class Table:
    """A table of ``columns`` (name: label); ``none`` says why there is nothing, and what to do.

    ``operate`` is given the key of a row whose operations are asked for, or which one thing can be done with: ``only``.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        none: str,
        operate: Callable[[str], object] | None = None,
        *,
        only: str | None = None,
    ) -> None:
        shown = [_column(name, label) for name, label in columns.items()]
        if operate is not None:
            button = {"button": only or "OP.", "said": only or "Operations on"}
            shown.append({"name": _OPERATIONS, "label": "Operations", "field": "key", "align": "right", **button})
        self._sought = ui.input("Filter").props("dense clearable type=search")
        self._table = ui.table(rows=[], columns=shown, row_key="key", pagination=_PAGE).classes("full-width listing")
        self._table.props("flat bordered").bind_filter_from(self._sought, "value", lambda value: value or "")
        self._table.add_slot("body-cell", _CELL)
        self._none = ui.column()
        with self._none:
            empty(none)

        def asked(event: events.GenericEventArguments) -> object:
            # A page may send what it likes; only rows that are there and have operations are operated on.
            known = any(row["key"] == event.args and row["operable"] for row in self._table.rows)
            return operate(event.args) if operate is not None and known else None

        self._table.on("operations", asked)

    def show(
        self, rows: Mapping[str, Mapping[str, Cell]], *, operable: Callable[[str], bool] = lambda _: False
    ) -> None:
        """Show the rows, by their keys; ``operable`` tells of which something can be done."""
        made = [{"key": key, "operable": operable(key), **cells} for key, cells in rows.items()]
        if made != self._table.rows:
            self._table.rows = made
        self._table.props(remove="hide-pagination")
        if len(made) <= _PAGE:
            self._table.props("hide-pagination")
        self._sought.visible = len(made) > _FEW
        self._table.visible = bool(made)
        self._none.visible = not made


def _column(name: str, label: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        ":field": f"row => row.{name}?.sort",
        ":format": f"(_, row) => [row.{name}?.text, ...(row.{name}?.lines ?? [])].join(' ')",
        "align": "left",
        "sortable": True,
    }
